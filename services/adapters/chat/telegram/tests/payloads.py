"""Updates as Telegram sends them, with names and numbers of nobody."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from pydantic import SecretStr

from services.adapters.chat.telegram.config import TelegramConfig
from services.adapters.chat.telegram.inbound import SECRET_HEADER
from services.domain.ports.chat import HookRequest

NOW = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
SECRET = "a-secret_that-telegram-sends"
BOT_NAME = "slipway_bot"
CONFIG = TelegramConfig(
    bot_token=SecretStr("110201543:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw"),
    secret_token=SecretStr(SECRET),
    bot_id="110201543",
    bot_name=BOT_NAME,
)

BOB = {"id": 501, "is_bot": False, "first_name": "Bob", "last_name": "Builder", "username": "bob"}
BOT = {"id": 110201543, "is_bot": True, "first_name": "Slipway", "username": BOT_NAME}
PRIVATE = {"id": 501, "first_name": "Bob", "last_name": "Builder", "username": "bob", "type": "private"}
GROUP = {"id": -1001234567890, "title": "Acme crew", "type": "supergroup"}
FORUM = GROUP | {"is_forum": True}


def update(chat: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """Make an update with a message of Bob's."""
    message = {"message_id": 77, "from": BOB, "chat": chat, "date": 1772443800} | fields
    return {"update_id": 623456789, "message": message}


def mention(text: str, name: str = f"@{BOT_NAME}", kind: str = "mention") -> list[dict[str, Any]]:
    """Make the entity for a name in a text, counted as Telegram counts."""
    before = text[: text.index(name)].encode("utf-16-le")
    return [{"type": kind, "offset": len(before) // 2, "length": len(name.encode("utf-16-le")) // 2}]


def hook(
    body: dict[str, Any] | bytes, *, secret: str | None = SECRET, received_at: datetime = NOW
) -> HookRequest:
    """Make a webhook call."""
    headers = {"content-type": "application/json"} | ({SECRET_HEADER: secret} if secret is not None else {})
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return HookRequest("POST", headers, {}, raw, received_at)


PRIVATE_TEXT = update(PRIVATE, text="What is the weather?")
OWN_MESSAGE = update(GROUP, **{"from": BOT, "text": "It rains."})
FORUM_TOPIC_OPENED = {
    "message_id": 12,
    "from": BOT,
    "chat": FORUM,
    "date": 1772443000,
    "message_thread_id": 12,
    "is_topic_message": True,
    "forum_topic_created": {"name": "Builds", "icon_color": 7322096},
}
PHOTO = {
    "photo": [{"file_id": "AgAC", "file_unique_id": "AQAD", "width": 90, "height": 51, "file_size": 1101}]
}
DOCUMENT = {"document": {"file_id": "BQAC", "file_unique_id": "AgAD", "file_name": "report.pdf"}}
STICKER = {
    "sticker": {
        "file_id": "CAAC",
        "file_unique_id": "AgAE",
        "type": "regular",
        "width": 512,
        "height": 512,
        "is_animated": False,
        "is_video": False,
        "emoji": "👍",
    }
}
