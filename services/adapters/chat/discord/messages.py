"""Messages, and what becomes of them, as the gateway sends them. Pure.

Source: https://docs.discord.com/developers/events/gateway-events#messages
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any, TypeVar

from pydantic import ValidationError

from services.adapters.chat.discord.config import DiscordConfig
from services.adapters.chat.discord.wire import THREADS, Channel, Lenient, Member, Snowflake, User, made_at
from services.domain.errors import MalformedBody
from services.domain.ports.chat import (
    ChangeKind,
    ChatKind,
    InboundChange,
    InboundFile,
    InboundMessage,
    Parsed,
    Place,
    Sender,
)

# What people write: a message, an answer to one. All else is Discord's own: who joined, what was pinned.
_WRITTEN = (0, 19)
_VOICE = 1 << 13
_EMOJI = re.compile(r"<a?(:[A-Za-z0-9_]{1,40}:)[0-9]{1,19}>")
T = TypeVar("T", bound=Lenient)
_CHANNEL = re.compile(r"<#([0-9]{1,19})>")


class _Attachment(Lenient):
    id: Snowflake
    filename: str = ""
    content_type: str | None = None
    size: int | None = None


class _Sticker(Lenient):
    name: str = ""


class _Referenced(Lenient):
    id: Snowflake
    author: User | None = None


class _Reference(Lenient):
    message_id: Snowflake | None = None


class _Message(Lenient):
    id: Snowflake
    channel_id: Snowflake
    guild_id: Snowflake | None = None
    type: int = 0
    author: User
    member: Member | None = None
    content: str = ""
    webhook_id: Snowflake | None = None
    flags: int = 0
    edited_timestamp: str | None = None
    mentions: list[User] = []
    attachments: list[_Attachment] = []
    sticker_items: list[_Sticker] = []
    message_reference: _Reference | None = None
    referenced_message: _Referenced | None = None


class _Gone(Lenient):
    id: Snowflake | None = None
    ids: list[Snowflake] = []
    channel_id: Snowflake


def read_channel_id(raw: dict[str, Any]) -> tuple[str | None, bool]:
    """Return the channel of an event, and whether it is in a server: only there has it a kind and a name to ask for."""
    channel_id = raw.get("channel_id")
    return (channel_id if isinstance(channel_id, str) else None), isinstance(raw.get("guild_id"), str)


def read_message(config: DiscordConfig, raw: dict[str, Any], channel: Channel | None) -> Parsed:
    """Read a new message; `channel` is where it was written, None in a direct chat. Raises: MalformedBody."""
    message = _validated(_Message, raw)
    if message.author.id == config.bot_id:
        return Parsed(ignored="own_message")
    if message.type not in _WRITTEN:
        return Parsed(ignored="unknown_type")
    text, is_named = _text_of(config, message)
    if not text:
        return Parsed(ignored="no_text")
    answered = message.referenced_message
    is_answer = answered is not None and answered.author is not None and answered.author.id == config.bot_id
    sender = _sender(message)
    found = InboundMessage(
        dedupe_key=f"message:{message.id}",
        place=_place(message.channel_id, channel, message.id),
        chat_kind=ChatKind.DIRECT if channel is None else ChatKind.CHANNEL,
        chat_title=sender.display_name if channel is None else channel.name or "",
        sender=sender,
        text=text,
        is_mention=channel is None or is_named or is_answer,
        message_id=message.id,
        sent_at=made_at(message.id),
        files=tuple(_file(message, attachment) for attachment in message.attachments),
        reply_to=(message.message_reference.message_id or "") if message.message_reference else "",
        raw=raw,
    )
    return Parsed(messages=(found,))


def read_edit(config: DiscordConfig, raw: dict[str, Any], channel: Channel | None) -> Parsed:
    """Read a changed message. Discord also sends these when a preview is added. Raises: MalformedBody."""
    message = _validated(_Message, raw)
    if message.author.id == config.bot_id:
        return Parsed(ignored="own_message")
    if message.edited_timestamp is None or message.type not in _WRITTEN:
        return Parsed(ignored="not_edited")
    try:
        changed_at = datetime.fromisoformat(message.edited_timestamp)
    except ValueError as error:
        raise MalformedBody("The time of a change is not a time.") from error
    text, _ = _text_of(config, message)
    change = InboundChange(
        dedupe_key=f"edit:{message.id}:{message.edited_timestamp}",
        place=_place(message.channel_id, channel, message.id),
        sender=_sender(message),
        message_id=message.id,
        kind=ChangeKind.EDITED,
        text=text,
        changed_at=changed_at if changed_at.tzinfo else changed_at.replace(tzinfo=UTC),
    )
    return Parsed(changes=(change,))


def read_deletion(raw: dict[str, Any], channel: Channel | None, deleted_at: datetime) -> Parsed:
    """Read which messages are gone, one or many; whose they were Discord does not say. Raises: MalformedBody."""
    gone = _validated(_Gone, raw)
    ids = gone.ids or ([gone.id] if gone.id is not None else [])
    return Parsed(
        changes=tuple(
            InboundChange(
                dedupe_key=f"delete:{message_id}",
                place=_place(gone.channel_id, channel, message_id),
                sender=Sender("", ""),
                message_id=message_id,
                kind=ChangeKind.DELETED,
                text="",
                changed_at=deleted_at,
            )
            for message_id in ids
        )
    )


def _place(channel_id: str, channel: Channel | None, message_id: str) -> Place:
    """Return the place to answer in: in a channel each message may open a thread, whose id is then its own."""
    if channel is None:
        return Place(channel_id)
    if channel.type in THREADS and channel.parent_id is not None:
        return Place(channel.parent_id, channel_id)
    return Place(channel_id, message_id)


def _text_of(config: DiscordConfig, message: _Message) -> tuple[str, bool]:
    """Return a message's text as people see it with the names of its files, and whether the bot is named in it."""
    text = message.content
    is_named = any(user.id == config.bot_id for user in message.mentions)
    for user in message.mentions:
        shown = "" if user.id == config.bot_id else f"@{user.global_name or user.username or user.id}"
        text = re.sub(rf"<@!?{user.id}>", lambda _, shown=shown: shown, text)  # type: ignore[misc]
    text = _CHANNEL.sub(r"#\1", _EMOJI.sub(r"\1", text))
    if is_named:
        text = re.sub(r"(?<=\S) {2,}(?=\S)", " ", text)
    names = [f"[file: {one.filename or 'unnamed'}]" for one in message.attachments]
    stickers = [f"[sticker: {one.name or 'unnamed'}]" for one in message.sticker_items]
    rest = " ".join([*names, *stickers, text.strip()]).strip()
    # A mention alone still says something.
    return rest or (f"@{config.bot_name}" if is_named else ""), is_named


def _file(message: _Message, attachment: _Attachment) -> InboundFile:
    """Read a file. Its address is good for a day only, so that it is asked for anew with the message."""
    return InboundFile(
        ref=f"{message.channel_id}/{message.id}/{attachment.id}",
        name=attachment.filename or "file",
        content_type=attachment.content_type or "application/octet-stream",
        size=attachment.size,
        is_voice=bool(message.flags & _VOICE),
    )


def _sender(message: _Message) -> Sender:
    sender = message.author.sender(message.member.nick if message.member else None)
    return Sender(sender.platform_id, sender.display_name, sender.is_bot or message.webhook_id is not None)


def _validated(model: type[T], raw: dict[str, Any]) -> T:
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        raise MalformedBody("The event is not one of Discord's messages.") from error
