"""What comes in by webhook: a small JSON of our own, documented in the README. Pure."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from services.adapters.chat.webhook.config import WebhookConfig
from services.adapters.chat.wire import read_object
from services.domain.errors import MalformedBody
from services.domain.ports.chat import (
    ChangeKind,
    ChatKind,
    HookRequest,
    InboundChange,
    InboundFile,
    InboundMessage,
    InboundPress,
    InboundStop,
    Parsed,
    Place,
    Sender,
)

MAX_FILES = 50


class _Part(BaseModel):
    """A part of the JSON: known fields have their types, unknown ones are left out."""

    model_config = ConfigDict(extra="ignore", strict=True, hide_input_in_errors=True)


class _Chat(_Part):
    id: str = Field(min_length=1, max_length=90)
    kind: Literal["direct", "group", "channel"] = "direct"
    title: str = ""


class _Sender(_Part):
    id: str = Field(min_length=1, max_length=120)
    name: str = ""
    is_bot: bool = False


class _File(_Part):
    url: str = Field(min_length=1, max_length=2_000)
    name: str = "file"
    content_type: str = "application/octet-stream"
    size: int | None = None
    is_voice: bool = False


class _Body(_Part):
    """Everything that may be said, whatever its type; what a type needs is checked with it."""

    type: str
    id: str = Field(default="", max_length=90)
    chat: _Chat | None = None
    thread: str | None = Field(default=None, max_length=120)
    sender: _Sender | None = None
    text: str = ""
    is_mention: bool | None = None
    sent_at: AwareDatetime | None = Field(default=None, strict=False)
    reply_to: str = ""
    message_id: str = Field(default="", max_length=120)
    value: str = ""
    files: list[_File] = Field(default_factory=list, max_length=MAX_FILES)


def parse(config: WebhookConfig, request: HookRequest) -> Parsed:
    """Read one verified call. Raises: MalformedBody."""
    raw = read_object(request.body)
    kind = raw.get("type")
    if not isinstance(kind, str) or kind not in _READERS:
        return Parsed(ignored="unknown_type")
    try:
        body = _Body.model_validate(raw)
    except (ValidationError, OverflowError) as error:
        raise MalformedBody("The body is not what the webhook takes.") from error
    if body.chat is None or body.sender is None or not body.id:
        raise MalformedBody("The body lacks its id, chat or sender.")
    if body.sender.id == config.bot_id:
        return Parsed(ignored="own_message")
    return _READERS[body.type](body, body.chat, body.sender, request.received_at, raw)


def _message(body: _Body, chat: _Chat, sender: _Sender, at: datetime, raw: dict[str, Any]) -> Parsed:
    names = [f"[file: {file.name}]" for file in body.files]
    text = " ".join([*names, body.text]).strip()
    if not text:
        return Parsed(ignored="no_text")
    kind = ChatKind(chat.kind)
    files = tuple(
        InboundFile(file.url, file.name, file.content_type, file.size, file.is_voice) for file in body.files
    )
    message = InboundMessage(
        dedupe_key=f"{chat.id}:{body.id}",
        place=Place(chat.id, body.thread or None),
        chat_kind=kind,
        chat_title=chat.title or chat.id,
        sender=_sender(sender),
        text=text,
        is_mention=body.is_mention if body.is_mention is not None else kind is ChatKind.DIRECT,
        message_id=body.id,
        sent_at=body.sent_at or at,
        files=files,
        reply_to=body.reply_to,
        raw=raw,
    )
    return Parsed(messages=(message,))


def _change(body: _Body, chat: _Chat, sender: _Sender, at: datetime, raw: dict[str, Any]) -> Parsed:
    if not body.message_id:
        raise MalformedBody("The body does not say which message changed.")
    kind = ChangeKind(body.type.removeprefix("message."))
    text = body.text.strip() if kind is ChangeKind.EDITED else ""
    place = Place(chat.id, body.thread or None)
    change = InboundChange(
        f"{chat.id}:{body.id}", place, _sender(sender), body.message_id, kind, text, body.sent_at or at
    )
    return Parsed(changes=(change,))


def _press(body: _Body, chat: _Chat, sender: _Sender, at: datetime, raw: dict[str, Any]) -> Parsed:
    if not body.message_id or not body.value:
        raise MalformedBody("The body does not say what was pressed.")
    place = Place(chat.id, body.thread or None)
    press = InboundPress(
        f"press:{chat.id}:{body.id}", place, _sender(sender), body.message_id, body.value, body.id
    )
    return Parsed(presses=(press,))


def _stop(body: _Body, chat: _Chat, sender: _Sender, at: datetime, raw: dict[str, Any]) -> Parsed:
    return Parsed(
        stops=(InboundStop(f"{chat.id}:{body.id}", Place(chat.id, body.thread or None), _sender(sender)),)
    )


def _sender(sender: _Sender) -> Sender:
    return Sender(sender.id, sender.name or sender.id, sender.is_bot)


_READERS = {
    "message": _message,
    "message.edited": _change,
    "message.deleted": _change,
    "press": _press,
    "stop": _stop,
}
