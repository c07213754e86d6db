"""Events as Google Chat sends them, with names and numbers of nobody."""

from __future__ import annotations

import functools
import json
from datetime import UTC, datetime
from typing import Any

from pydantic import SecretStr

from services.adapters.chat.googlechat.config import GoogleChatConfig
from services.domain.ports.chat import HookRequest
from tests.fakes.googlechat_issuer import GoogleIssuer, ServiceAccount

NOW = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
PROJECT = "123456789012"
ENDPOINT = "https://slipway.example/hooks/googlechat/1"
ACCOUNT = ServiceAccount("slipway@acme-chat.iam.gserviceaccount.com")
CONFIG = GoogleChatConfig(
    service_account=SecretStr(ACCOUNT.json_key),
    project_number=PROJECT,
    endpoint_url=ENDPOINT,
    bot_id="users/114000000000000000001",
    bot_name="Slipway",
)
BOB = {"name": "users/100000000000000000002", "displayName": "Bob Builder", "type": "HUMAN"}
DIRECT_SPACE = {
    "name": "spaces/AAAADIRECT",
    "type": "DM",
    "spaceType": "DIRECT_MESSAGE",
    "singleUserBotDm": True,
}
ROOM = {"name": "spaces/AAAAROOM", "type": "ROOM", "spaceType": "SPACE", "displayName": "Building site"}


@functools.cache
def issuer() -> GoogleIssuer:
    """Return the issuer that signs these calls and knows this account; it runs until the process ends."""
    return GoogleIssuer(ACCOUNT).start()


def message(space: dict[str, Any] = DIRECT_SPACE, **fields: Any) -> dict[str, Any]:
    """Make a message of Bob's. A field that is None is left out."""
    made = {
        "name": f"{space['name']}/messages/BBBB.CCCC",
        "sender": BOB,
        "createTime": "2026-03-02T09:30:00.123456Z",
        "text": "What is the weather?",
        "argumentText": "What is the weather?",
        "thread": {"name": f"{space['name']}/threads/BBBB"},
        "space": space,
    } | fields
    return {name: value for name, value in made.items() if value is not None}


def event(space: dict[str, Any] = DIRECT_SPACE, **fields: Any) -> dict[str, Any]:
    """Make the plain event of a message."""
    made = {
        "type": "MESSAGE",
        "eventTime": "2026-03-02T09:30:00.123456Z",
        "token": "legacy",
        "message": message(space),
        "user": BOB,
        "space": space,
    }
    return made | fields


def add_on_event(payload: str, **fields: Any) -> dict[str, Any]:
    """Make the event of an add-on."""
    return {
        "commonEventObject": {"hostApp": "CHAT", "platform": "WEB", "userLocale": "en"},
        "authorizationEventObject": {"systemIdToken": "eyJ"},
        "chat": {
            "user": BOB,
            "eventTime": "2026-03-02T09:30:00.123456Z",
            payload: {"space": ROOM, "message": message(ROOM)} | fields,
        },
    }


def hook(
    body: dict[str, Any] | bytes, *, received_at: datetime = NOW, token: str | None = None
) -> HookRequest:
    """Make a call with its token."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    signed = token if token is not None else issuer().chat_token(PROJECT, received_at.timestamp())
    headers = {"authorization": f"Bearer {signed}", "content-type": "application/json; charset=utf-8"}
    return HookRequest("POST", headers, {}, raw, received_at)
