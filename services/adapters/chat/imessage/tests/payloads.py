"""Webhooks as BlueBubbles sends them, with numbers of nobody."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from pydantic import SecretStr

from services.adapters.chat.imessage.config import IMessageConfig
from services.domain.ports.chat import HookRequest
from tests.fakes.imessage_server import ACCOUNT, BOB, DIRECT

NOW = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
CONFIG = IMessageConfig(
    server_url="https://mac.acme.example",
    password=SecretStr("correct-horse-battery"),
    private_api="yes",
    bot_id=ACCOUNT,
    bot_name=ACCOUNT,
)


def webhook(kind: str = "new-message", *, chat: str = DIRECT, **fields: Any) -> dict[str, Any]:
    """Make the webhook of a message of Bob's. A field that is None is left out."""
    message = {
        "originalROWID": 41,
        "guid": "3A5C1F6E-0B1D-4D6B-9C55-6D0F5A7E9E01",
        "text": "What is the weather?",
        "attributedBody": [
            {"string": "What is the weather?", "runs": [{"range": [0, 20], "attributes": {}}]}
        ],
        "handle": {"originalROWID": 3, "address": BOB, "service": "iMessage"},
        "attachments": [],
        "subject": "",
        "error": 0,
        "dateCreated": 1772443800123,
        "isFromMe": False,
        "itemType": 0,
        "chats": [{"originalROWID": 7, "guid": chat, "style": 45, "displayName": "Building site"}],
    } | fields
    return {"type": kind, "data": {name: value for name, value in message.items() if value is not None}}


def hook(
    body: dict[str, Any] | bytes, *, secret: str | None = CONFIG.hook_secret, received_at: datetime = NOW
) -> HookRequest:
    """Make a call with the secret in its address."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    query = {} if secret is None else {"secret": secret}
    return HookRequest("POST", {"content-type": "application/json"}, query, raw, received_at)
