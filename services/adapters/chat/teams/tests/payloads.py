"""Activities as Teams sends them, with names and numbers of nobody."""

from __future__ import annotations

import functools
import json
from datetime import UTC, datetime
from typing import Any

from pydantic import SecretStr

from services.adapters.chat.teams.config import TeamsConfig
from services.domain.ports.chat import HookRequest
from tests.fakes.teams_issuer import TeamsIssuer

NOW = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
APP_ID = "c9e8c047-2a74-40a2-b28a-b162d5f5327c"
TENANT = "72f988bf-86f1-41af-91ab-2d7cd011db47"
BASE = "https://smba.trafficmanager.net"
CONFIG = TeamsConfig(
    app_id=APP_ID,
    client_secret=SecretStr("kVa8Q~of.the.slipway.app.which.is.long"),
    tenant_id=TENANT,
    bot_id=f"28:{APP_ID}",
    bot_name="Slipway",
)


@functools.cache
def issuer() -> TeamsIssuer:
    """Return the issuer that signs these calls; it knows this app only, and runs until the process ends."""
    secret = CONFIG.client_secret.get_secret_value()
    return TeamsIssuer({(TENANT, APP_ID): secret}).start()


def activity(**fields: Any) -> dict[str, Any]:
    """Make a message that Bob writes to the bot alone. A field that is None is left out."""
    made = {
        "type": "message",
        "id": "1772443800123",
        "timestamp": "2026-03-02T09:30:00.4370000Z",
        "localTimestamp": "2026-03-02T10:30:00.4370000+01:00",
        "serviceUrl": f"{BASE}/emea/",
        "channelId": "msteams",
        "from": {
            "id": "29:1bob",
            "name": "Bob Builder",
            "aadObjectId": "b0b00000-0000-4000-8000-000000000000",
        },
        "conversation": {"conversationType": "personal", "tenantId": TENANT, "id": "a:17I0kl8EkpE1O9PH5"},
        "recipient": {"id": f"28:{APP_ID}", "name": "Slipway"},
        "textFormat": "plain",
        "locale": "en-US",
        "text": "What is the weather?",
        "attachments": [{"contentType": "text/html", "content": "<p>What is the weather?</p>"}],
        "entities": [{"locale": "en-US", "country": "US", "platform": "Web", "type": "clientInfo"}],
        "channelData": {"tenant": {"id": TENANT}},
    } | fields
    return {name: value for name, value in made.items() if value is not None}


def in_channel(text: str, **fields: Any) -> dict[str, Any]:
    """Make a message in a channel that mentions the bot."""
    mention = {
        "type": "mention",
        "text": "<at>Slipway</at>",
        "mentioned": {"id": f"28:{APP_ID}", "name": "Slipway"},
    }
    return (
        activity(
            text=text,
            conversation={
                "isGroup": True,
                "conversationType": "channel",
                "tenantId": TENANT,
                "id": "19:general@thread.tacv2;messageid=1772443700000",
            },
            entities=[mention],
            channelData={
                "team": {"id": "19:t", "name": "Acme"},
                "channel": {"id": "19:c", "name": "General"},
            },
        )
        | fields
    )


def hook(
    body: dict[str, Any] | bytes,
    *,
    received_at: datetime = NOW,
    claims: dict[str, Any] | None = None,
    token: str | None = None,
) -> HookRequest:
    """Make a call with its token; `claims` replace the token's own."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    if token is None:
        said = issuer().claims(APP_ID, f"{BASE}/emea/", received_at.timestamp()) | (claims or {})
        token = issuer().keys.sign(said)
    headers = {"authorization": f"Bearer {token}", "content-type": "application/json; charset=utf-8"}
    return HookRequest("POST", headers, {}, raw, received_at)
