"""What agents called, over REST."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from services.domain.calls.models import CallKind
from services.domain.calls.records import CallRecord, all_tenants_store_calls, batch_of
from services.domain.identity.actions import create_token
from services.kit.clock import now, rfc3339
from tests.api.client import Api


@pytest.fixture
def calls(acme) -> None:
    """Put five calls of acme's on record."""

    def call(minutes_ago: int, **fields: Any) -> CallRecord:
        usual: dict[str, Any] = {
            "org_id": acme.organisation.id, "kind": CallKind.OWN, "server": "memory", "tool": "memory_list",
            "code": "", "task_id": None, "agent_id": acme.agent.id, "user_id": None,
            "started_at": now() - timedelta(minutes=minutes_ago), "duration_ms": 2.5,
        }  # fmt: skip
        return CallRecord(**usual | fields)

    made = (
        call(50),
        call(40, tool="memory_read", code="memory_not_found"),
        call(30, kind=CallKind.UPSTREAM, server="weather", tool="rain", code="mcp_server_timeout"),
        call(20, code="rate_limited"),
        call(10, kind=CallKind.MODEL, server="anthropic", tool="claude", result_bytes=9, attempts=2),
    )
    all_tenants_store_calls(batch_of(made))


def test_calls_are_listed_newest_first_and_by_pages(alice, calls):
    whole = alice.get("/v1/calls").body
    assert [item["tool"] for item in whole["items"]] == [
        "claude", "memory_list", "rain", "memory_read", "memory_list",
    ]  # fmt: skip
    assert whole["next"] is None
    first = alice.get("/v1/calls?limit=2").body
    second = alice.get(f"/v1/calls?limit=3&cursor={first['next']}").body
    assert first["items"] + second["items"] == whole["items"]


def test_a_call_shows_how_it_went(alice, calls, acme):
    shown = alice.get("/v1/calls?server=weather").body["items"][0]
    assert {**shown, "id": "", "started_at": ""} == {
        "id": "", "kind": "upstream", "server": "weather", "tool": "rain", "outcome": "timeout",
        "code": "mcp_server_timeout", "task_id": None, "agent_id": str(acme.agent.id), "user_id": None,
        "started_at": "", "duration_ms": 2.5, "request_bytes": 0, "result_bytes": 0, "attempts": None,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("query", "count"),
    [("outcome=limited", 1), ("outcome=ok", 2), ("kind=own", 3), ("tool=memory_list", 2), ("kind=own&outcome=ok", 1),
     ("tool=no_such", 0)],
)  # fmt: skip
def test_the_list_is_narrowed(alice, calls, query, count):
    assert len(alice.get(f"/v1/calls?{query}").body["items"]) == count


def test_the_list_is_narrowed_to_a_stretch_of_time(alice, calls):
    since, until = (rfc3339(now() - timedelta(minutes=ago)) for ago in (45, 15))
    found = alice.get(f"/v1/calls?from={since}&to={until}").body["items"]
    assert [item["tool"] for item in found] == ["memory_list", "rain", "memory_read"]


@pytest.mark.parametrize("query", ["outcome=fine", "kind=x", "from=yesterday", "tool=%00", "task_id=1"])
def test_a_filter_that_is_none_is_refused(alice, query):
    assert alice.get(f"/v1/calls?{query}").status == 400


def test_a_token_without_the_scope_sees_no_calls(acme, calls):
    _, token = create_token(acme.owner, name="narrow", scopes=["agents:read"])
    assert Api(token).get("/v1/calls").status == 403
