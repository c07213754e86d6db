"""Events as GitHub sends them, with names and numbers of nobody."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from pydantic import SecretStr

from services.adapters.chat.github.config import GithubConfig
from services.domain.ports.chat import HookRequest
from tests.fakes.github_chat_server import BOT, BOT_ID, PERSON, sign
from tests.fakes.github_server import APP_ID, APP_SLUG, INSTALLATION, private_key

NOW = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
AT = "2026-03-02T09:30:00Z"
GUID = "72d3162e-cc78-11e3-81ab-4c9367dc0958"
SECRET = "It's-a-Secret-to-Everybody"
CONFIG = GithubConfig(
    app_id=APP_ID,
    installation_id=INSTALLATION,
    private_key=SecretStr(private_key()),
    webhook_secret=SecretStr(SECRET),
    label="agent",
    assignee="acme-robot",
    bot_id=str(BOT_ID),
    bot_name=APP_SLUG,
)
ISSUE = {
    "number": 12,
    "id": 9001,
    "title": "Login fails",
    "body": "It says 500.",
    "user": PERSON,
    "created_at": AT,
}
PULL = ISSUE | {"number": 13, "title": "Mend the login"}
COMMENT = {"id": 77, "body": "What is the weather?", "user": PERSON, "created_at": AT, "updated_at": AT}
ON_LINE = COMMENT | {"path": "shop.py", "line": 3, "diff_hunk": "@@ -1 +1 @@\n-tea\n+coffee"}


def event(action: str, **fields: Any) -> dict[str, Any]:
    """Make an event of the installation's, which Bob caused."""
    return {
        "action": action,
        "sender": PERSON,
        "repository": {"id": 1, "full_name": "acme/shop", "private": True},
        "installation": {"id": INSTALLATION, "node_id": "x"},
        **fields,
    }


def opened(**fields: Any) -> dict[str, Any]:
    """Make the event of an issue that Bob opens."""
    return event("opened", issue=ISSUE | fields)


def commented(text: str, **fields: Any) -> dict[str, Any]:
    """Make the event of a comment of Bob's."""
    return event("created", issue=ISSUE, comment=COMMENT | {"body": text} | fields)


def on_line(text: str, **fields: Any) -> dict[str, Any]:
    """Make the event of a comment of Bob's on a line of a pull request."""
    return event("created", pull_request=PULL, comment=ON_LINE | {"body": text} | fields)


def hook(
    body: dict[str, Any] | bytes,
    name: str = "issues",
    *,
    secret: str = SECRET,
    guid: str = GUID,
    received_at: datetime = NOW,
) -> HookRequest:
    """Make a signed call."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return HookRequest("POST", sign(raw, secret, name, guid), {}, raw, received_at)


DIRECT = opened(title="What is the weather?", body=f"@{APP_SLUG}")
OWN = opened() | {"sender": BOT}
UNKNOWN = event("started", starred_at=AT)
