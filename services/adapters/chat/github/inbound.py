"""GitHub's webhook calls: verified by their signature, then read as messages and changes. Pure.

Source: https://docs.github.com/en/webhooks/webhook-events-and-payloads
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from services.adapters.chat.github.config import GithubConfig
from services.adapters.chat.github.places import MAX_CHAT_ID, chat_id_of
from services.adapters.chat.github.text import without_mention
from services.adapters.chat.wire import read_object
from services.domain.errors import HookUnverified, MalformedBody
from services.domain.ports.chat import (
    ChangeKind,
    ChatKind,
    HookRequest,
    InboundChange,
    InboundMessage,
    Parsed,
    Place,
    Sender,
)

SIGNATURE_HEADER = "x-hub-signature-256"
EVENT_HEADER = "x-github-event"
DELIVERY_HEADER = "x-github-delivery"
# A hunk of code is shown as far as this with the first comment on it.
_MAX_HUNK_LINES = 20


class _Lenient(BaseModel):
    """A part of GitHub's JSON: known fields have their types, unknown ones are left out."""

    model_config = ConfigDict(extra="ignore", strict=True, hide_input_in_errors=True)


class _User(_Lenient):
    id: int
    login: str
    type: str = "User"


class _Named(_Lenient):
    name: str = ""
    login: str = ""


class _Repository(_Lenient):
    full_name: str


class _Numbered(_Lenient):
    """An issue or a pull request."""

    number: int
    title: str
    body: str | None = None
    user: _User | None = None
    created_at: str = ""


class _Comment(_Lenient):
    id: int
    body: str | None = None
    user: _User | None = None
    created_at: str = ""
    submitted_at: str | None = None
    updated_at: str | None = None
    in_reply_to_id: int | None = None
    path: str | None = None
    line: int | None = None
    diff_hunk: str | None = None


class _Installation(_Lenient):
    id: int


class _Call(_Lenient):
    action: str = ""
    sender: _User
    repository: _Repository
    installation: _Installation | None = None
    issue: _Numbered | None = None
    pull_request: _Numbered | None = None
    comment: _Comment | None = None
    review: _Comment | None = None
    label: _Named | None = None
    assignee: _Named | None = None
    changes: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class _Event:
    """One call as it is understood: what happened, to which issue or pull request, and the whole of it."""

    name: str
    guid: str
    call: _Call
    about: _Numbered
    raw: dict[str, Any]

    @property
    def chat_id(self) -> str:
        return chat_id_of(self.call.repository.full_name, self.about.number)


def verify(config: GithubConfig, request: HookRequest) -> None:
    """Check the signature over the raw body. Raises: HookUnverified."""
    secret = config.webhook_secret.get_secret_value().encode()
    good = f"sha256={hmac.new(secret, request.body, hashlib.sha256).hexdigest()}"
    given = request.headers.get(SIGNATURE_HEADER, "")
    if not hmac.compare_digest(given.encode("utf-8", "replace"), good.encode()):
        raise HookUnverified("The request's signature is missing or wrong.")


def parse(config: GithubConfig, request: HookRequest) -> Parsed:
    """Read one call. Raises: MalformedBody."""
    name, guid = request.headers.get(EVENT_HEADER, ""), request.headers.get(DELIVERY_HEADER, "")
    return read_event(config, name, guid, read_object(request.body))


def read_event(config: GithubConfig, name: str, guid: str, raw: dict[str, Any]) -> Parsed:
    """Read an event by its name and the id of its delivery, which a redelivery keeps. Raises: MalformedBody."""
    if name not in _READERS:
        return Parsed(ignored="ping" if name == "ping" else "unknown_type")
    try:
        call = _Call.model_validate(raw)
        about = call.issue or call.pull_request
        if about is None:
            raise MalformedBody("An event of GitHub's lacks its issue or pull request.")
        event = _Event(name, guid, call, about, raw)
        return _reason_to_ignore(config, event) or _READERS[name](config, event)
    except ValidationError as error:
        raise MalformedBody("The body is not an event of GitHub's.") from error


def _reason_to_ignore(config: GithubConfig, event: _Event) -> Parsed | None:
    installation = event.call.installation
    if installation is not None and installation.id != config.installation_id:
        return Parsed(ignored="other_installation")
    if str(event.call.sender.id) == config.bot_id:
        return Parsed(ignored="own_message")
    return Parsed(ignored="chat_id_too_long") if len(event.chat_id) > MAX_CHAT_ID else None


def _read_numbered(config: GithubConfig, event: _Event) -> Parsed:
    """Read what becomes of an issue or a pull request itself."""
    call = event.call
    match call.action:
        case "opened":
            return _opened(config, event)
        case "labeled" if config.label and call.label and call.label.name.lower() == config.label.lower():
            return _handed_over(config, event, f"labeled {config.label}")
        case "assigned" if (
            config.assignee and call.assignee and call.assignee.login.lower() == config.assignee.lower()
        ):
            return _handed_over(config, event, f"assigned to {config.assignee}")
        case "edited" if "body" in (call.changes or {}) or "title" in (call.changes or {}):
            return _changed(event, f"issue:{event.about.number}", ChangeKind.EDITED, _words(event.about))
        case "deleted":
            return _changed(event, f"issue:{event.about.number}", ChangeKind.DELETED, "")
        case "labeled" | "assigned" | "edited":
            return Parsed(ignored="not_for_the_agent")
        case _:
            return Parsed(ignored="unknown_type")


def _opened(config: GithubConfig, event: _Event) -> Parsed:
    text, is_named = without_mention(_words(event.about), config.bot_name)
    return Parsed(messages=(_issue_message(event, text, is_mention=is_named),))


def _handed_over(config: GithubConfig, event: _Event, how: str) -> Parsed:
    """Read a label or an assignment as a message of whoever did it: what is to be done is the issue itself."""
    text, _ = without_mention(_words(event.about), config.bot_name)
    message = InboundMessage(
        dedupe_key=f"{event.name}:{event.guid}",
        place=Place(event.chat_id),
        chat_kind=ChatKind.CHANNEL,
        chat_title=_title(event),
        sender=_sender(event.call.sender),
        text=f"[{how}]\n{text}",
        is_mention=True,
        message_id=f"issue:{event.about.number}",
        sent_at=_time(event.about.created_at),
        raw=event.raw,
    )
    if not event.guid:
        raise MalformedBody("A call of GitHub's lacks the id of its delivery.")
    return Parsed(messages=(message,))


def _read_comment(config: GithubConfig, event: _Event) -> Parsed:
    comment = event.call.review if event.name == "pull_request_review" else event.call.comment
    if comment is None:
        raise MalformedBody("An event of GitHub's lacks its comment.")
    is_on_line = event.name == "pull_request_review_comment"
    message_id = f"{'review_comment' if is_on_line else 'comment'}:{comment.id}"
    thread_id = str(comment.in_reply_to_id or comment.id) if is_on_line else None
    match event.call.action:
        case "created" | "submitted":
            return _commented(config, event, comment, message_id, thread_id)
        case "edited":
            return _changed(event, message_id, ChangeKind.EDITED, comment.body or "", thread_id)
        case "deleted":
            return _changed(event, message_id, ChangeKind.DELETED, "", thread_id)
        case _:
            return Parsed(ignored="unknown_type")


def _commented(
    config: GithubConfig, event: _Event, comment: _Comment, message_id: str, thread_id: str | None
) -> Parsed:
    """Read a comment, and before it, once, what it is about: the issue's own words, or the lines of code."""
    text, is_named = without_mention(comment.body or "", config.bot_name)
    if not text:
        return Parsed(ignored="no_text")
    message = InboundMessage(
        dedupe_key=f"{event.name}:{comment.id}",
        place=Place(event.chat_id, thread_id),
        chat_kind=ChatKind.CHANNEL,
        chat_title=_title(event),
        sender=_sender(comment.user or event.call.sender),
        text=text,
        is_mention=is_named,
        # A review as a whole has no reactions; the pull request that it is of has.
        message_id=message_id if event.name != "pull_request_review" else f"issue:{event.about.number}",
        sent_at=_time(comment.submitted_at or comment.created_at),
        raw=event.raw,
    )
    before = _issue_context(config, event) if thread_id is None else _hunk(event, comment, thread_id)
    return Parsed(messages=(*before, message))


def _issue_context(config: GithubConfig, event: _Event) -> tuple[InboundMessage, ...]:
    """Return the issue's own words, which an agent has to know; of an issue that was heard they are there already."""
    author = event.about.user
    if author is None or str(author.id) == config.bot_id:
        return ()
    text, _ = without_mention(_words(event.about), config.bot_name)
    return (_issue_message(event, text, is_mention=False),)


def _hunk(event: _Event, comment: _Comment, thread_id: str) -> tuple[InboundMessage, ...]:
    if not comment.diff_hunk or not comment.path:
        return ()
    lines = comment.diff_hunk.splitlines()[-_MAX_HUNK_LINES:]
    line = f" line {comment.line}" if comment.line else ""
    return (
        InboundMessage(
            dedupe_key=f"hunk:{thread_id}",
            place=Place(event.chat_id, thread_id),
            chat_kind=ChatKind.CHANNEL,
            chat_title=_title(event),
            sender=_sender(comment.user or event.call.sender),
            text="\n".join([f"[on {comment.path}{line}]", *lines]),
            is_mention=False,
            message_id=f"review_comment:{thread_id}",
            sent_at=_time(comment.created_at),
        ),
    )


def _issue_message(event: _Event, text: str, *, is_mention: bool) -> InboundMessage:
    return InboundMessage(
        dedupe_key=f"issue:{event.chat_id}"[:200],
        place=Place(event.chat_id),
        chat_kind=ChatKind.CHANNEL,
        chat_title=_title(event),
        sender=_sender(event.about.user or event.call.sender),
        text=text,
        is_mention=is_mention,
        message_id=f"issue:{event.about.number}",
        sent_at=_time(event.about.created_at),
        raw=event.raw,
    )


def _changed(
    event: _Event, message_id: str, kind: ChangeKind, text: str, thread_id: str | None = None
) -> Parsed:
    if not event.guid:
        raise MalformedBody("A call of GitHub's lacks the id of its delivery.")
    change = InboundChange(
        dedupe_key=f"{event.name}:{event.guid}",
        place=Place(event.chat_id, thread_id),
        sender=_sender(event.call.sender),
        message_id=message_id,
        kind=kind,
        text=text,
        changed_at=_changed_at(event),
    )
    return Parsed(changes=(change,))


def _changed_at(event: _Event) -> datetime:
    comment = event.call.comment or event.call.review
    updated = comment.updated_at if comment is not None else None
    return _time(updated or (comment.created_at if comment is not None else event.about.created_at))


def _words(about: _Numbered) -> str:
    return f"{about.title}\n\n{about.body or ''}".strip()


def _title(event: _Event) -> str:
    return f"{event.chat_id}: {event.about.title}"


def _sender(user: _User) -> Sender:
    return Sender(str(user.id), user.login, user.type == "Bot")


def _time(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise MalformedBody("A time of GitHub's is not a time.") from error
    if moment.tzinfo is None:
        raise MalformedBody("A time of GitHub's has no zone.")
    return moment


_READERS = {
    "issues": _read_numbered,
    "pull_request": _read_numbered,
    "issue_comment": _read_comment,
    "pull_request_review": _read_comment,
    "pull_request_review_comment": _read_comment,
}
