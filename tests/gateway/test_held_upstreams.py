"""Calls of other parties' tools that a person must allow, and what people see of their arguments."""

from __future__ import annotations

from typing import Any

import pytest
from mcp import Client
from mcp_types import ToolAnnotations

from conftest import Tenant
from services.domain.approvals.actions import decide_approval
from services.domain.approvals.models import Approval, HeldCall
from services.domain.approvals.rule_actions import create_rule
from services.domain.approvals.rules import RuleFields
from services.domain.tenancy.transaction import tenant_transaction
from services.domain.upstreams.actions import update_upstream
from services.kit.environment import environment
from services.mcp_gateway.holding import rulebook
from services.mcp_gateway.holding.masking import MASK, masked
from tests.fakes.mcp_upstream import McpUpstream
from tests.gateway.serving import eventually
from tests.gateway.upstream_cast import Weather, register, work

pytestmark = pytest.mark.usefixtures("local_upstreams")


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nobody wait long, and rules count at once."""
    monkeypatch.setattr(environment(), "mcp_hold_wait_s", 0.3)
    monkeypatch.setattr(rulebook, "TTL_S", 0.0)


def approval_of(tenant: Tenant) -> Approval:
    with tenant_transaction(tenant.organisation.id):
        return Approval.objects.filter(kind="tool_call").order_by("-id").first()


def made(upstream: McpUpstream) -> list[Any]:
    return [call["arguments"] for call in upstream.calls.all() if call.get("tool") == "add"]


def hold(tenant: Tenant) -> None:
    create_rule(tenant.owner, RuleFields(effect="hold", tool="weather.add"))


def test_a_held_call_reaches_the_server_once_it_is_allowed_and_progress_is_told(
    gateway, acme, claude, upstream, monkeypatch
):
    monkeypatch.setattr(environment(), "mcp_hold_wait_s", 10.0)
    register(acme, upstream.url)
    hold(acme)
    heard: list[str | None] = []

    async def converse(client: Client) -> Any:
        async def on_progress(progress: float, total: float | None, message: str | None) -> None:
            heard.append(message)
            approval = approval_of(acme)
            if approval.status == "pending":
                decide_approval(acme.owner, approval.id, "allow")

        return await client.call_tool("add", {"a": 2, "b": 3}, progress_callback=on_progress)

    # It is decided only because its progress was heard.
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
    result = Weather(gateway, work(acme, claude)).run(converse)
    assert (result.is_error, result.structured_content) == (False, {"sum": 5})
    assert heard[0] == "waiting for a person's approval"
    assert made(upstream) == [{"a": 2, "b": 3}]


def test_the_result_waits_for_who_asks_again(gateway, acme, claude, upstream):
    register(acme, upstream.url)
    hold(acme)
    weather = Weather(gateway, work(acme, claude))
    assert weather.refused("add", a=2, b=3).startswith("approval_pending:")
    assert approval_of(acme).subject == {"server": "weather", "tool": "add", "arguments": {"a": 2, "b": 3}}
    assert made(upstream) == []
    decide_approval(acme.owner, approval_of(acme).id, "allow")
    eventually(lambda: made(upstream))
    assert weather.call("add", a=2, b=3).structured_content == {"sum": 5}
    assert made(upstream) == [{"a": 2, "b": 3}]


def test_another_server_behind_the_same_name_is_not_called(gateway, acme, claude, upstream):
    server = register(acme, upstream.url)
    hold(acme)
    weather = Weather(gateway, work(acme, claude))
    weather.refused("add", a=2, b=3)
    with McpUpstream() as another:
        update_upstream(acme.owner, server.id, {"url": another.url})
        decide_approval(acme.owner, approval_of(acme).id, "allow")

        def call() -> HeldCall:
            with tenant_transaction(acme.organisation.id):
                return HeldCall.objects.get()

        eventually(lambda: call().state == "refused")
        assert "not the one any more" in call().reason
        assert made(another) == []
    assert made(upstream) == []


def test_a_tool_that_calls_itself_destructive_is_held_without_a_rule(gateway, acme, claude, upstream):
    upstream.tools["add"] = upstream.tools["add"].model_copy(
        update={"annotations": ToolAnnotations(destructive_hint=True)}
    )
    register(acme, upstream.url)
    weather = Weather(gateway, work(acme, claude))
    assert weather.refused("add", a=2, b=3).startswith("approval_pending:")
    create_rule(acme.owner, RuleFields(effect="allow", tool="weather.add"))
    assert weather.call("add", a=1, b=1).structured_content == {"sum": 2}


SECRET = {"type": "string", "format": "password"}
SCHEMA = {
    "type": "object",
    "properties": {
        "key": SECRET,
        "nested": {"$ref": "#/$defs/Nested"},
        "many": {"type": "array", "items": {"anyOf": [{"$ref": "#/$defs/Nested"}, {"type": "null"}]}},
        "by_name": {"type": "object", "additionalProperties": {"writeOnly": True}},
        "loop": {"$ref": "#/$defs/Loop"},
    },
    "$defs": {
        "Nested": {"properties": {"pin": {"writeOnly": True}, "text": {"type": "string"}}},
        "Loop": {"$ref": "#/$defs/Loop"},
    },
}


def test_what_a_schema_marks_as_secret_is_masked_however_deep() -> None:
    given = {
        "key": "k",
        "nested": {"pin": 1234, "text": "t"},
        "many": [{"pin": [1], "text": "t"}, None],
        "by_name": {"x": "y", "z": None},
        "loop": {"a": 1},
        "other": "o",
    }
    assert masked(given, SCHEMA) == {
        "key": MASK,
        "nested": {"pin": MASK, "text": "t"},
        "many": [{"pin": MASK, "text": "t"}, None],
        "by_name": {"x": MASK, "z": None},
        "loop": {"a": 1},
        "other": "o",
    }
    assert masked(given, {}) == given
    assert masked({"a": 1}, {"properties": [], "anyOf": 3, "$ref": 7, "items": "x"}) == {"a": 1}
