"""Every tool of every server, called with other people's ids and names: nothing is found, and nothing is told."""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import dataclass, replace
from typing import Any

import pytest
from django.apps import apps
from django.db.models import Model
from mcp_types import CallToolResult, TextContent

from conftest import Tenant
from services.domain.actors import system_actor
from services.domain.agents.actions import AgentFields, create_agent
from services.domain.agents.models import Agent
from services.domain.integrations.actions import NewIntegration, connect_integration
from services.domain.integrations.names import ACCOUNT_SERVERS
from services.domain.memory.actions import write_memory
from services.domain.oauth.servers import PEOPLE_SERVERS
from services.domain.playbooks.actions import PlaybookFields, create_playbook, run_playbook
from services.domain.tasks.submit import TaskOrder, submit_task
from services.domain.tenancy.models import TenantModel
from services.domain.tenancy.transaction import tenant_transaction
from services.domain.upstreams.actions import NewUpstream, register_upstream
from services.mcp_gateway.callers import AgentCaller, Caller, PersonCaller
from services.mcp_gateway.http import TOOL_SERVERS
from services.mcp_gateway.mcp_servers.tools import Tool
from tests.gateway.serving import at_work
from tests.gateway.walking import arguments_of, places_of, with_value, without

CANARY = "canary7391"
WALKS = [
    pytest.param(tool, who, id=f"{server.name}.{tool.name}-{who}")
    for server in TOOL_SERVERS
    for tool in server.tools
    for who in ("another tenant", "another member", "nobody")
] + [
    # Members may see work of each other's, but use no account of another's.
    pytest.param(tool, f"{who}'s program", id=f"{server.name}.{tool.name}-{who}'s program")
    for server in TOOL_SERVERS
    if server.name in PEOPLE_SERVERS
    for tool in server.tools
    for who in ("another tenant", "another member")
    if who == "another tenant" or PEOPLE_SERVERS[server.name].group == "accounts"
]
LONGEST_S = 5


@dataclass
class Belongings:
    """What alice has: ids of all of it, names, and how its rows looked before."""

    ids: list[str]
    names: list[str]
    rows: dict[str, list[dict[str, Any]]]


def tenant_models() -> list[type[Model]]:
    """Return the models of tenants' rows that tools could reach."""
    return [
        model
        for model in apps.get_models()
        if issubclass(model, TenantModel) and model._meta.app_label not in ("plane", "calls", "outbox")
    ]


def rows_of(tenant: Tenant, people: set[uuid.UUID] | None = None) -> dict[str, list[dict[str, Any]]]:
    """Read a tenant's rows, or those that belong to some of its people."""
    found = {}
    with tenant_transaction(tenant.organisation.id):
        for model in tenant_models():
            rows = model._default_manager.order_by("pk").values()
            names = {field.attname for field in model._meta.fields} & {"user_id", "owner_id"}
            if people is not None:
                rows = [row for row in rows if any(row[name] in people for name in names)]
                if model is Agent:
                    rows = [row for row in rows if not row["is_shared"]]
            found[model._meta.label] = list(rows)
    return found


@pytest.fixture
def belongings(acme: Tenant) -> dict[str, Belongings]:
    """Give alice one of everything, with a word in each text by which it would be known."""
    alice = acme.owner
    private = create_agent(
        alice, AgentFields(name=f"{CANARY} agent", description=CANARY, instructions=CANARY, is_shared=False)
    )
    register_upstream(
        alice, NewUpstream(name=f"{CANARY}-server", url="https://mcp.example.com/x", is_personal=True)
    )
    for kind in ACCOUNT_SERVERS:
        connect_integration(alice, NewIntegration(kind=kind, name=f"{CANARY} account"))
    working = at_work(acme, private, prompt=f"{CANARY} prompt")
    working.runner.says("message.created", role="assistant", text=f"{CANARY} answer")
    submit_task(alice, TaskOrder(agent_id=acme.agent.id, prompt=f"{CANARY} queued"), source="api")
    for agent in (private, acme.agent):
        write_memory(alice, agent.id, f"{CANARY} note", f"{CANARY} body")
    playbook, _ = create_playbook(
        alice, PlaybookFields(agent_id=private.id, name=f"{CANARY} playbook", prompt=CANARY, cron="0 9 * * *")
    )
    run = run_playbook(alice, playbook.id)
    names = [
        f"{CANARY} note",
        f"{CANARY} agent",
        private.slug,
        f"{CANARY} playbook",
        f"{CANARY}-server",
        f"{CANARY} account",
    ]
    all_rows, own_rows = rows_of(acme), rows_of(acme, {alice.user_id} if alice.user_id else set())
    return {
        "another tenant": Belongings(_ids(all_rows), names, all_rows),
        "another member": Belongings([*_ids(own_rows), str(run.id)], names, own_rows),
    }


def _ids(rows: dict[str, list[dict[str, Any]]]) -> list[str]:
    return [
        str(row["id"]) for several in rows.values() for row in several if isinstance(row["id"], uuid.UUID)
    ]


def call(tool: Tool[Any], caller: Caller, arguments: dict[str, Any]) -> tuple[bool, str]:
    """Call a tool; returns whether it refused, and all that it gave."""

    async def calling() -> CallToolResult | None:
        try:
            async with asyncio.timeout(LONGEST_S):
                return await tool.call(caller, arguments)
        except TimeoutError:
            return None

    result = asyncio.run(calling())
    if result is None:
        return False, "(waits)"
    text = result.content[0].text if isinstance(result.content[0], TextContent) else ""
    return bool(result.is_error), text


def caller_of(who: str, acme: Tenant, globex: Tenant) -> Caller:
    """Return somebody else's agent at work, or a program that may do all that people's programs may."""
    if who.endswith("program"):
        tenant, name = (globex, "mallory") if who.startswith("another tenant") else (acme, "bob")
        scopes = frozenset[str]().union(*(server.grants("write") for server in PEOPLE_SERVERS.values()))
        return PersonCaller(replace(tenant.people[name], kind="token", scopes=scopes), tenant.agent.id)
    if who == "another tenant":
        return AgentCaller(at_work(globex, globex.agent).task)
    if who == "another member":
        return AgentCaller(at_work(acme, acme.agent, who=acme.people["bob"]).task)
    return AgentCaller(at_work(acme, acme.agent, who=system_actor(acme.organisation.id)).task)


@pytest.mark.parametrize(("tool", "who"), WALKS)
def test_a_tool_finds_nothing_of_other_people(tool, who, acme, globex, belongings):
    is_foreign = who.startswith("another tenant")
    theirs = belongings["another tenant" if is_foreign else "another member"]
    caller = caller_of(who, acme, globex)
    _, plain = call(tool, caller, arguments_of(tool))
    assert CANARY not in plain.lower()
    for place in places_of(tool):
        values = theirs.ids if place.is_id else [*theirs.names, *theirs.ids[:3]]
        nobodys = str(uuid.uuid4()) if place.is_id else f"nobodys {uuid.uuid4().hex[:10]}"
        expected: tuple[bool, str] | None = None
        for value in values:
            is_error, text = call(tool, caller, with_value(tool, place, value))
            shown = without(text, value)
            assert CANARY not in shown.lower().replace(value.lower(), ""), (place, text)
            if expected is None:
                refused, words = call(tool, caller, with_value(tool, place, nobodys))
                expected = refused, without(words, nobodys)
            if place.is_id or place.field in ("agent", "to"):
                assert is_error == expected[0], (place, text)
                assert not is_error or shown == expected[1], (place, text)
    after = rows_of(acme) if is_foreign else rows_of(acme, {acme.owner.user_id or uuid.uuid4()})
    assert after == theirs.rows


def test_the_walk_meets_every_server_and_most_of_its_places(belongings):
    walked = {server.name: sum(len(places_of(tool)) for tool in server.tools) for server in TOOL_SERVERS}
    assert walked["platform"] > 20
    assert walked["memory"] > 6
    assert len(belongings["another tenant"].ids) > len(belongings["another member"].ids) > 5
