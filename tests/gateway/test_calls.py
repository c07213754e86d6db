"""Each call of a tool is counted and put on record, with how it went and without what was said."""

from __future__ import annotations

import asyncio
import time
import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.db import DataError, OperationalError
from prometheus_client import CollectorRegistry, generate_latest

from services.domain.calls.models import CallKind, McpCall
from services.domain.calls.records import (
    CallRecord,
    all_tenants_forget_calls,
    all_tenants_store_calls,
    outcome_of,
)
from services.domain.tenancy.transaction import tenant_transaction
from services.kit.clock import now
from services.mcp_gateway import call_log
from services.mcp_gateway.call_log import CALL_LOG, FLUSH_S, CallLog
from services.mcp_gateway.mcp_servers.memory import reading
from tests.gateway.serving import Caller, eventually, rpc
from tests.gateway.upstream_cast import Weather, register, work

SECRET = "the-launch-code-is-0000"


def recorded(tenant, count: int) -> list[dict[str, Any]]:
    """Return what is on record, once there are so many."""

    def find() -> list[dict[str, Any]]:
        with tenant_transaction(tenant.organisation.id):
            return list(McpCall.objects.order_by("started_at").values())

    eventually(lambda: len(find()) >= count)
    found = find()
    assert len(found) == count
    return found


def metrics(log: CallLog = CALL_LOG) -> str:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(log)
    return generate_latest(registry).decode()


def test_a_call_that_went_well_is_on_record_within_moments(gateway, working, acme):
    began = now()
    Caller(gateway, working, "memory")("memory_write", name="a", body=SECRET)
    (call,) = recorded(acme, 1)
    assert (now() - began).total_seconds() < FLUSH_S + 2
    assert (call["kind"], call["server"], call["tool"]) == ("own", "memory", "memory_write")
    assert (call["outcome"], call["code"]) == ("ok", "")
    assert (call["task_id"], call["agent_id"]) == (working.task.id, working.task.agent_id)
    assert call["user_id"] == acme.owner.user_id
    assert began <= call["started_at"] <= now()
    assert 0 < call["duration_ms"] < 5_000
    assert call["request_bytes"] > len(SECRET)
    assert call["result_bytes"] > 10
    assert SECRET not in str(call)


def test_calls_that_failed_are_on_record_with_their_reason(gateway, working, acme, monkeypatch):
    memory = Caller(gateway, working, "memory")
    memory.refused("memory_read", name="nothing")
    memory.refused("memory_read", nonsense=SECRET)
    rpc(memory.url, memory.token, "tools/call", {"name": SECRET, "arguments": {}})
    monkeypatch.setattr(reading, "get_memory", lambda *args: 1 / 0)
    memory.refused("memory_read", name="broken")
    calls = recorded(acme, 4)
    assert [(call["tool"], call["outcome"], call["code"]) for call in calls] == [
        ("memory_read", "error", "memory_not_found"),
        ("memory_read", "error", "invalid"),
        ("(unknown)", "refused", "unknown_tool"),
        ("memory_read", "error", "internal"),
    ]
    assert SECRET not in str(calls)


def test_listing_tools_is_no_call(gateway, working, acme):
    memory = Caller(gateway, working, "memory")
    rpc(memory.url, memory.token, "tools/list")
    memory("memory_list")
    assert [call["tool"] for call in recorded(acme, 1)] == ["memory_list"]


@pytest.mark.usefixtures("local_upstreams")
def test_calls_of_registered_servers_are_on_record(gateway, acme, claude, upstream):
    register(acme, upstream.url)
    weather = Weather(gateway, work(acme, claude))
    before = metrics()
    weather.call("add", a=2, b=3)
    assert weather.call("break_down").is_error
    calls = recorded(acme, 2)
    assert {call["kind"] for call in calls} == {"upstream"}
    assert [(call["server"], call["tool"], call["outcome"]) for call in calls] == [
        ("weather", "add", "ok"), ("weather", "break_down", "error"),
    ]  # fmt: skip
    added = set(metrics().splitlines()) - set(before.splitlines())
    # What a tenant calls its servers and tools is no label: there is no end of such names.
    assert any('slipway_mcp_calls_total{outcome="ok",server="upstream",tool="any"}' in line for line in added)
    assert not [line for line in added if "weather" in line or "break_down" in line]


def test_another_organisation_finds_nothing(gateway, working, acme, globex):
    Caller(gateway, working, "memory")("memory_list")
    recorded(acme, 1)
    recorded(globex, 0)


# --- the log by itself ---------------------------------------------------------------------------------


def call_of(tenant, **fields: Any) -> CallRecord:
    given: dict[str, Any] = {
        "org_id": tenant.organisation.id, "kind": CallKind.OWN, "server": "memory", "tool": "memory_list",
        "code": "", "task_id": None, "agent_id": None, "user_id": None, "started_at": now(), "duration_ms": 3.0,
    }  # fmt: skip
    return CallRecord(**given | fields)


def test_counts_and_durations_are_metrics(acme):
    log = CallLog()
    for code, duration_ms in (("", 0.5), ("", 3.0), ("task_timeout", 50_000.0)):
        log.note(call_of(acme, code=code, duration_ms=duration_ms))
    log.note(call_of(acme, kind=CallKind.MODEL, server="anthropic", tool="claude-of-next-year"))
    lines = metrics(log).splitlines()
    labels = 'server="memory",tool="memory_list"'
    assert f'slipway_mcp_calls_total{{outcome="ok",{labels}}} 2.0' in lines
    assert f'slipway_mcp_calls_total{{outcome="timeout",{labels}}} 1.0' in lines
    assert f'slipway_mcp_call_seconds_bucket{{le="0.001",{labels}}} 1.0' in lines
    assert f'slipway_mcp_call_seconds_bucket{{le="0.005",{labels}}} 2.0' in lines
    assert f'slipway_mcp_call_seconds_bucket{{le="+Inf",{labels}}} 3.0' in lines
    assert f"slipway_mcp_call_seconds_sum{{{labels}}} 50.0035" in lines
    assert 'slipway_mcp_calls_total{outcome="ok",server="anthropic",tool="model"} 1.0' in lines
    assert "slipway_mcp_calls_waiting 4.0" in lines


def test_what_waits_is_stored_when_the_process_is_told_to_stop(acme, monkeypatch):
    monkeypatch.setattr(call_log, "FLUSH_S", 3_600.0)
    log = CallLog()

    async def serve() -> None:
        async with log.run():
            for _ in range(2_500):
                log.note(call_of(acme))

    asyncio.run(serve())
    assert log.stored == 2_500
    recorded(acme, 2_500)


def test_a_batch_that_failed_is_stored_once_when_the_database_is_back(acme, monkeypatch):
    log = CallLog()
    log.note(call_of(acme))

    def stored_unheard(batch: str) -> None:
        all_tenants_store_calls(batch)
        raise OperationalError("the connection broke after the commit")

    with monkeypatch.context() as broken:
        broken.setattr(call_log, "all_tenants_store_calls", stored_unheard)
        with pytest.raises(OperationalError):
            log.flush()
    log.note(call_of(acme))
    log.flush()
    recorded(acme, 2)
    assert (log.stored, log.lost) == (2, 0)


def test_a_batch_that_cannot_be_stored_keeps_nothing_back(acme, monkeypatch):
    log = CallLog()

    def refused(batch: str) -> None:
        raise DataError("not storable")

    with monkeypatch.context() as broken:
        broken.setattr(call_log, "all_tenants_store_calls", refused)
        log.note(call_of(acme))
        log.flush()
    log.note(call_of(acme))
    log.flush()
    recorded(acme, 1)
    assert log.lost == 1


def test_names_that_postgresql_does_not_take_are_stored_all_the_same(acme):
    log = CallLog()
    log.note(call_of(acme, kind=CallKind.UPSTREAM, server="x\x00", tool="\ud800" * 300, code="\x00"))
    log.flush()
    (call,) = recorded(acme, 1)
    assert len(call["tool"]) == 200


def test_what_waits_is_bounded_and_what_is_dropped_is_counted(acme, monkeypatch):
    monkeypatch.setattr(call_log, "MOST_WAITING", 3)
    log = CallLog()
    for n in range(5):
        log.note(call_of(acme, tool=f"t{n}"))
    log.flush()
    assert {call["tool"] for call in recorded(acme, 3)} == {"t2", "t3", "t4"}
    assert log.lost == 2


def test_noting_a_call_costs_little(acme):
    log, call = CallLog(), call_of(acme)
    began = time.perf_counter()
    for _ in range(10_000):
        log.note(call)
    assert time.perf_counter() - began < 1.0


@pytest.mark.parametrize(
    ("code", "outcome"),
    [
        ("", "ok"), ("memory_not_found", "error"), ("tool_withheld", "refused"), ("rate_limited", "limited"),
        ("mcp_server_timeout", "timeout"), ("cancelled", "cancelled"), ("approval_pending", "held"),
    ],
)  # fmt: skip
def test_an_outcome_is_one_of_a_few_words(code, outcome):
    assert outcome_of(code) == outcome


def test_old_calls_are_forgotten(acme):
    with tenant_transaction(acme.organisation.id):
        for age in (timedelta(days=29), timedelta(days=31)):
            made = int((now() - age).timestamp() * 1_000)
            McpCall.objects.create(
                id=uuid.UUID(int=made << 80 | 0x7 << 76 | 0b10 << 62 | 7), org_id=acme.organisation.id,
                server=str(age.days), started_at=now(), duration_ms=1, request_bytes=0, result_bytes=0,
            )  # fmt: skip
    assert all_tenants_forget_calls() == 1
    (kept,) = recorded(acme, 1)
    assert kept["server"] == "29"
