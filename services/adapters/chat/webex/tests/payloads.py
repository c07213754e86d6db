"""Hooks as Webex sends them, and as they are when completed, with names and numbers of nobody."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from pydantic import SecretStr

from services.adapters.chat.webex.config import WebexConfig
from services.domain.ports.chat import HookRequest
from tests.fakes.webex_server import BOB_ID, BOT_ID, DIRECT_ROOM, identifier, sign

NOW = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
CONFIG = WebexConfig(
    bot_token=SecretStr("NDY2Y2EzNDItYjI4NC00ZjA1LWJkY2YtZmM5ZGNlYTBl_PF84_1eb65fdf"),
    bot_id=BOT_ID,
    bot_name="Slipway",
)
MESSAGE_ID = identifier("MESSAGE", "92db3be0-43bd-11e6-8ae9-dd5b3dfc565d")


def hook(resource: str = "messages", event: str = "created", **data: Any) -> dict[str, Any]:
    """Make the body of a webhook about a message of Bob's."""
    named = {
        "id": MESSAGE_ID,
        "roomId": DIRECT_ROOM,
        "roomType": "direct",
        "personId": BOB_ID,
        "personEmail": "bob@acme.example",
        "created": "2026-03-02T09:30:00.123Z",
    } | data
    return {
        "id": identifier("WEBHOOK", "1"),
        "name": "slipway",
        "resource": resource,
        "event": event,
        "actorId": named["personId"],
        "created": "2026-03-02T09:30:00.456Z",
        "data": named,
    }


def completed(
    resource: str = "messages", event: str = "created", room: str | None = None, **fetched: Any
) -> dict[str, Any]:
    """Make a completed hook. A field that is None is left out."""
    message = {
        "id": MESSAGE_ID,
        "roomId": DIRECT_ROOM,
        "roomType": "direct",
        "text": "What is the weather?",
        "personId": BOB_ID,
        "personEmail": "bob@acme.example",
        "created": "2026-03-02T09:30:00.123Z",
    } | fetched
    whole = {
        "hook": hook(resource, event),
        "fetched": {name: value for name, value in message.items() if value is not None},
        "person": {"id": message["personId"], "displayName": "Bob Builder", "type": "person"},
    }
    return whole if room is None else whole | {"room": {"title": room}}


def call(
    body: dict[str, Any] | bytes, *, secret: bytes = CONFIG.hook_secret, received_at: datetime = NOW
) -> HookRequest:
    """Make a signed call."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return HookRequest("POST", sign(raw, secret), {}, raw, received_at)
