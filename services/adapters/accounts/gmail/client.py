"""The Gmail API of one mailbox.

Source: https://developers.google.com/workspace/gmail/api/reference/rest
"""

from __future__ import annotations

import asyncio
import base64
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import httpx2

from services.adapters.accounts.gmail.failures import failure_of
from services.adapters.accounts.gmail.messages import Attachment, MailMessage, decode_body, read_message
from services.domain.errors import AccountRefused, FileTooLarge, ItemMissing
from services.domain.ports.accounts import AccountSettings
from services.kit.letters import Enclosure

READ_S = 30.0
MAX_THREAD = 100
_AT_ONCE = 8
_SHOWN = ("From", "To", "Cc", "Subject", "Date", "Message-ID", "References", "Reply-To")


@dataclass(frozen=True, slots=True)
class Label:
    """A label of the mailbox: the system's or a person's."""

    id: str
    name: str
    is_system: bool


@dataclass(frozen=True, slots=True)
class Kept:
    """What became of a letter: its ids in the mailbox. `draft_id` only for drafts."""

    message_id: str
    thread_id: str
    draft_id: str | None = None


class GmailClient:
    """One mailbox. Its calls raise: AccountUnauthorised, AccountThrottled, AccountAway, AccountRefused, ItemMissing."""

    def __init__(self, http: httpx2.AsyncClient, base: str, settings: AccountSettings) -> None:
        self._http, self._root = http, f"{base}/gmail/v1/users/me"
        self.settings = settings

    async def address(self) -> str:
        """Return the mailbox's address."""
        return str((await self._ask("GET", "/profile"))["emailAddress"])

    async def search(self, query: str, limit: int, page: str | None) -> tuple[list[MailMessage], str | None]:
        """Return messages that match, the newest first, with their headers only, and the next page's token."""
        given: dict[str, Any] = {"q": query, "maxResults": limit}
        if page:
            given["pageToken"] = page
        found = await self._ask("GET", "/messages", params=given)
        gate = asyncio.Semaphore(_AT_ONCE)

        async def head_of(message_id: str) -> MailMessage:
            async with gate:
                return await self.head(message_id)

        ids = [str(entry["id"]) for entry in found.get("messages") or ()]
        heads = await asyncio.gather(*(head_of(message_id) for message_id in ids))
        return list(heads), found.get("nextPageToken")

    async def head(self, message_id: str) -> MailMessage:
        """Return a message's headers."""
        params = [("format", "metadata"), *(("metadataHeaders", name) for name in _SHOWN)]
        return read_message(await self._ask("GET", f"/messages/{quote(message_id, safe='')}", params=params))

    async def message(self, message_id: str) -> MailMessage:
        """Return a whole message."""
        path = f"/messages/{quote(message_id, safe='')}"
        found = await self._ask("GET", path, params={"format": "full"})
        # Off the loop: a long HTML mail takes a while to read.
        return await asyncio.to_thread(read_message, found)

    async def enclosure(self, message_id: str, number: int, max_bytes: int) -> Enclosure:
        """Return one file of a message; the first is number 1. Raises: ItemMissing, FileTooLarge."""
        # Read anew: Gmail gives an attachment another id each time.
        files = (await self.message(message_id)).attachments
        if number > len(files):
            raise ItemMissing(f"The message has no attachment {number}: there are {len(files)}.")
        file = files[number - 1]
        if file.size_bytes <= max_bytes:
            content = await self._content_of(message_id, file)
            if len(content) <= max_bytes:
                return Enclosure(file.name, file.mime_type, content)
        raise FileTooLarge(
            f"The attachment has {file.size_bytes} bytes; {max_bytes} can be saved.", max_bytes=max_bytes
        )

    async def _content_of(self, message_id: str, file: Attachment) -> bytes:
        body: dict[str, Any] = {"data": file.data}
        if file.attachment_id:
            path = f"/messages/{quote(message_id, safe='')}/attachments/{quote(file.attachment_id, safe='')}"
            body = await self._ask("GET", path)
        try:
            return await asyncio.to_thread(decode_body, body)
        except ValueError as error:
            raise AccountRefused("Gmail's answer is not to be understood.") from error

    async def thread(self, thread_id: str) -> list[MailMessage]:
        """Return the messages of a thread, the oldest first; at most the last hundred."""
        path = f"/threads/{quote(thread_id, safe='')}"
        found = await self._ask("GET", path, params={"format": "full"})
        resources = list(found.get("messages") or ())[-MAX_THREAD:]
        return [await asyncio.to_thread(read_message, resource) for resource in resources]

    async def labels(self) -> list[Label]:
        """Return all labels."""
        found = await self._ask("GET", "/labels")
        return [
            Label(str(entry["id"]), str(entry["name"]), entry.get("type") == "system")
            for entry in found.get("labels") or ()
        ]

    async def label(self, message_id: str, add: list[str], remove: list[str]) -> tuple[str, ...]:
        """Add and take labels, by their ids; returns those that the message has then."""
        path = f"/messages/{quote(message_id, safe='')}/modify"
        changed = await self._ask("POST", path, json={"addLabelIds": add, "removeLabelIds": remove})
        return tuple(str(label) for label in changed.get("labelIds") or ())

    async def create_draft(self, mime: bytes, thread_id: str | None) -> Kept:
        """Keep a letter as a draft."""
        made = await self._ask("POST", "/drafts", json={"message": _raw(mime, thread_id)})
        return Kept(str(made["message"]["id"]), str(made["message"]["threadId"]), str(made["id"]))

    async def send(self, mime: bytes, thread_id: str | None) -> Kept:
        """Send a letter."""
        sent = await self._ask("POST", "/messages/send", json=_raw(mime, thread_id))
        return Kept(str(sent["id"]), str(sent["threadId"]))

    async def _ask(self, method: str, path: str, **given: Any) -> dict[str, Any]:
        answer = await self._http.request(method, f"{self._root}{path}", **given)
        if not answer.is_success:
            raise failure_of(answer, answer.content)
        try:
            body = answer.json()
        except ValueError as error:
            raise AccountRefused("Gmail's answer is not to be understood.") from error
        if not isinstance(body, dict):
            raise AccountRefused("Gmail's answer is not to be understood.")
        return body


def _raw(mime: bytes, thread_id: str | None) -> dict[str, str]:
    raw = {"raw": base64.urlsafe_b64encode(mime).decode()}
    return raw | {"threadId": thread_id} if thread_id else raw
