"""Accounts at local servers, connected to a running stack as a person does it, and one agent that may use them."""

from __future__ import annotations

from typing import Any

import httpx

from tests.fakes.account_servers import AccountServers
from tests.fakes.caldav_server import PASSWORD as CALENDAR_PASSWORD
from tests.fakes.caldav_server import USER as CALENDAR_USER
from tests.fakes.composio_server import KEY as COMPOSIO_KEY
from tests.fakes.composio_server import USER as COMPOSIO_USER
from tests.fakes.github_server import APP_ID, INSTALLATION, OWNER, private_key
from tests.fakes.mail_server import ADDRESS as MAIL_ADDRESS
from tests.fakes.mail_server import PASSWORD as MAIL_PASSWORD
from tests.fakes.mail_server import USER as MAIL_USER
from tests.fakes.teller_server import TOKEN as BANK_TOKEN
from tests.stack.browsing import Browser
from tests.stack.running import RunningStack

CREDENTIALS = (CALENDAR_PASSWORD, COMPOSIO_KEY, MAIL_PASSWORD, BANK_TOKEN, "PRIVATE KEY", "ghs_", "ya29.")
"""What opens the accounts, or how whatever does begins: no sandbox may see it."""


def forms(servers: AccountServers) -> dict[str, dict[str, Any]]:
    """Return what a person fills in for each kind of account."""
    mail, teller = servers.mail, servers.teller
    return {
        "gmail": {},
        "github": {
            "settings": {
                "app_id": APP_ID,
                "installation_id": INSTALLATION,
                "repositories": [f"{OWNER}/shop"],
            },
            "credentials": {"private_key": private_key()},
        },
        "mail": {
            "settings": {
                "imap_host": "localhost",
                "imap_port": mail.imap_port,
                "smtp_host": "localhost",
                "smtp_port": mail.smtp_port,
                "user": MAIL_USER,
                "address": MAIL_ADDRESS,
            },
            "credentials": {"password": MAIL_PASSWORD},
        },
        "calendar": {
            "settings": {"url": servers.calendar.url, "user": CALENDAR_USER, "address": MAIL_ADDRESS},
            "credentials": {"password": CALENDAR_PASSWORD},
        },
        "teller": {
            "credentials": {
                "certificate": teller.client.certificate,
                "private_key": teller.client.private_key,
                "access_tokens": BANK_TOKEN,
            },
        },
        "composio": {"settings": {"user_id": COMPOSIO_USER}, "credentials": {"api_key": COMPOSIO_KEY}},
    }


def connect_accounts(stack: RunningStack, servers: AccountServers, agent: str) -> dict[str, str]:
    """Connect an account of each kind for one agent; returns whose each is, by its kind."""
    return {kind: _connect(stack, kind, form, agent) for kind, form in forms(servers).items()}


def _connect(stack: RunningStack, kind: str, form: dict[str, Any], agent: str) -> str:
    body = {"kind": kind, "name": f"my {kind}", "agent_ids": [agent], **form}
    made = stack.http.post("/v1/integrations", json=body)
    assert made.status_code == 201, made.text
    route = f"/v1/integrations/{made.json()['id']}"
    if kind == "gmail":
        _authorize(stack, route)
    shown = stack.http.get(route).json()
    assert shown["status"] == "ok", shown
    return str(shown["identity"])


def _authorize(stack: RunningStack, route: str) -> None:
    """Go to the provider's page, which agrees, and come back from it signed in."""
    begun = stack.http.post(f"{route}/connect")
    assert begun.status_code == 200, begun.text
    consent = httpx.get(begun.json()["authorization_url"])
    assert consent.is_redirect, consent.text
    back = consent.headers["location"]
    assert back.startswith(f"{stack.api}/integrations/accounts/callback?"), back
    with Browser(stack) as browser:
        assert browser.follow(back) == route.replace("/v1/integrations", "/accounts")
