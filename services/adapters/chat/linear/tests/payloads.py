"""Events as Linear sends them, with names and numbers of nobody."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from pydantic import SecretStr

from services.adapters.chat.linear.config import LinearConfig
from services.domain.ports.chat import HookRequest
from tests.fakes.linear_server import (
    BOT_ID,
    BOT_NAME,
    CLIENT_ID,
    CLIENT_SECRET,
    ISSUE,
    ISSUE_ID,
    PERSON,
    sign,
)

NOW = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
AT = "2026-03-02T09:30:00.000Z"
NOW_MS = int(NOW.timestamp() * 1000)
SECRET = "lin_wh_0123456789abcdef"
DELIVERY = "234d1a4e-b617-4388-90fe-adc3633d6b72"
SESSION_ID = "5e551011-0000-4000-8000-000000000009"
CONFIG = LinearConfig(
    webhook_secret=SecretStr(SECRET),
    client_id=CLIENT_ID,
    client_secret=SecretStr(CLIENT_SECRET),
    bot_id=BOT_ID,
    bot_name=BOT_NAME,
)
API_KEY = "lin_api_0123456789abcdef"
PERSONAL = LinearConfig(
    webhook_secret=SecretStr(SECRET), access_token=SecretStr(API_KEY), bot_id=BOT_ID, bot_name=BOT_NAME
)
SAID = {
    "id": "c0c0c0c0-0000-4000-8000-000000000004",
    "body": "@slipway What is the weather?",
    "userId": PERSON["id"],
}
SESSION = {
    "id": SESSION_ID,
    "issueId": ISSUE_ID,
    "issue": ISSUE,
    "comment": SAID,
    "creatorId": PERSON["id"],
    "creator": PERSON,
    "status": "pending",
    "createdAt": AT,
}


def event(kind: str, action: str, **fields: Any) -> dict[str, Any]:
    """Make an event."""
    return {
        "type": kind,
        "action": action,
        "createdAt": AT,
        "organizationId": "org",
        "webhookTimestamp": NOW_MS,
        "webhookId": "hook",
        **fields,
    }


def created(**fields: Any) -> dict[str, Any]:
    """Make the event of a session that Bob opened; `fields` are the session's."""
    session = {name: value for name, value in (SESSION | fields).items() if value is not None}
    return event("AgentSessionEvent", "created", appUserId=BOT_ID, agentSession=session)


def prompted(text: str, **fields: Any) -> dict[str, Any]:
    """Make the event of what Bob says in a session; `fields` are the activity's."""
    activity = {
        "id": "ac71ac71-0000-4000-8000-000000000005",
        "agentSessionId": SESSION_ID,
        "content": {"type": "prompt", "body": text},
        "user": PERSON,
        "userId": PERSON["id"],
        "createdAt": AT,
    } | fields
    return event(
        "AgentSessionEvent", "prompted", appUserId=BOT_ID, agentSession=SESSION, agentActivity=activity
    )


def comment(action: str = "create", **fields: Any) -> dict[str, Any]:
    """Make the event of a comment of Bob's."""
    written = {
        "id": SAID["id"],
        "body": "hello",
        "issueId": ISSUE_ID,
        "issue": ISSUE,
        "userId": PERSON["id"],
        "user": PERSON,
        "createdAt": AT,
        "updatedAt": AT,
    } | fields
    return event("Comment", action, actor=PERSON | {"type": "user"}, data=written)


def issue(
    action: str = "create", updated_from: dict[str, Any] | None = None, **fields: Any
) -> dict[str, Any]:
    """Make the event of an issue that Bob wrote or changed."""
    written = ISSUE | {"creatorId": PERSON["id"], "createdAt": AT, "updatedAt": AT} | fields
    more = {} if updated_from is None else {"updatedFrom": updated_from}
    return event("Issue", action, actor=PERSON | {"type": "user"}, data=written, **more)


def hook(
    body: dict[str, Any] | bytes,
    *,
    secret: str = SECRET,
    received_at: datetime = NOW,
    delivery: str = DELIVERY,
) -> HookRequest:
    """Make a signed call."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return HookRequest("POST", sign(raw, secret, "x", delivery), {}, raw, received_at)


DIRECT = created()
OWN = prompted("It rains.", userId=BOT_ID, user={"id": BOT_ID, "name": BOT_NAME})
UNKNOWN = event("Project", "create", data={"id": "p"})
