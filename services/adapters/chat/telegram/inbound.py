"""Telegram's webhook calls: verified by their secret header, then read as updates. Pure."""

from __future__ import annotations

import hmac
import re
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from telegram import CallbackQuery, Chat, Message, MessageEntity, Update, User

from services.adapters.chat.telegram.config import TelegramConfig
from services.adapters.chat.telegram.files import files_of
from services.adapters.chat.wire import read_object
from services.domain.errors import HookUnverified, MalformedBody
from services.domain.ports.chat import (
    ChangeKind,
    ChatKind,
    HookRequest,
    InboundChange,
    InboundMessage,
    InboundPress,
    InboundStop,
    Parsed,
    Place,
    Sender,
)

SECRET_HEADER = "x-telegram-bot-api-secret-token"  # noqa: S105 - the header's name, not a secret

_KINDS = {
    "private": ChatKind.DIRECT,
    "group": ChatKind.GROUP,
    "supergroup": ChatKind.GROUP,
    "channel": ChatKind.CHANNEL,
}
# The first one found names the message: an animation comes with a document, a venue with a location.
_MEDIA = (
    "animation",
    "audio",
    "document",
    "photo",
    "sticker",
    "story",
    "video",
    "video_note",
    "voice",
    "contact",
    "dice",
    "game",
    "poll",
    "venue",
    "location",
)


def verify(config: TelegramConfig, request: HookRequest) -> None:
    """Compare the secret header in constant time. Raises: HookUnverified."""
    given = request.headers.get(SECRET_HEADER, "")
    if not hmac.compare_digest(given.encode("utf-8", "replace"), config.hook_secret.encode()):
        raise HookUnverified("The webhook's secret token is missing or wrong.")


def parse(config: TelegramConfig, request: HookRequest) -> Parsed:
    """Read one update. Raises: MalformedBody."""
    raw = read_object(request.body)
    try:
        update = Update.de_json(raw, None)
        update_id = _whole(update.update_id)
        if update.callback_query is not None:
            return _read_press(update_id, update.callback_query)
        if (message := update.message or update.channel_post) is not None:
            return _read_message(config, update_id, message, raw)
        if (edited := update.edited_message or update.edited_channel_post) is not None:
            return _read_edit(config, update_id, edited)
        if "stopped_message_generation" in raw:
            return _read_stop(update_id, raw["stopped_message_generation"])
        return Parsed(ignored="unknown_type")
    # The parser checks no types, so that a body of the right shape and wrong types fails anywhere in it;
    # nothing that is sent to a hook may be a server error.
    except Exception as error:
        raise MalformedBody("The body is not a Telegram update.") from error


def _read_message(config: TelegramConfig, update_id: int, message: Message, raw: dict[str, object]) -> Parsed:
    sender = _read_sender(message)
    if sender.platform_id == str(config.own_id):
        return Parsed(ignored="own_message")
    text, is_named = _without_mention(config, message)
    text = _with_media(message, text)
    if not text:
        return Parsed(ignored="no_text")
    kind = _KINDS.get(_text(message.chat.type), ChatKind.GROUP)
    chat_id, message_id = _whole(message.chat.id), _whole(message.message_id)
    return Parsed(
        messages=(
            InboundMessage(
                # After a silent week update ids start anew at a random number: they do not suffice alone.
                dedupe_key=f"{update_id}:{chat_id}:{message_id}",
                place=Place(str(chat_id), _thread_id(message)),
                chat_kind=kind,
                chat_title=_chat_title(message.chat),
                sender=sender,
                text=text,
                is_mention=kind is ChatKind.DIRECT or is_named or _is_reply_to(config, message),
                message_id=str(message_id),
                sent_at=_time(message.date),
                reply_to=_answered_id(message),
                files=files_of(message),
                raw=raw,
            ),
        )
    )


def _read_edit(config: TelegramConfig, update_id: int, message: Message) -> Parsed:
    """Read a message as its writer has changed it."""
    sender = _read_sender(message)
    if sender.platform_id == str(config.own_id):
        return Parsed(ignored="own_message")
    text, _ = _without_mention(config, message)
    chat_id, message_id = _whole(message.chat.id), _whole(message.message_id)
    return Parsed(
        changes=(
            InboundChange(
                dedupe_key=f"edit:{update_id}:{chat_id}:{message_id}",
                place=Place(str(chat_id), _thread_id(message)),
                sender=sender,
                message_id=str(message_id),
                kind=ChangeKind.EDITED,
                text=_with_media(message, text),
                changed_at=_time(message.edit_date or message.date),
            ),
        )
    )


def _read_stop(update_id: int, stopped: Any) -> Parsed:
    """Read the press of the stop button below a draft, which only direct chats have; the library does not know it yet.

    Source: Bot API 10.3, `stopped_message_generation`.
    """
    chat_id = str(_whole(stopped["chat"]["id"]))
    thread_id = stopped.get("message_thread_id")
    return Parsed(
        stops=(
            InboundStop(
                dedupe_key=f"stop:{update_id}:{chat_id}",
                place=Place(chat_id, None if thread_id is None else str(_whole(thread_id))),
                sender=Sender(chat_id, _text(stopped["chat"].get("first_name"))),
            ),
        )
    )


def _read_press(update_id: int, query: CallbackQuery) -> Parsed:
    """Read a press of a button. Below a message that Telegram has forgotten there is no place to read."""
    message = query.message
    if message is None or query.data is None:
        return Parsed(ignored="unknown_type")
    thread_id = _thread_id(message) if isinstance(message, Message) else None
    person = query.from_user
    return Parsed(
        presses=(
            InboundPress(
                dedupe_key=f"press:{update_id}:{_text(query.id)}",
                place=Place(str(_whole(message.chat.id)), thread_id),
                sender=Sender(str(_whole(person.id)), _user_name(person), bool(person.is_bot)),
                message_id=str(_whole(message.message_id)),
                value=_text(query.data),
                press_ref=_text(query.id),
            ),
        )
    )


def _read_sender(message: Message) -> Sender:
    """Say who wrote it. Anonymous admins and linked channels write as a chat, behind a placeholder user."""
    if message.sender_chat is not None:
        return Sender(str(_whole(message.sender_chat.id)), _chat_title(message.sender_chat))
    if message.from_user is None:
        return Sender(str(_whole(message.chat.id)), _chat_title(message.chat))
    user = message.from_user
    return Sender(str(_whole(user.id)), _user_name(user), bool(user.is_bot))


def _thread_id(message: Message) -> str | None:
    """Return the forum topic. Replies outside forums carry a thread id too, to which nothing can be sent."""
    if not message.is_topic_message or message.message_thread_id is None:
        return None
    return str(_whole(message.message_thread_id))


def _is_reply_to(config: TelegramConfig, message: Message) -> bool:
    """Say whether it answers the bot. Each message of a topic counts as a reply to the one that opened it."""
    answered = message.reply_to_message
    if answered is None or answered.forum_topic_created is not None or answered.from_user is None:
        return False
    return answered.from_user.id == config.own_id


def _answered_id(message: Message) -> str:
    """Return the message that this one replies to; empty for one that only begins a topic's thread."""
    answered = message.reply_to_message
    if answered is None or answered.forum_topic_created is not None:
        return ""
    return str(_whole(answered.message_id))


def _without_mention(config: TelegramConfig, message: Message) -> tuple[str, bool]:
    """Take the bot's name out of the text, and say whether it was there."""
    text = _text(message.text if message.text is not None else message.caption)
    entities = message.entities if message.text is not None else message.caption_entities
    units = text.encode("utf-16-le")
    cuts = [cut for cut in (_mention_span(config, entity, units) for entity in entities) if cut is not None]
    if not cuts:
        return text.strip(), False
    rest = _without(units, cuts)
    return rest or text.strip(), True


def _mention_span(config: TelegramConfig, entity: MessageEntity, units: bytes) -> tuple[int, int] | None:
    """Return where the bot is named, in bytes of UTF-16, which is what entities are counted in."""
    start = _whole(entity.offset) * 2
    end = start + _whole(entity.length) * 2
    name = f"@{config.bot_name}".lower()
    words = units[start:end].decode("utf-16-le", "replace").lower()
    if entity.type == MessageEntity.TEXT_MENTION:
        is_ours = entity.user is not None and entity.user.id == config.own_id
        return (start, end) if is_ours else None
    if not config.bot_name:
        return None
    if entity.type == MessageEntity.MENTION and words == name:
        return start, end
    if entity.type == MessageEntity.BOT_COMMAND and words.endswith(name):
        return end - len(name) * 2, end
    return None


def _without(units: bytes, cuts: Iterable[tuple[int, int]]) -> str:
    for start, end in sorted(cuts, reverse=True):
        units = units[:start] + units[end:]
    text = units.decode("utf-16-le", "replace")
    return re.sub(r"(?<=\S) {2,}(?=\S)", " ", text).strip()


def _with_media(message: Message, text: str) -> str:
    """Say what came besides text."""
    name = next((kind for kind in _MEDIA if getattr(message, kind)), None)
    if name is None:
        return text
    detail = _media_detail(message, name)
    return f"[{name.replace('_', ' ')}{detail}] {text}".strip()


def _media_detail(message: Message, name: str) -> str:
    detail: object = None
    if name == "document" and message.document is not None:
        detail = message.document.file_name
    elif name == "sticker" and message.sticker is not None:
        detail = message.sticker.emoji
    elif name == "poll" and message.poll is not None:
        detail = message.poll.question
    elif name == "location" and message.location is not None:
        detail = f"{message.location.latitude}, {message.location.longitude}"
    return f": {detail}" if isinstance(detail, str) and detail else ""


def _chat_title(chat: Chat) -> str:
    return _text(chat.title) or " ".join(filter(None, (_text(chat.first_name), _text(chat.last_name))))


def _user_name(user: User) -> str:
    return " ".join(filter(None, (_text(user.first_name), _text(user.last_name)))) or str(user.id)


def _text(value: object) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise TypeError("a text is not a string")
    return value


def _whole(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError("a number is not whole")
    return value


def _time(value: object) -> datetime:
    if not isinstance(value, datetime):
        raise TypeError("a date is missing")
    return value
