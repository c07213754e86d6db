"""Connected accounts for tests: a mailbox that alice has authorized, and agents that list its server."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from conftest import Tenant
from services.api.accounts import add_account, checked_new, connect_account, finish_connecting
from services.domain.actors import Actor
from services.domain.agents.actions import AgentFields, create_agent
from services.domain.approvals.rule_actions import create_rule
from services.domain.approvals.rules import RuleFields
from services.domain.integrations.models import Integration
from services.domain.tenancy.transaction import tenant_transaction
from services.kit.environment import environment
from services.mcp_gateway.holding import rulebook
from tests.fakes.gmail_server import GmailServer
from tests.fakes.google_oauth import CLIENT_ID, CLIENT_SECRET
from tests.fakes.mail_server import ADDRESS, PASSWORD, USER, MailServer
from tests.fakes.mcp_upstream import give_consent
from tests.gateway.serving import Caller, at_work


def point_at(monkeypatch: pytest.MonkeyPatch, **settings: str) -> None:
    """Let providers be at other addresses."""
    for name, address in settings.items():
        monkeypatch.setattr(environment(), name, address)


def use_google(monkeypatch: pytest.MonkeyPatch, server: GmailServer) -> None:
    """Let Google be a local server, and the installation be a client there."""
    from pydantic import SecretStr

    names = ("gmail_api_base", "google_accounts_base", "google_oauth_base")
    point_at(monkeypatch, **dict.fromkeys(names, server.url), google_client_id=CLIENT_ID)
    monkeypatch.setattr(environment(), "google_client_secret", SecretStr(CLIENT_SECRET))


def add(actor: Actor, kind: str, name: str, **fields: Any) -> Integration:
    """Add an account."""
    given: dict[str, Any] = {"settings": {}, "credentials": None, "agent_ids": None, "is_personal": True}
    return add_account(actor, checked_new(kind=kind, name=name, **given | fields))


def connect_gmail(tenant: Tenant, name: str = "work", who: str = "alice", **fields: Any) -> Integration:
    """Add a mailbox and authorize it as its person does."""
    actor = tenant.people[who]
    row = add(actor, "gmail", name, **fields)
    back = give_consent(connect_account(actor, row.id))
    return finish_connecting(
        tenant.users[who], state=back["state"], code=back["code"], issuer=back["iss"], browser="any"
    )


@contextlib.contextmanager
def mail_server(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Iterator[MailServer]:
    """Run a mailbox behind IMAP and SMTP on loopback; its authority is one that this process trusts."""
    with MailServer(folder) as server:
        monkeypatch.setenv("SSL_CERT_FILE", str(server.authority.path))
        monkeypatch.setattr(environment(), "upstream_internal_hosts", "localhost")
        yield server


def connect_mail(tenant: Tenant, mailbox: MailServer, name: str = "home", **settings: object) -> Integration:
    """Add such a mailbox as its person does."""
    given = {
        "imap_host": "localhost",
        "imap_port": mailbox.imap_port,
        "smtp_host": "localhost",
        "smtp_port": mailbox.smtp_port,
        "user": USER,
        "address": ADDRESS,
        "display_name": "Alice Ä",
    }
    password = settings.pop("password", PASSWORD)
    return add(tenant.owner, "mail", name, settings={**given, **settings}, credentials={"password": password})


def make_impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let held calls wait for nobody, and rules count at once."""
    monkeypatch.setattr(environment(), "mcp_hold_wait_s", 0.3)
    monkeypatch.setattr(rulebook, "TTL_S", 0.0)


def allow(tenant: Tenant, tool: str) -> None:
    """Let agents call a tool that is held where no rule speaks."""
    create_rule(tenant.owner, RuleFields(effect="allow", tool=tool))


def stored(row: Integration) -> Integration:
    """Return what is stored of an account now."""
    with tenant_transaction(row.org_id):
        return Integration.objects.get(id=row.id)


def calling(gateway: str, tenant: Tenant, server: str, *, who: Actor | None = None, **agent: Any) -> Caller:
    """Put a new agent that lists a server to work, and call the server as it."""
    fields = {"name": f"Agent {uuid.uuid4().hex[:6]}", "mcp_servers": ["memory", server], **agent}
    made = create_agent(tenant.owner, AgentFields(**fields))
    return Caller(gateway, at_work(tenant, made, who=who), server)
