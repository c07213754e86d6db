"""Events as Slack sends them, with names and numbers of nobody."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from pydantic import SecretStr

from services.adapters.chat.slack.config import SlackConfig
from services.domain.ports.chat import HookRequest
from tests.fakes.slack_server import BOT_USER_ID, TEAM_ID, sign

NOW = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
SIGNING_SECRET = "8f742231b10e8888abcd99yyyzzz85a5"
CONFIG = SlackConfig(
    bot_token=SecretStr("xoxb-17653672481-19874698323-pdFZKVeTuE8sk7oOcHrzzqgy"),
    signing_secret=SecretStr(SIGNING_SECRET),
    bot_id=BOT_USER_ID,
    bot_name="slipway",
)


def event(**fields: Any) -> dict[str, Any]:
    """Make an event call with a channel message of Bob's."""
    message = {
        "type": "message",
        "user": "U0002BOB",
        "text": "hello",
        "ts": "1772443800.000200",
        "channel": "C0123ABCD",
        "channel_type": "channel",
        "team": TEAM_ID,
        "event_ts": "1772443800.000200",
    } | fields
    return {
        "token": "verification",
        "team_id": TEAM_ID,
        "api_app_id": "A0001SLIP",
        "event": {name: value for name, value in message.items() if value is not None},
        "type": "event_callback",
        "event_id": "Ev08MFMKH6",
        "event_time": 1772443800,
        "authorizations": [
            {"enterprise_id": None, "team_id": TEAM_ID, "user_id": BOT_USER_ID, "is_bot": True}
        ],
        "is_ext_shared_channel": False,
    }


def hook(
    body: dict[str, Any] | bytes,
    *,
    secret: str = SIGNING_SECRET,
    age_s: int = 0,
    received_at: datetime = NOW,
    headers: Mapping[str, str] | None = None,
) -> HookRequest:
    """Make a signed call."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    signed = sign(raw, secret, int(received_at.timestamp()) - age_s)
    return HookRequest("POST", signed | dict(headers or {}), {}, raw, received_at)


DIRECT = event(channel="D0123ABCD", channel_type="im", text="What is the weather?")
OWN_MESSAGE = event(user=BOT_USER_ID, bot_id="B0001SLIP", app_id="A0001SLIP", text="It rains.")
