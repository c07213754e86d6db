"""How often tools may be called, and what is said to whoever calls more often."""

from __future__ import annotations

import asyncio
import uuid

import pytest

from services.kit.environment import environment
from services.kit.redisbus import client as redis_client
from services.mcp_gateway import limits
from services.mcp_gateway.http import TOOL_SERVERS
from services.mcp_gateway.limits import LIMITS, Limit, Limits, Rate
from tests.gateway.serving import Caller, at_work, rpc


@pytest.fixture
def settings(monkeypatch):
    """Change the installation's settings for one test."""
    LIMITS._leases.clear()
    LIMITS._buckets.clear()

    def change(**values: float) -> None:
        for name, value in values.items():
            monkeypatch.setattr(environment(), f"mcp_{name}", value)

    return change


def test_a_tool_that_is_called_too_often_says_when_to_come_back(gateway, working, settings):
    settings(tool_per_s=0.1, tool_burst=3)
    memory = Caller(gateway, working, "memory")
    for _ in range(3):
        memory("memory_list")
    refused = memory.refused("memory_list")
    assert refused.startswith("rate_limited: This tool was called too often. Wait ")
    assert 1 <= int(refused.split("Wait ")[1].split(" s")[0]) <= 10
    # Other tools are not meant.
    memory("memory_write", name="a", body="b")


def test_a_task_that_calls_too_many_tools_is_told_so_and_another_task_is_not(
    gateway, working, settings, acme, claude
):
    settings(task_per_s=0.1, task_burst=2)
    memory = Caller(gateway, working, "memory")
    memory("memory_list")
    memory("memory_write", name="a", body="b")
    assert memory.refused("memory_list").startswith("rate_limited: Too many tools were called. Wait ")
    Caller(gateway, at_work(acme, claude), "memory")("memory_list")


def test_an_organisations_tasks_share_a_limit_and_another_organisation_has_its_own(
    gateway, working, settings, acme, claude, globex
):
    settings(org_per_s=0.1, org_burst=2)
    Caller(gateway, working, "memory")("memory_list")
    other = Caller(gateway, at_work(acme, claude), "memory")
    other("memory_list")
    assert "organisation's agents call too many tools" in other.refused("memory_list")
    Caller(gateway, at_work(globex, globex.agent), "memory")("memory_list")


def test_a_call_that_is_refused_by_one_limit_takes_nothing_from_the_others(gateway, working, settings):
    settings(tool_per_s=0.1, tool_burst=1, task_per_s=0.1, task_burst=3)
    memory = Caller(gateway, working, "memory")
    memory("memory_list")
    for _ in range(10):
        memory.refused("memory_list")
    memory("memory_write", name="a", body="b")
    memory("memory_read", name="a")


def test_a_tool_may_have_a_rate_of_its_own(gateway, working, settings):
    memory_list = next(tool for tool in TOOL_SERVERS[0].tools if tool.name == "memory_list")
    object.__setattr__(memory_list, "rate", Rate(0.1, 1))  # tools are frozen
    try:
        memory = Caller(gateway, working, "memory")
        memory("memory_list")
        assert memory.refused("memory_list").startswith("rate_limited: ")
        memory("memory_write", name="a", body="b")
    finally:
        object.__setattr__(memory_list, "rate", None)


def test_a_flood_of_requests_is_429_with_the_delay(gateway, working, settings):
    settings(flood_per_s=0.5, flood_burst=5)
    url, token = f"{gateway}/mcp/memory", working.tokens["mcp:memory"]
    answers = [rpc(url, token, "tools/list") for _ in range(6)]
    assert [answer.status_code for answer in answers] == [200] * 5 + [429]
    assert answers[-1].headers["retry-after"] in ("1", "2")
    assert answers[-1].json()["error"]["code"] == "rate_limited"
    # Whoever has no good token is told nothing of it.
    assert rpc(url, "swt_unknown", "tools/list").status_code == 401


# --- the buckets by themselves -------------------------------------------------------------------------


def limit(rate: Rate) -> Limit:
    return Limit(f"slipway:rate:{{{uuid.uuid4()}}}", rate, "test")


def passed(*processes: Limits, each: int, wanted: Limit) -> int:
    """Let several gateways ask at once, so many times each; returns how many were let through."""

    async def ask_all() -> int:
        async def ask(process: Limits) -> int:
            return sum([await process.admit([wanted]) is None for _ in range(each)])

        async with asyncio.TaskGroup() as group:
            runs = [process.run() for process in processes]
            for run in runs:
                await run.__aenter__()
            asked = [group.create_task(ask(process)) for process in processes for _ in range(4)]
        for run in runs:
            await run.__aexit__(None, None, None)
        return sum(task.result() for task in asked)

    return asyncio.run(ask_all())


@pytest.mark.parametrize("burst", [1, 7, 100, 1_000])
def test_several_gateways_together_let_no_more_through_than_the_limit(servers, burst):
    wanted = limit(Rate(0.001, burst))
    count = passed(Limits(), Limits(), Limits(), each=burst, wanted=wanted)
    # What one holds and does not spend is missing to the others, never the other way round.
    assert burst - 2 * max(1, burst // 10) <= count <= burst


def test_one_gateway_lets_exactly_the_limit_through(servers):
    assert passed(Limits(), each=200, wanted=limit(Rate(0.001, 100))) == 100


def test_the_bucket_is_asked_once_for_a_tenth_of_a_burst(servers):
    process, wanted = Limits(), limit(Rate(0.001, 1_000))
    before = redis_client().info("commandstats")["cmdstat_evalsha"]["calls"] if _has_evalsha() else 0
    assert passed(process, each=125, wanted=wanted) == 500
    after = redis_client().info("commandstats")["cmdstat_evalsha"]["calls"]
    assert after - before < 20


def _has_evalsha() -> bool:
    return "cmdstat_evalsha" in redis_client().info("commandstats")


def test_a_bucket_fills_again(servers):
    process, wanted = Limits(), limit(Rate(1_000.0, 1))

    async def ask_until_granted_twice() -> None:
        async with process.run(), asyncio.timeout(5):
            for _ in range(2):
                while (exceeded := await process.admit([wanted])) is not None:
                    assert 0 < exceeded.retry_after_s <= 0.001
                    await asyncio.sleep(exceeded.retry_after_s)

    asyncio.run(ask_until_granted_twice())


def test_buckets_do_not_stay_in_redis(servers):
    wanted = limit(Rate(2.0, 10))
    assert passed(Limits(), each=1, wanted=wanted) == 4
    assert 5_000 < redis_client().pttl(wanted.key) <= 6_000


def test_without_redis_each_gateway_keeps_the_limit_by_itself(servers, monkeypatch):
    process, wanted = Limits(), limit(Rate(0.001, 20))
    monkeypatch.setattr(limits, "ALONE_S", 3_600.0)

    class Away:
        def __init__(self, url: str) -> None:
            self.redis_url = self

        def get_secret_value(self) -> str:
            return "redis://127.0.0.1:1/0"

    monkeypatch.setattr(limits, "environment", lambda: Away(""))
    assert passed(process, each=10, wanted=wanted) == 20
    assert process.alone == 40
