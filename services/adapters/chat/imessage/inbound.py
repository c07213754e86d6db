"""BlueBubbles' webhooks: verified by the secret in their address, then read. Pure.

Source: https://docs.bluebubbles.app/server/developer-guides/rest-api-and-webhooks
"""

from __future__ import annotations

import hmac
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from services.adapters.chat.imessage.config import IMessageConfig
from services.adapters.chat.wire import read_object, short_key
from services.domain.errors import HookUnverified, MalformedBody
from services.domain.ports.chat import (
    ChangeKind,
    ChatKind,
    HookRequest,
    InboundChange,
    InboundFile,
    InboundMessage,
    Parsed,
    Place,
    Sender,
)

SECRET = "secret"  # noqa: S105  # the name of a part of the address
NEW, UPDATED = "new-message", "updated-message"
_GROUP = ";+;"
_MENTION = "__kIMMentionConfirmedMention"
# What stands in a text for each attachment.
_PLACEHOLDER = "\ufffc"
_MAX_TIME_MS = 10**13


class _Lenient(BaseModel):
    """A part of a webhook: known fields have their types, unknown ones are left out."""

    model_config = ConfigDict(extra="ignore", strict=True, hide_input_in_errors=True)


class _Handle(_Lenient):
    address: str = Field(default="", max_length=120)


class _Chat(_Lenient):
    guid: str = Field(default="", max_length=200)
    displayName: str | None = None


class _Attachment(_Lenient):
    guid: str = Field(default="", max_length=200)
    transferName: str | None = None
    mimeType: str | None = None
    totalBytes: int | None = None


class _Message(_Lenient):
    guid: str = Field(default="", max_length=120)
    text: str | None = None
    attributedBody: Any = None
    handle: _Handle | None = None
    chats: list[_Chat] = []
    attachments: list[_Attachment] | None = None
    isFromMe: bool = False
    itemType: int = 0
    associatedMessageType: str | int | None = None
    threadOriginatorGuid: str | None = Field(default=None, max_length=120)
    dateCreated: int = Field(ge=0, lt=_MAX_TIME_MS)
    dateEdited: int | None = Field(default=None, ge=0, lt=_MAX_TIME_MS)
    dateRetracted: int | None = Field(default=None, ge=0, lt=_MAX_TIME_MS)


class _Hook(_Lenient):
    type: str = ""


def verify(config: IMessageConfig, request: HookRequest) -> None:
    """Check the secret in the address; the call has nothing else to be known by. Raises: HookUnverified."""
    given = request.query.get(SECRET, "")
    if not hmac.compare_digest(config.hook_secret.encode(), given.encode("utf-8", "replace")):
        raise HookUnverified("The request's secret is wrong.")


def parse(config: IMessageConfig, request: HookRequest) -> Parsed:
    """Read one webhook. Raises: MalformedBody."""
    raw = read_object(request.body)
    try:
        if _Hook.model_validate(raw).type not in (NEW, UPDATED):
            return Parsed(ignored="unknown_type")
        message = _Message.model_validate(raw.get("data"))
    except ValidationError as error:
        raise MalformedBody("The body is not a webhook of BlueBubbles'.") from error
    if message.isFromMe:
        return Parsed(ignored="own_message")
    if message.itemType:
        return Parsed(ignored="service_event")
    if message.associatedMessageType:
        return Parsed(ignored="reaction")
    if not message.guid or not message.chats or not message.chats[0].guid or message.handle is None:
        raise MalformedBody("A message lacks its guid, chat or author.")
    if raw["type"] == UPDATED:
        return _read_update(message, message.handle)
    return _read_message(config, message, message.handle, raw)


def _read_message(config: IMessageConfig, message: _Message, handle: _Handle, raw: dict[str, Any]) -> Parsed:
    files = tuple(_file(one) for one in message.attachments or () if one.guid)
    text = _words(message) or " ".join(f"[file: {file.name}]" for file in files)
    if not text:
        return Parsed(ignored="no_text")
    chat = message.chats[0]
    kind = ChatKind.GROUP if _GROUP in chat.guid else ChatKind.DIRECT
    return Parsed(
        messages=(
            InboundMessage(
                dedupe_key=short_key(message.guid),
                place=Place(chat.guid),
                chat_kind=kind,
                chat_title=chat.displayName or handle.address or kind,
                sender=_sender(handle),
                text=text,
                is_mention=kind is ChatKind.DIRECT or config.bot_id in _mentioned(message.attributedBody),
                message_id=message.guid,
                sent_at=_time(message.dateCreated),
                files=files,
                reply_to=message.threadOriginatorGuid or "",
                raw=raw,
            ),
        )
    )


def _read_update(message: _Message, handle: _Handle) -> Parsed:
    """Read an edit or a deletion; most updates only say that a message was delivered or read."""
    changed_ms = message.dateRetracted or message.dateEdited
    if not changed_ms:
        return Parsed(ignored="service_event")
    kind = ChangeKind.DELETED if message.dateRetracted else ChangeKind.EDITED
    change = InboundChange(
        dedupe_key=short_key(message.guid, kind, str(changed_ms)),
        place=Place(message.chats[0].guid),
        sender=_sender(handle),
        message_id=message.guid,
        kind=kind,
        text="" if kind is ChangeKind.DELETED else _words(message),
        changed_at=_time(changed_ms),
    )
    return Parsed(changes=(change,))


def _words(message: _Message) -> str:
    return (message.text or "").replace(_PLACEHOLDER, "").strip()


def _mentioned(bodies: object) -> set[str]:
    """Return who is mentioned: a mark on a run of the text, with the person's address."""
    found = set()
    for body in bodies if isinstance(bodies, list) else ():
        runs = body.get("runs") if isinstance(body, dict) else None
        for run in runs if isinstance(runs, list) else ():
            marks = run.get("attributes") if isinstance(run, dict) else None
            if isinstance(marks, dict) and isinstance(marks.get(_MENTION), str):
                found.add(marks[_MENTION])
    return found


def _sender(handle: _Handle) -> Sender:
    return Sender(handle.address, handle.address)


def _file(one: _Attachment) -> InboundFile:
    return InboundFile(
        ref=one.guid,
        name=one.transferName or "unnamed",
        content_type=one.mimeType or "application/octet-stream",
        size=one.totalBytes,
        is_voice=(one.transferName or "").endswith(".caf"),
    )


def _time(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1_000, UTC)
