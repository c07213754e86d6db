"""Google Chat's events, in both of their forms, as messages and presses. Pure.

Source: https://developers.google.com/workspace/chat/api/reference/rest/v1/Event,
https://developers.google.com/workspace/add-ons/concepts/event-objects#chat-event-object
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from services.adapters.chat.googlechat.config import GoogleChatConfig
from services.adapters.chat.wire import read_object, short_key
from services.domain.errors import MalformedBody
from services.domain.ports.chat import (
    ChatKind,
    HookReply,
    HookRequest,
    InboundFile,
    InboundMessage,
    InboundPress,
    Parsed,
    Place,
    Sender,
)

VALUE = "value"
# An empty object says that the answer comes later, by the API.
_LATER = HookReply(content_type="application/json", body=b"{}")
_PAYLOADS = {
    "messagePayload": "MESSAGE",
    "appCommandPayload": "MESSAGE",
    "buttonClickedPayload": "CARD_CLICKED",
    "addedToSpacePayload": "ADDED_TO_SPACE",
    "removedFromSpacePayload": "REMOVED_FROM_SPACE",
}
_OWN_NAME = "users/app"


class _Lenient(BaseModel):
    """A part of an event: known fields have their types, unknown ones are left out."""

    model_config = ConfigDict(extra="ignore", strict=True, hide_input_in_errors=True)


class _User(_Lenient):
    name: str = Field(default="", max_length=120)
    displayName: str | None = None
    type: str | None = None


class _Space(_Lenient):
    name: str = Field(default="", max_length=120)
    displayName: str | None = None
    type: str | None = None
    spaceType: str | None = None
    singleUserBotDm: bool | None = None


class _Thread(_Lenient):
    name: str = Field(default="", max_length=120)


class _DataRef(_Lenient):
    resourceName: str | None = None


class _Attachment(_Lenient):
    contentName: str | None = None
    contentType: str | None = None
    source: str | None = None
    attachmentDataRef: _DataRef | None = None


class _Message(_Lenient):
    name: str = Field(default="", max_length=120)
    sender: _User | None = None
    createTime: str | None = None
    text: str | None = None
    argumentText: str | None = None
    thread: _Thread | None = None
    space: _Space | None = None
    attachment: list[_Attachment] | None = None


class _Parameter(_Lenient):
    key: str = ""
    value: str | None = None


class _Action(_Lenient):
    parameters: list[_Parameter] | None = None


class _Common(_Lenient):
    parameters: dict[str, str] | None = None


class _Event(_Lenient):
    type: str = ""
    eventTime: str | None = None
    user: _User | None = None
    space: _Space | None = None
    message: _Message | None = None
    action: _Action | None = None
    common: _Common | None = None


def parse(config: GoogleChatConfig, request: HookRequest) -> Parsed:
    """Read one event. Raises: MalformedBody."""
    raw = read_object(request.body)
    try:
        event = _Event.model_validate(_as_event(raw))
    except ValidationError as error:
        raise MalformedBody("The body is not an event of Google Chat's.") from error
    match event.type:
        case "MESSAGE":
            return _read_message(config, event, raw)
        case "CARD_CLICKED":
            return _read_press(event)
        case "ADDED_TO_SPACE" if event.message is not None:
            # Somebody added the app by mentioning it: the words came with it.
            return _read_message(config, event, raw)
        case "ADDED_TO_SPACE" | "REMOVED_FROM_SPACE":
            return Parsed(ignored="service_event", reply=_LATER)
    return Parsed(ignored="unknown_type")


def _as_event(raw: dict[str, Any]) -> dict[str, Any]:
    """Return an add-on's event in the form of a plain one."""
    chat = raw.get("chat")
    if not isinstance(chat, dict):
        return raw
    name = next((name for name in _PAYLOADS if isinstance(chat.get(name), dict)), None)
    payload: dict[str, Any] = chat[name] if name else {}
    return {
        "type": _PAYLOADS.get(name or "", ""),
        "eventTime": chat.get("eventTime"),
        "user": chat.get("user"),
        "space": payload.get("space"),
        "message": payload.get("message"),
        "common": raw.get("commonEventObject"),
    }


def _read_message(config: GoogleChatConfig, event: _Event, raw: dict[str, Any]) -> Parsed:
    message, space, sender = _parts(event)
    author = message.sender or sender
    if author.name in (config.bot_id, _OWN_NAME):
        return Parsed(ignored="own_message")
    kind = _chat_kind(space)
    said = (message.text or "").strip()
    # The argument is the text without the app's names; without any it is the same.
    words = said if message.argumentText is None else message.argumentText.strip()
    files = tuple(_files(message))
    text = words or said or " ".join(f"[file: {file.name}]" for file in files)
    if not text:
        return Parsed(ignored="no_text", reply=_LATER)
    return Parsed(
        messages=(
            InboundMessage(
                dedupe_key=short_key(message.name),
                place=_place(kind, space, message),
                chat_kind=kind,
                chat_title=space.displayName or _name(author),
                sender=Sender(author.name, _name(author), is_bot=author.type == "BOT"),
                text=text,
                is_mention=kind is ChatKind.DIRECT or words != said,
                message_id=message.name,
                sent_at=_time(message.createTime or event.eventTime),
                files=files,
                raw=raw,
            ),
        ),
        reply=_LATER,
    )


def _read_press(event: _Event) -> Parsed:
    message, space, person = _parts(event)
    named = {one.key: one.value for one in (event.action.parameters if event.action else None) or ()}
    given = (event.common.parameters if event.common else None) or {}
    value = named.get(VALUE) or given.get(VALUE)
    if value is None:
        return Parsed(ignored="unknown_type")
    press = InboundPress(
        dedupe_key=short_key("press", message.name, person.name, _time(event.eventTime).isoformat()),
        place=_place(_chat_kind(space), space, message),
        sender=Sender(person.name, _name(person)),
        message_id=message.name,
        value=value,
    )
    return Parsed(presses=(press,), reply=_LATER)


def _parts(event: _Event) -> tuple[_Message, _Space, _User]:
    message, person = event.message, event.user
    space = event.space or (message.space if message else None)
    if message is None or space is None or person is None:
        raise MalformedBody("An event lacks its message, space or user.")
    if not message.name or not space.name.startswith("spaces/") or not person.name:
        raise MalformedBody("An event's message, space or user has no name.")
    return message, space, person


def _chat_kind(space: _Space) -> ChatKind:
    if space.spaceType == "DIRECT_MESSAGE" or space.type == "DM" or space.singleUserBotDm:
        return ChatKind.DIRECT
    return ChatKind.GROUP if space.spaceType == "GROUP_CHAT" else ChatKind.CHANNEL


def _place(kind: ChatKind, space: _Space, message: _Message) -> Place:
    """Return where to answer: in a space in the message's thread, in a direct chat wherever one is."""
    thread = message.thread.name if message.thread and kind is not ChatKind.DIRECT else ""
    return Place(space.name, thread or None)


def _files(message: _Message) -> list[InboundFile]:
    """List what was uploaded; what is in Drive cannot be had as a Chat app."""
    found = []
    for one in message.attachment or ():
        ref = one.attachmentDataRef.resourceName if one.attachmentDataRef else None
        found.append(
            InboundFile(
                ref=ref or "",
                name=one.contentName or "unnamed",
                content_type=one.contentType or "application/octet-stream",
            )
        )
    return found


def _name(user: _User) -> str:
    return user.displayName or user.name


def _time(text: str | None) -> datetime:
    try:
        moment = datetime.fromisoformat(text or "")
    except ValueError as error:
        raise MalformedBody("An event's time is not a time.") from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
