"""Reading what happens in a room. Pure; a homeserver hands on what others wrote, so that nothing in it is trusted.

Source: https://spec.matrix.org/v1.11/client-server-api/#instant-messaging
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from services.adapters.chat.matrix.config import MatrixConfig
from services.adapters.chat.matrix.outbound import BOT_MARK, ENCRYPTION
from services.adapters.chat.matrix.sealed_files import file_ref
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

MEMBER = "m.room.member"
_MAX_ID_CHARS = 120
_FILES = ("m.image", "m.file", "m.audio", "m.video")
_VOICE = "org.matrix.msc3245.voice"
_FACTS = (MEMBER, "m.room.name", ENCRYPTION)
_LAST_MS = 4_102_444_800_000  # 2100; beyond it a time is none
_FALLBACK = re.compile(r"(?:>[^\n]*\n)+\n?")


@dataclass(frozen=True, slots=True)
class Room:
    """What is known of a room: its members by their full names, with the names that they chose."""

    room_id: str
    name: str = ""
    members: Mapping[str, str] = field(default_factory=dict)
    is_direct: bool = False

    def kind(self) -> ChatKind:
        """Say whether somebody is alone with the bot."""
        return ChatKind.DIRECT if self.is_direct or len(self.members) in (1, 2) else ChatKind.GROUP

    def title(self, own_id: str) -> str:
        """Return the room's name, or the names of who is there."""
        others = [shown or user_id for user_id, shown in self.members.items() if user_id != own_id]
        return self.name or ", ".join(others[:3]) or self.room_id


def as_object(value: Any) -> dict[str, Any]:
    """Return a JSON object, or an empty one for anything else."""
    return value if isinstance(value, dict) else {}


def as_objects(value: Any) -> list[dict[str, Any]]:
    """Return the objects in a JSON array, or nothing."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def as_text(value: Any) -> str:
    """Return a JSON string, or an empty text for anything else."""
    return value if isinstance(value, str) else ""


def changes_room(event: Mapping[str, Any]) -> bool:
    """Say whether after this event something else is known of its room."""
    return "state_key" in event and event.get("type") in _FACTS


def after_invitation(config: MatrixConfig, events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Leave out what was said before the bot was invited, or came; all stays where it was there before."""
    for index in range(len(events) - 1, -1, -1):
        event = events[index]
        if event.get("type") != MEMBER or event.get("state_key") != config.bot_id:
            continue
        before = as_object(as_object(event.get("unsigned")).get("prev_content")).get("membership")
        if as_object(event.get("content")).get("membership") == "invite" or before != "invite":
            return events[index + 1 :]
    return events


def read_event(config: MatrixConfig, room: Room, event: dict[str, Any]) -> Parsed | None:
    """Read one event of a room's timeline; None for the room's own state, which nobody says to anybody."""
    if "state_key" in event:
        return None
    event_id, sender = as_text(event.get("event_id")), as_text(event.get("sender"))
    sent_at = _sent_at(event.get("origin_server_ts"))
    is_readable = 0 < len(event_id) <= _MAX_ID_CHARS >= len(room.room_id)
    if not is_readable or not sender or sent_at is None:
        return Parsed(ignored="unreadable")
    if sender == config.bot_id:
        return Parsed(ignored="own_message")
    author = Sender(sender, room.members.get(sender) or sender)
    content = as_object(event.get("content"))
    match event.get("type"):
        case "m.room.message":
            return _read_message(config, room, event, author, sent_at)
        case "m.room.redaction":
            target = as_text(content.get("redacts")) or as_text(event.get("redacts"))
            return _change(room, event_id, author, target, ChangeKind.DELETED, "", sent_at)
        case "m.room.encrypted":
            return Parsed(ignored="encrypted_room")
        case "m.reaction":
            return Parsed(ignored="reaction")
    return Parsed(ignored="unknown_type")


def _read_message(
    config: MatrixConfig, room: Room, event: dict[str, Any], author: Sender, sent_at: datetime
) -> Parsed:
    content = as_object(event.get("content"))
    if not content:
        return Parsed(ignored="deleted_message")
    # A notice is by its definition what a program says, and must not be answered by one.
    if content.get("msgtype") == "m.notice" or content.get(BOT_MARK) is True:
        return Parsed(ignored="bot_message")
    relates = as_object(content.get("m.relates_to"))
    target = as_text(relates.get("event_id"))
    event_id = str(event["event_id"])
    if relates.get("rel_type") == "m.replace":
        text = _without_mention(config, as_text(as_object(content.get("m.new_content")).get("body")))
        return _change(room, event_id, author, target, ChangeKind.EDITED, text, sent_at)
    answered = as_text(as_object(relates.get("m.in_reply_to")).get("event_id"))
    is_thread = relates.get("rel_type") == "m.thread" and 0 < len(target) <= _MAX_ID_CHARS
    text, files = _said(content, is_reply=bool(answered))
    is_mention = room.kind() is ChatKind.DIRECT or _is_named(config, content, text)
    text = _without_mention(config, text)
    if not text and not files:
        return Parsed(ignored="no_text")
    message = InboundMessage(
        dedupe_key=event_id,
        place=Place(room.room_id, target if is_thread else None),
        chat_kind=room.kind(),
        chat_title=room.title(config.bot_id),
        sender=author,
        text=text,
        is_mention=is_mention,
        message_id=event_id,
        sent_at=sent_at,
        files=files,
        reply_to=answered[:_MAX_ID_CHARS],
        raw=event,
    )
    return Parsed(messages=(message,))


def _change(
    room: Room, event_id: str, author: Sender, target: str, kind: ChangeKind, text: str, changed_at: datetime
) -> Parsed:
    if not 0 < len(target) <= _MAX_ID_CHARS:
        return Parsed(ignored="unreadable")
    place = Place(room.room_id)
    return Parsed(changes=(InboundChange(event_id, place, author, target, kind, text, changed_at),))


def _said(content: Mapping[str, Any], *, is_reply: bool) -> tuple[str, tuple[InboundFile, ...]]:
    """Return the words of a message, and its file."""
    body, kind = as_text(content.get("body")), content.get("msgtype")
    if kind in _FILES:
        name = as_text(content.get("filename")) or body or "unnamed"
        caption = "" if body == name else body.strip()
        return f"[file: {name}] {caption}".strip(), _file(content, name)
    if is_reply:
        # Older clients repeat what they answer in front of it.
        body = _FALLBACK.sub("", body, count=1) if body.startswith("> <") else body
    text = f"* {body}" if kind == "m.emote" and body else body
    return text.strip(), ()


def _file(content: Mapping[str, Any], name: str) -> tuple[InboundFile, ...]:
    facts, ref = as_object(content.get("info")), as_text(content.get("url"))
    with suppress(KeyError, TypeError):
        ref = ref or file_ref(as_object(content.get("file")))
    size = facts.get("size")
    if not ref:
        return ()
    return (
        InboundFile(
            ref=ref,
            name=name[:200],
            content_type=as_text(facts.get("mimetype"))[:100] or "application/octet-stream",
            size=size if isinstance(size, int) and 0 <= size < 2**53 else None,
            is_voice=_VOICE in content,
        ),
    )


def _is_named(config: MatrixConfig, content: Mapping[str, Any], text: str) -> bool:
    """Say whether a message mentions the bot: by its sender's own word for it, else by a name in the text."""
    mentions = content.get("m.mentions")
    if isinstance(mentions, dict):
        named = mentions.get("user_ids")
        return isinstance(named, list) and config.bot_id in named
    return re.search(rf"(?<!\w)@?(?:{_names(config)})(?!\w)", text, re.IGNORECASE) is not None


def _without_mention(config: MatrixConfig, text: str) -> str:
    """Take the bot's name from the beginning; a name alone stays."""
    rest = re.sub(rf"^@?(?:{_names(config)})(?!\w)[:,]?\s*", "", text, count=1, flags=re.IGNORECASE).strip()
    return rest or text


def _names(config: MatrixConfig) -> str:
    names = [config.bot_id.removeprefix("@"), config.bot_name]
    return "|".join(re.escape(name) for name in names if name) or r"(?!)"


def _sent_at(milliseconds: Any) -> datetime | None:
    if isinstance(milliseconds, bool) or not isinstance(milliseconds, int):
        return None
    return datetime.fromtimestamp(milliseconds / 1000, UTC) if 0 <= milliseconds < _LAST_MS else None
