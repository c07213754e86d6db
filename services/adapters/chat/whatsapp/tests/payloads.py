"""Calls as WhatsApp makes them, with names and numbers of nobody."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from pydantic import SecretStr

from services.adapters.chat.whatsapp.config import WhatsappConfig
from services.domain.ports.chat import HookRequest
from tests.fakes.whatsapp_server import NAME, NUMBER_ID, PERSON, PERSON_ID, sign

NOW = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
APP_SECRET = "0123456789abcdef0123456789abcdef"
CONFIG = WhatsappConfig(
    phone_number_id=NUMBER_ID,
    access_token=SecretStr("EAAJB0123456789abcdefghijklmnopqrstuvwxyz"),
    app_secret=SecretStr(APP_SECRET),
    template="news",
    bot_id=NUMBER_ID,
    bot_name=NAME,
)
PHOTO = {"id": "1003383421387256", "mime_type": "image/jpeg", "sha256": "x", "caption": "our roof"}
VOICE = {"id": "1908647269898587", "mime_type": "audio/ogg; codecs=opus", "voice": True}
REPORT = {"id": "1521626785143201", "mime_type": "application/pdf", "filename": "report.pdf"}


def value(**fields: Any) -> dict[str, Any]:
    """Make what one change brings."""
    metadata = {"display_phone_number": "15550783881", "phone_number_id": NUMBER_ID}
    return {"messaging_product": "whatsapp", "metadata": metadata} | fields


def call(*values: dict[str, Any], name: str = "messages") -> dict[str, Any]:
    """Make a call with these changes."""
    changes = [{"value": each, "field": name} for each in values]
    return {"object": "whatsapp_business_account", "entry": [{"id": "102290129340398", "changes": changes}]}


def message(**fields: Any) -> dict[str, Any]:
    """Make a call with a message of Bob's."""
    written = {
        "from": PERSON,
        "from_user_id": PERSON_ID,
        "id": "wamid.HBgLMTYzMTU1NTExODEVAgASGBQzQTdCNTg5RjY1MTY0QjAA",
        "timestamp": "1772443800",
        "type": "text",
        "text": {"body": "What is the weather?"},
    } | fields
    bob = {"profile": {"name": "Bob"}, "wa_id": PERSON, "user_id": PERSON_ID}
    kept = {name: each for name, each in written.items() if each is not None}
    return call(value(contacts=[bob], messages=[kept]))


def status(state: str, code: int | None = None, **fields: Any) -> dict[str, Any]:
    """Make a call with what became of a message of ours."""
    told = {"id": "wamid.out1", "status": state, "timestamp": "1772443800", "recipient_id": PERSON} | fields
    errors = {"errors": [{"code": code, "title": "Re-engagement message"}]} if code is not None else {}
    return call(value(statuses=[told | errors]))


def hook(
    body: dict[str, Any] | bytes, *, secret: str = APP_SECRET, received_at: datetime = NOW
) -> HookRequest:
    """Make a signed call."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return HookRequest("POST", sign(raw, secret), {}, raw, received_at)


def handshake(token: str, mode: str = "subscribe") -> HookRequest:
    """Make the call that checks a webhook when it is set."""
    query = {"hub.mode": mode, "hub.verify_token": token, "hub.challenge": "1158201444"}
    return HookRequest("GET", {}, query, b"", NOW)


DIRECT = message()
ECHO = call(value(message_echoes=[{"from": "15550783881", "to": PERSON}]), name="smb_message_echoes")
UNKNOWN = call({"event": "ACCOUNT_RESTRICTION"}, name="account_update")
