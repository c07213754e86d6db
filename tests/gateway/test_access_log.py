"""The log of credentials in a gateway: first uses are on record before the value goes out, repeats a moment later."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any

import httpx
import pytest
from django.db import IntegrityError, OperationalError
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from conftest import Tenant
from services.adapters.accounts.registry import build_kinds
from services.adapters.upstreams.network import Network
from services.domain.agents.actions import AgentFields, create_agent
from services.domain.llm.keys import NewKey, create_key
from services.domain.llm.models import KeyStatus, LlmVendor
from services.domain.ports.accounts import Installation
from services.domain.tenancy.transaction import tenant_transaction
from services.domain.upstreams.models import UpstreamServer
from services.domain.vault.accesses import Access, Used
from services.domain.vault.models import AccessWay, CredentialAccess, CredentialKind
from services.kit.clock import now
from services.mcp_gateway import access_log
from services.mcp_gateway.access_log import ACCESS_LOG, MAX_COUNTED, AccessLog
from services.mcp_gateway.http import AgentHttp
from services.mcp_gateway.llm.vendor import Vendor
from tests.domain.cast import keep, running
from tests.fakes.gmail_server import GmailServer
from tests.fakes.mcp_upstream import McpUpstream
from tests.fakes.serving import LocalServer
from tests.gateway.account_cast import calling, connect_gmail, use_google
from tests.gateway.conftest import KEY
from tests.gateway.serving import Caller, Working, at_work, served
from tests.gateway.test_llm_proxy import CALL, MODEL, post
from tests.gateway.upstream_cast import Weather, register, stored, work

pytestmark = pytest.mark.usefixtures("local_upstreams")

ORG = uuid.UUID(int=1)
USED = Used(CredentialKind.ACCOUNT, uuid.UUID(int=2), "work")


def use(task: int = 3, **fields: Any) -> Access:
    return Access(USED, AccessWay.UPSTREAM, task_id=uuid.UUID(int=task), **fields)


class Written:
    """Plays the database: what was written, and what it fails with."""

    def __init__(self) -> None:
        self.rows: list[Access] = []
        self.failure: Exception | None = None

    def __call__(self, org_id: uuid.UUID, accesses: Sequence[Access]) -> None:
        if self.failure is not None:
            raise self.failure
        assert org_id == ORG
        self.rows += accesses

    @property
    def counts(self) -> list[int]:
        return [row.count for row in self.rows]


# --- counting ----------------------------------------------------------------------------------------


async def test_the_first_use_is_written_at_once_and_repeats_together() -> None:
    written = Written()
    log = AccessLog(written)
    uses = [use() for _ in range(4)]
    for each in uses:
        await log.note(ORG, each)
    assert written.counts == [1]
    await log.write_down()
    await log.write_down()
    assert written.counts == [1, 3]
    repeats = written.rows[1]
    assert (repeats.first_at, repeats.last_at) == (uses[1].first_at, uses[3].last_at)


async def test_another_task_place_and_version_are_first_uses_of_their_own() -> None:
    written = Written()
    log = AccessLog(written)
    newer = dataclasses.replace(USED, version=2)
    for each in (use(), use(task=4), use(host="api.example.com"), dataclasses.replace(use(), used=newer)):
        await log.note(ORG, each)
    assert written.counts == [1, 1, 1, 1]


async def test_uses_of_two_people_without_a_task_are_not_counted_as_one() -> None:
    written = Written()
    log = AccessLog(written)
    people = [uuid.UUID(int=8), uuid.UUID(int=9)]
    for person in (*people, *people):
        await log.note(ORG, dataclasses.replace(use(), task_id=None, user_id=person))
    await log.write_down()
    assert [(row.user_id, row.count) for row in written.rows] == [(who, 1) for who in (*people, *people)]


async def test_a_first_use_that_cannot_be_written_is_refused_and_is_none() -> None:
    written = Written()
    log = AccessLog(written)
    written.failure = OperationalError("away")
    for _ in range(2):
        with pytest.raises(OperationalError):
            await log.note(ORG, use())
    written.failure = None
    await log.write_down()
    assert written.rows == []


async def test_repeats_wait_for_a_database_that_is_away_but_not_for_one_that_refuses_them() -> None:
    written = Written()
    log = AccessLog(written)
    for _ in range(3):
        await log.note(ORG, use())
    written.failure = OperationalError("away")
    await log.write_down()
    assert log.repeat(ORG, use())
    written.failure = None
    await log.write_down()
    assert written.counts == [1, 2, 1]
    assert log.repeat(ORG, use())
    written.failure = IntegrityError("never")
    await log.write_down()
    written.failure = None
    await log.write_down()
    assert written.counts == [1, 2, 1]


async def test_the_places_of_a_task_that_are_remembered_are_bounded() -> None:
    written = Written()
    log = AccessLog(written)
    for number in range(MAX_COUNTED + 1):
        await log.note(ORG, use(path=f"/{number}"))
    await log.note(ORG, use(path=f"/{MAX_COUNTED}"))
    await log.note(ORG, use(path="/0"))
    assert len(written.rows) == MAX_COUNTED + 2


async def test_what_is_not_used_any_more_is_forgotten_after_its_repeats_are_written(monkeypatch) -> None:
    monkeypatch.setattr(access_log, "FORGET_S", -1.0)
    written = Written()
    log = AccessLog(written)
    await log.note(ORG, use())
    assert log.repeat(ORG, use())
    await log.write_down()
    assert written.counts == [1, 1]
    assert not log.repeat(ORG, use())


async def test_what_is_left_is_written_when_the_gateway_stops() -> None:
    written = Written()
    log = AccessLog(written)
    async with log.run():
        for _ in range(3):
            await log.note(ORG, use())
        assert written.counts == [1]
    assert written.counts == [1, 2]


async def test_first_uses_at_once_are_each_on_record() -> None:
    written = Written()
    log = AccessLog(written)
    await asyncio.gather(*(log.note(ORG, use()) for _ in range(5)))
    await log.write_down()
    assert sum(written.counts) == 5


MAIL = {"imap_host": "imap.example.com", "user": "a", "address": "a@example.com"}


@pytest.mark.parametrize(
    ("kind", "settings", "hosts"),
    [
        ("gmail", {}, ("gmail.googleapis.com",)),
        ("github", {"app_id": "1", "installation_id": "2", "repositories": ["acme/x"]}, ("api.github.com",)),
        ("calendar", {"url": "https://dav.example.com:8443/a", "user": "a"}, ("dav.example.com",)),
        ("mail", MAIL, ("imap.example.com",)),
        ("mail", {**MAIL, "smtp_host": "imap.example.com"}, ("imap.example.com",)),
        ("mail", {**MAIL, "smtp_host": "smtp.example.com"}, ("imap.example.com", "smtp.example.com")),
        ("teller", {}, ("api.teller.io",)),
        ("composio", {"user_id": "u"}, ("backend.composio.dev",)),
    ],
)
def test_each_kind_of_account_says_where_its_credentials_go(kind, settings, hosts):
    made = build_kinds(Installation(), Network())[kind]
    assert made.hosts(made.settings_model.model_validate(settings)) == hosts


# --- a process that ends -----------------------------------------------------------------------------

PROGRAM = """
import asyncio, json, os, signal, sys, uuid
os.environ["DJANGO_SETTINGS_MODULE"] = "services.mcp_gateway.settings"
import django
django.setup()
from services.domain.vault.accesses import Access, Used
from services.domain.vault.models import AccessWay, CredentialKind
from services.mcp_gateway.access_log import ACCESS_LOG

async def main(org_id, task_id, secret_id, is_killed):
    used = Used(CredentialKind.SECRET, uuid.UUID(secret_id), "TOKEN", 1)
    async with ACCESS_LOG.run():
        for _ in range(5):
            await ACCESS_LOG.note(
                uuid.UUID(org_id), Access(used, AccessWay.EGRESS, task_id=uuid.UUID(task_id))
            )
        if is_killed:
            os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main(*json.loads(sys.argv[1])))
"""


@pytest.mark.parametrize(("is_killed", "counts"), [(True, [1]), (False, [1, 4])])
def test_a_gateway_that_is_killed_loses_the_repeats_only_and_one_that_stops_nothing(acme, is_killed, counts):
    secret = keep(acme.owner)
    task, _ = running(acme)
    given = json.dumps([str(acme.organisation.id), str(task.id), str(secret.id), is_killed])
    ended = subprocess.run([sys.executable, "-c", PROGRAM, given], env=os.environ, timeout=60, check=False)
    assert ended.returncode == (-signal.SIGKILL if is_killed else 0)
    assert [row.count for row in rows_of(acme)] == counts


# --- the calls of agents -----------------------------------------------------------------------------


@pytest.fixture
def mailbox(monkeypatch) -> Iterator[GmailServer]:
    """Run a mailbox on loopback."""
    with GmailServer() as server:
        use_google(monkeypatch, server)
        yield server


@pytest.fixture
def vendor() -> Iterator[tuple[str, list[str]]]:
    """Run a vendor that takes every key; gives its address and the keys that it saw."""
    seen: list[str] = []

    async def answer(request) -> JSONResponse:
        seen.append(request.headers["x-api-key"])
        return JSONResponse({"content": [], "data": [], "usage": {"input_tokens": 1, "output_tokens": 1}})

    app = Starlette(routes=[Route("/{path:path}", answer, methods=["GET", "POST"])])
    with LocalServer(app) as server:
        yield server.url, seen


def rows_of(tenant: Tenant, **fields: Any) -> list[CredentialAccess]:
    with tenant_transaction(tenant.organisation.id):
        return list(CredentialAccess.objects.filter(**fields).order_by("id"))


def own_key(tenant: Tenant) -> Any:
    fields = NewKey(name="ours", vendor=LlmVendor.ANTHROPIC, key=SecretStr("sk-ant-own-first"))
    return create_key(tenant.owner, fields, KeyStatus.OK)


def assert_logged(tenant: Tenant, other: Tenant, working: Working, row: Any, *, kind: str, way: str) -> None:
    """Look for a row for the first use and one for three repeats, which nobody else sees."""
    first, repeats = rows_of(tenant, task_id=working.task.id)
    for access in (first, repeats):
        assert (access.credential_kind, access.way, access.host) == (kind, way, "127.0.0.1")
        assert (access.credential_id, access.credential_name, access.version) == (row.id, row.name, None)
        assert (access.agent_id, access.workspace_id) == (working.task.agent_id, working.task.workspace_id)
        assert access.user_id == tenant.owner.user_id
    assert (first.count, repeats.count) == (1, 3)
    with tenant_transaction(tenant.organisation.id):
        assert type(row).objects.get(id=row.id).last_used_at == repeats.last_at > first.last_at
    assert rows_of(other) == []


def test_the_uses_of_an_account_are_on_record(acme, globex, mailbox, model_server):
    with served(AgentHttp(Vendor(model_server.url, SecretStr(KEY)))) as gateway:
        row = connect_gmail(acme)
        working = at_work(
            acme, create_agent(acme.owner, AgentFields(name="Clerk", mcp_servers=["memory", "gmail"]))
        )
        for _ in range(4):
            Caller(gateway, working, "gmail")("gmail_search", query="")
        assert [use.count for use in rows_of(acme, task_id=working.task.id)] == [1]
    assert_logged(acme, globex, working, row, kind="account", way="upstream")
    # Connecting it had it tried, by a person.
    (tried,) = rows_of(acme, task_id=None, way="check")[-1:]
    assert (tried.credential_id, tried.user_id, tried.agent_id) == (row.id, acme.owner.user_id, None)


def test_the_uses_of_a_servers_credential_are_on_record(acme, globex, claude, model_server):
    with McpUpstream() as upstream, served(AgentHttp(Vendor(model_server.url, SecretStr(KEY)))) as gateway:
        upstream.header = ("x-api-key", "of-the-server")
        row = register(acme, upstream.url, auth="header", header_name="X-API-Key", credential="of-the-server")
        working = work(acme, claude)
        for _ in range(4):
            assert not Weather(gateway, working).call("add", a=1, b=1).is_error
        assert [use.count for use in rows_of(acme, task_id=working.task.id)] == [1]
    assert_logged(acme, globex, working, row, kind="mcp_server", way="upstream")
    assert [use.way for use in rows_of(acme, task_id=None)] == ["check"]


def test_a_listing_is_a_use_too(gateway, acme, claude, upstream):
    upstream.header = ("x-api-key", "of-the-server")
    row = register(acme, upstream.url, auth="header", header_name="X-API-Key", credential="of-the-server")
    with tenant_transaction(acme.organisation.id):
        UpstreamServer.objects.update(listed_at=now() - timedelta(hours=1))
    working = work(acme, claude)
    assert Weather(gateway, working).tools()
    (access,) = rows_of(acme, task_id=working.task.id)
    assert (access.credential_id, access.way) == (row.id, "upstream")


def test_a_server_without_a_credential_has_no_uses(gateway, acme, claude, upstream):
    row = register(acme, upstream.url)
    assert not Weather(gateway, work(acme, claude)).call("add", a=1, b=1).is_error
    assert rows_of(acme) == []
    assert stored(row).last_used_at is None


def test_the_uses_of_a_model_key_are_on_record(acme, globex, working, vendor):
    row = own_key(acme)
    url, seen = vendor
    with served(AgentHttp(Vendor(url, SecretStr(KEY)))) as gateway:
        for _ in range(3):
            assert post(gateway, working.llm).status_code == 200
        counted = {"model": MODEL, "messages": CALL["messages"]}
        answer = httpx.post(
            f"{gateway}/llm/anthropic/v1/messages/count_tokens", json=counted, headers=working.llm
        )
        assert answer.status_code == 200
        assert [use.count for use in rows_of(acme)] == [1]
    assert seen == ["sk-ant-own-first"] * 4
    assert_logged(acme, globex, working, row, kind="model_key", way="model")


def test_the_installations_key_is_nobodys_and_on_no_log(acme, working, vendor):
    url, seen = vendor
    with served(AgentHttp(Vendor(url, SecretStr(KEY)))) as gateway:
        assert post(gateway, working.llm).status_code == 200
    assert (seen, rows_of(acme)) == ([KEY], [])


def test_a_use_that_cannot_be_put_on_record_does_not_happen(acme, claude, mailbox, vendor, monkeypatch):
    def away(org_id: uuid.UUID, accesses: Sequence[Access]) -> None:
        raise OperationalError("away")

    own_key(acme)
    url, seen = vendor
    with McpUpstream() as upstream, served(AgentHttp(Vendor(url, SecretStr(KEY)))) as gateway:
        upstream.header = ("x-api-key", "of-the-server")
        register(acme, upstream.url, auth="header", header_name="X-API-Key", credential="of-the-server")
        connect_gmail(acme)
        working = work(acme, claude)
        gmail = calling(gateway, acme, "gmail")
        before = len(upstream.calls.all()), len(mailbox.calls.all())
        with monkeypatch.context() as patched:
            patched.setattr(ACCESS_LOG, "_record", away)
            assert post(gateway, working.llm).status_code == 503
            assert gmail.raw("gmail_search", query="")["isError"]
            with pytest.raises(Exception):  # noqa: B017  # whatever the client makes of it
                Weather(gateway, working).call("add", a=1, b=1)
        assert (len(upstream.calls.all()), len(mailbox.calls.all()), seen) == (*before, [])
        # Nothing was sent, so nothing is paid.
        assert [record.cost_microusd for record in working.records()] == [0]
