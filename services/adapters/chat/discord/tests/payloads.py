"""Interactions and messages as Discord sends them, with names and numbers of nobody."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import SecretStr

from services.adapters.chat.discord.config import DiscordConfig
from services.domain.ports.chat import HookRequest
from tests.fakes.discord_server import BOB, BOT, BOT_ID, CHANNEL_ID, DIRECT_ID, GUILD_ID

NOW = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
TOKEN = "MTk4NjIyNDgzNDcxOTI1MjQ4.Cl2FMQ.ZnCjm1XVW7vRze4b7Cq4se7kKWs"
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
CONFIG = DiscordConfig(
    bot_token=SecretStr(TOKEN),
    public_key=KEY.public_key().public_bytes_raw().hex(),
    bot_id=BOT_ID,
    bot_name="slipway",
)
# 2026-03-02T09:30:00.123Z
MESSAGE_ID = str((1_772_443_800_123 - 1_420_070_400_000) << 22 | 7)


def interaction(kind: int = 2, **fields: Any) -> dict[str, Any]:
    """Make an interaction of Bob's in the direct chat: by default a use of the command."""
    option = {"name": "text", "type": 3, "value": "What is the weather?"}
    made = {
        "id": MESSAGE_ID,
        "application_id": BOT_ID,
        "type": kind,
        "token": "aW50ZXJhY3Rpb246dG9rZW4",
        "version": 1,
        "channel_id": DIRECT_ID,
        "channel": {"id": DIRECT_ID, "type": 1},
        "user": BOB,
        "data": {"id": "1", "name": "ask", "type": 1, "options": [option]},
    } | fields
    return {name: value for name, value in made.items() if value is not None}


def press(**fields: Any) -> dict[str, Any]:
    """Make a press of a button in the channel."""
    made = {
        "channel_id": CHANNEL_ID,
        "channel": {"id": CHANNEL_ID, "type": 0, "name": "general"},
        "guild_id": GUILD_ID,
        "user": None,
        "member": {"user": BOB, "nick": "Bobby"},
        "data": {"custom_id": "q:1:0", "component_type": 2},
        "message": {"id": "830000000000000001", "channel_id": CHANNEL_ID},
    }
    return interaction(3, **(made | fields))


def message(**fields: Any) -> dict[str, Any]:
    """Make a message of Bob's in the channel."""
    made = {
        "id": MESSAGE_ID,
        "type": 0,
        "channel_id": CHANNEL_ID,
        "guild_id": GUILD_ID,
        "author": BOB,
        "member": {"nick": None, "roles": []},
        "content": "hello",
        "mentions": [],
        "attachments": [],
        "edited_timestamp": None,
    } | fields
    return {name: value for name, value in made.items() if value is not None or name == "edited_timestamp"}


def hook(
    body: dict[str, Any] | bytes,
    *,
    key: Ed25519PrivateKey = KEY,
    age_s: int = 0,
    received_at: datetime = NOW,
    headers: Mapping[str, str] | None = None,
) -> HookRequest:
    """Make a signed call."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    timestamp = str(int(received_at.timestamp()) - age_s)
    signed = {
        "content-type": "application/json",
        "x-signature-ed25519": key.sign(timestamp.encode() + raw).hex(),
        "x-signature-timestamp": timestamp,
    }
    return HookRequest("POST", signed | dict(headers or {}), {}, raw, received_at)


DIRECT = interaction()
OWN = interaction(user=BOT)
