"""Webex's hooks: verified by their signature, and read once they are complete. Pure."""

from __future__ import annotations

import hashlib
import hmac
import re
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from services.adapters.chat.adaptive_cards import read_value
from services.adapters.chat.webex import completing
from services.adapters.chat.webex.config import WebexConfig
from services.adapters.chat.wire import read_object, short_key
from services.domain.errors import HookUnverified, MalformedBody
from services.domain.ports.chat import (
    ChangeKind,
    ChatKind,
    HookRequest,
    InboundChange,
    InboundFile,
    InboundMessage,
    InboundPress,
    Parsed,
    Place,
    Sender,
)

SIGNATURE = "x-spark-signature"
DELETED = ("messages", "deleted")
NAMED = (("messages", "created"), ("messages", "updated"), ("attachmentActions", "created"))
_BOT_DOMAINS = ("@webex.bot", "@sparkbot.io")
_MENTION = re.compile(r"<spark-mention[^<>]*data-object-id=\"([^\"<>]*)\"[^<>]*>([^<>]*)</spark-mention>")


class _Lenient(BaseModel):
    """A part of Webex's JSON: known fields have their types, unknown ones are left out."""

    model_config = ConfigDict(extra="ignore", strict=True, hide_input_in_errors=True)


class _Data(_Lenient):
    id: str = Field(default="", max_length=120)
    roomId: str = Field(default="", max_length=120)
    roomType: str = ""
    parentId: str | None = Field(default=None, max_length=120)
    personId: str = Field(default="", max_length=120)
    personEmail: str = ""


class _Hook(_Lenient):
    id: str = ""
    resource: str = ""
    event: str = ""
    actorId: str = Field(default="", max_length=120)
    created: str | None = None
    data: _Data | None = None


class _Fetched(_Data):
    text: str | None = None
    html: str | None = None
    mentionedPeople: list[str] | None = None
    created: str | None = None
    updated: str | None = None
    messageId: str | None = Field(default=None, max_length=120)
    inputs: dict[str, Any] | None = None


class _Person(_Lenient):
    displayName: str | None = None
    nickName: str | None = None
    type: str | None = None


class _Room(_Lenient):
    title: str | None = None


class _File(_Lenient):
    url: str = ""
    name: str | None = None
    content_type: str | None = None
    size: int | None = None


class _Complete(_Lenient):
    hook: _Hook
    fetched: _Fetched
    person: _Person | None = None
    room: _Room | None = None
    files: list[_File] | None = None


def verify(config: WebexConfig, request: HookRequest) -> None:
    """Check the signature, HMAC-SHA1 over the raw body, which has no time in it. Raises: HookUnverified."""
    expected = hmac.new(config.hook_secret, request.body, hashlib.sha1).hexdigest()
    given = request.headers.get(SIGNATURE, "").lower()
    if not hmac.compare_digest(expected.encode(), given.encode("utf-8", "replace")):
        raise HookUnverified("The request's signature is wrong.")


def parse(config: WebexConfig, request: HookRequest) -> Parsed:
    """Read a hook: one that only names what happened is incomplete. Raises: MalformedBody."""
    raw = read_object(request.body)
    try:
        if completing.FETCHED in raw:
            return _read_complete(config, _Complete.model_validate(raw), raw)
        hook = _Hook.model_validate(raw)
    except ValidationError as error:
        raise MalformedBody("The body is not a hook of Webex's.") from error
    what = (hook.resource, hook.event)
    if what != DELETED and what not in NAMED:
        return Parsed(ignored="unknown_type")
    if hook.actorId == config.bot_id:
        return Parsed(ignored="own_message")
    if hook.data is None or not hook.data.id:
        raise MalformedBody("A Webex hook names nothing.")
    return _read_deletion(hook, hook.data) if what == DELETED else Parsed(is_incomplete=True)


def _read_complete(config: WebexConfig, given: _Complete, raw: dict[str, Any]) -> Parsed:
    what, fetched = (given.hook.resource, given.hook.event), given.fetched
    if what not in NAMED:
        return Parsed(ignored="unknown_type")
    if fetched.personId == config.bot_id:
        return Parsed(ignored="own_message")
    if not fetched.id or not fetched.roomId or not fetched.personId:
        raise MalformedBody("A Webex message lacks its id, room or author.")
    if given.hook.resource == "attachmentActions":
        return _read_press(given)
    text, is_named = _words(config, fetched)
    if what == ("messages", "updated"):
        return _read_edit(given, text)
    return _read_message(given, text, is_named, raw)


def _read_message(given: _Complete, text: str, is_named: bool, raw: dict[str, Any]) -> Parsed:
    fetched, kind = given.fetched, _chat_kind(given.fetched)
    files = tuple(_file(one) for one in given.files or () if one.url)
    text = text or " ".join(f"[file: {file.name}]" for file in files)
    if not text:
        return Parsed(ignored="no_text")
    sender = _sender(given)
    title = given.room.title if given.room and given.room.title else sender.display_name
    return Parsed(
        messages=(
            InboundMessage(
                dedupe_key=short_key(fetched.id),
                place=_place(fetched),
                chat_kind=kind,
                chat_title=title,
                sender=sender,
                text=text,
                is_mention=kind is ChatKind.DIRECT or is_named,
                message_id=fetched.id,
                sent_at=_time(fetched.created),
                files=files,
                reply_to=fetched.parentId or "",
                raw=raw,
            ),
        )
    )


def _read_edit(given: _Complete, text: str) -> Parsed:
    fetched, changed_at = given.fetched, _time(given.fetched.updated or given.hook.created)
    return Parsed(
        changes=(
            InboundChange(
                dedupe_key=short_key(fetched.id, ChangeKind.EDITED, changed_at.isoformat()),
                place=_place(fetched),
                sender=_sender(given),
                message_id=fetched.id,
                kind=ChangeKind.EDITED,
                text=text,
                changed_at=changed_at,
            ),
        )
    )


def _read_deletion(hook: _Hook, data: _Data) -> Parsed:
    person_id = hook.actorId or data.personId
    if not data.roomId or not person_id:
        raise MalformedBody("A Webex deletion lacks its room or author.")
    return Parsed(
        changes=(
            InboundChange(
                dedupe_key=short_key(data.id, ChangeKind.DELETED),
                place=_place(data),
                sender=Sender(person_id, data.personEmail or person_id),
                message_id=data.id,
                kind=ChangeKind.DELETED,
                text="",
                changed_at=_time(hook.created),
            ),
        )
    )


def _read_press(given: _Complete) -> Parsed:
    value = read_value(given.fetched.inputs)
    if value is None or not given.fetched.messageId:
        return Parsed(ignored="unknown_type")
    press = InboundPress(
        dedupe_key=short_key("press", given.fetched.id),
        place=Place(given.fetched.roomId),
        sender=_sender(given),
        message_id=given.fetched.messageId,
        value=value,
    )
    return Parsed(presses=(press,))


def _words(config: WebexConfig, fetched: _Fetched) -> tuple[str, bool]:
    """Return the text without the bot's name, and whether that was in it. The name is marked in the HTML only."""
    text = fetched.text or ""
    if config.bot_id not in (fetched.mentionedPeople or ()):
        return text.strip(), False
    names = [name for person_id, name in _MENTION.findall(fetched.html or "") if person_id == config.bot_id]
    rest = text
    for name in filter(None, names):
        rest = rest.replace(name, "", 1)
    rest = re.sub(r"(?<=\S) {2,}(?=\S)", " ", rest).strip()
    return rest or text.strip(), True


def _place(data: _Data) -> Place:
    """Return where to answer: in a room each message opens a thread, of which there is one level."""
    thread = data.parentId or (None if _chat_kind(data) is ChatKind.DIRECT else data.id)
    return Place(data.roomId, thread)


def _chat_kind(data: _Data) -> ChatKind:
    return ChatKind.DIRECT if data.roomType == "direct" else ChatKind.GROUP


def _sender(given: _Complete) -> Sender:
    person = given.person or _Person()
    name = person.displayName or person.nickName or given.fetched.personEmail or given.fetched.personId
    is_bot = person.type == "bot" or given.fetched.personEmail.endswith(_BOT_DOMAINS)
    return Sender(given.fetched.personId, name, is_bot=is_bot)


def _file(one: _File) -> InboundFile:
    return InboundFile(
        ref=one.url,
        name=one.name or "unnamed",
        content_type=one.content_type or "application/octet-stream",
        size=one.size,
    )


def _time(text: str | None) -> datetime:
    try:
        moment = datetime.fromisoformat(text or "")
    except ValueError as error:
        raise MalformedBody("A Webex time is not a time.") from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
