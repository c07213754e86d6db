"""Money: caps hold with any number of calls at once, and every reservation is settled once."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import httpx
import pytest
from django.db import connections

from services.domain.errors import BudgetExceeded, TaskMissing, TokenInvalid
from services.domain.llm.price_list import ANTHROPIC, FAMILIES
from services.domain.llm.prices import listed_prices
from services.domain.llm.rates import Price, Tokens, estimate_tokens
from services.domain.llm.spending import Reserved, all_tenants_settle_abandoned, reserve, settle
from services.domain.tasks.models import Task, UsageRecord
from services.kit.clock import now
from services.mcp_gateway.llm.usage import StreamMeter, read_usage
from tests.domain.cast import fresh, submit
from tests.fakes.anthropic_server import Rule
from tests.gateway.serving import at_work

MODEL = "claude-sonnet-4-6"
ONE_DOLLAR = Tokens(output=66_667)  # rounded up to a whole micro-dollar: 1,000,005


def price_of(model: str) -> Price:
    return listed_prices().price_of(model, now())


def cost_microusd(model: str, tokens: Tokens) -> int:
    return price_of(model).cost_of(tokens)


def set_aside(task: Task, most: Tokens = ONE_DOLLAR) -> Reserved:
    return reserve(task.org_id, task.id, kind="llm", model=MODEL, most=most)


def put(task: Task, **columns) -> None:
    Task.objects.using("operator").filter(id=task.id).update(**columns)


# --- prices ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "family"),
    [
        ("claude-sonnet-4-5-20250929", "claude-sonnet-4"),
        ("claude-sonnet-5", "claude-sonnet-5"),
        ("claude-sonnet-5-5", "claude-sonnet-5-5"),
        ("claude-opus-4-1-20250805", "claude-opus-4"),
        ("claude-opus-4-6[1m]", "claude-opus-4-6"),
        ("Claude-Haiku-4-5", "claude-haiku-4-5"),
        ("gpt-5-2025-08-07", "gpt-5"),
        ("gpt-5-codex", "gpt-5"),
        ("gpt-5.3-codex", "gpt-5.3"),
        ("gpt-5.5-pro", "gpt-5.5-pro"),
        ("o3-mini", "o3-mini"),
    ],
)
def test_a_model_costs_what_its_family_costs(model, family):
    assert price_of(model) == FAMILIES[family]


@pytest.mark.parametrize("model", ["gpt-9", "gpt-5.55", "gpt-50", "o33", "llama", ""])
def test_an_unknown_model_costs_as_much_as_the_dearest(model):
    assert price_of(model) == listed_prices().dearest(now())
    assert price_of(model).output == max(price.output for price in FAMILIES.values())


@pytest.mark.parametrize("model", ["claude-opus-50", "claude", "claude-sonnet-5x"])
def test_an_unknown_claude_costs_as_much_as_the_dearest_claude(model):
    assert price_of(model) == listed_prices().dearest(now(), only_claude=True)
    assert price_of(model).output == max(price.output for price in ANTHROPIC.values())


def test_costs_are_exact_and_rounded_up():
    tokens = Tokens(fresh=1_000, output=100, cache_read=10_000, cache_write_5m=400, cache_write_1h=100)
    assert cost_microusd(MODEL, tokens) == 3_000 + 1_500 + 3_000 + 1_500 + 600
    assert cost_microusd("claude-3-haiku-20240307", Tokens(fresh=1)) == 1
    assert cost_microusd("claude-haiku-5-5", Tokens(fresh=100_000)) == 10_000
    assert cost_microusd("claude-haiku-5-5", Tokens(fresh=100_001)) == 50_001
    assert cost_microusd(MODEL, Tokens()) == 0


def test_an_estimate_counts_bytes_and_the_dearer_cache_write():
    assert estimate_tokens(300, 50) == Tokens(fresh=100, output=50)
    assert estimate_tokens(301, 50, writes_cache_for="1h") == Tokens(cache_write_1h=101, output=50)


# --- reserving and settling --------------------------------------------------------------------------


def test_a_reservation_is_replaced_by_what_was_used(acme):
    task = submit(acme)
    reserved = set_aside(task)
    assert (fresh(task).reserved_microusd, fresh(task).cost_microusd) == (1_000_005, 0)
    assert settle(reserved, Tokens(fresh=100, output=10, cache_read=1_000))
    after = fresh(task)
    assert (after.reserved_microusd, after.cost_microusd) == (0, 300 + 150 + 300)
    assert (after.input_tokens, after.output_tokens) == (1_100, 10)


def test_settling_twice_changes_nothing(acme):
    task = submit(acme)
    reserved = set_aside(task)
    assert settle(reserved, None)
    assert not settle(reserved, Tokens(output=1))
    assert not settle(Reserved(task.org_id, task.id, uuid.uuid4(), None), None)
    assert (fresh(task).cost_microusd, fresh(task).reserved_microusd) == (1_000_005, 0)


def test_settling_at_once_settles_once(acme):
    task = submit(acme)
    reserved = set_aside(task)

    def attempt(_: int) -> bool:
        try:
            return settle(reserved, Tokens(output=100))
        finally:
            connections.close_all()

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(attempt, range(8))) == 1
    assert fresh(task).cost_microusd == 1_500


def test_a_call_that_could_pass_the_cap_is_refused_and_leaves_nothing(acme):
    task = submit(acme, max_budget_microusd=2_500_000)
    first = set_aside(task)
    set_aside(task)
    with pytest.raises(BudgetExceeded) as refused:
        set_aside(task)
    assert refused.value.details == {
        "level": "task", "period": None, "budget_id": None, "renews_at": None, "cap_microusd": 2_500_000,
        "spent_microusd": 0, "reserved_microusd": 2_000_010, "needed_microusd": 1_000_005,
    }  # fmt: skip
    assert UsageRecord.objects.using("operator").filter(task_id=task.id).count() == 2
    settle(first, Tokens(output=100))
    set_aside(task)


def test_without_a_cap_nothing_is_refused_and_all_is_recorded(acme):
    task = submit(acme)
    for _ in range(5):
        set_aside(task)
    assert fresh(task).reserved_microusd == 5 * 1_000_005


def test_what_was_passed_on_counts_towards_the_cap_above(acme):
    parent = submit(acme, max_budget_microusd=2_500_000)
    child, grandchild = submit(acme), submit(acme)
    put(child, parent_id=parent.id)
    put(grandchild, parent_id=child.id)
    settle(set_aside(grandchild), None)
    set_aside(child)
    for task in (parent, child, grandchild):
        with pytest.raises(BudgetExceeded):
            set_aside(task)
    unrelated = submit(acme)
    set_aside(unrelated)


def test_a_whole_family_at_once_stays_within_the_cap(acme):
    parent = submit(acme, max_budget_microusd=5_500_000)
    children = [submit(acme) for _ in range(4)]
    for child in children:
        put(child, parent_id=parent.id)

    def attempt(task: Task) -> bool:
        try:
            set_aside(task)
        except BudgetExceeded:
            return False
        finally:
            connections.close_all()
        return True

    with ThreadPoolExecutor(10) as threads:
        assert sum(threads.map(attempt, [parent, *children] * 4)) == 5


def test_neither_an_ended_task_nor_another_tenants_gets_money(acme, globex):
    task = submit(acme)
    with pytest.raises(TaskMissing):
        reserve(globex.organisation.id, task.id, kind="llm", model=MODEL, most=ONE_DOLLAR)
    reserved = set_aside(task)
    assert not settle(replace(reserved, org_id=globex.organisation.id), None)
    put(task, status="succeeded")
    with pytest.raises(TokenInvalid):
        set_aside(task)


def test_calls_whose_gateway_died_are_settled_at_their_estimate(acme, globex):
    old, young, foreign = submit(acme), submit(acme), submit(globex)
    abandoned = [set_aside(old), set_aside(foreign)]
    settled = set_aside(old)
    settle(settled, Tokens())
    set_aside(young)
    UsageRecord.objects.using("operator").filter(
        id__in=[one.record_id for one in (*abandoned, settled)]
    ).update(created_at=now() - timedelta(hours=1))
    assert all_tenants_settle_abandoned(older_than=timedelta(minutes=30)) == 2
    assert all_tenants_settle_abandoned(older_than=timedelta(minutes=30)) == 0
    assert [(fresh(task).cost_microusd, fresh(task).reserved_microusd) for task in (old, foreign, young)] == [
        (1_000_005, 0), (1_000_005, 0), (0, 1_000_005),
    ]  # fmt: skip


# --- through the proxy -------------------------------------------------------------------------------


def call(gateway: str, headers: dict[str, str], max_tokens: int = 1_000) -> httpx.Response:
    body = {"model": MODEL, "max_tokens": max_tokens, "messages": [{"role": "user", "content": "x"}]}
    return httpx.post(f"{gateway}/llm/anthropic/v1/messages", json=body, headers=headers, timeout=20)


def test_twenty_calls_at_once_never_pass_the_cap(gateway, acme, claude, model_server):
    # Each call may need some 15,100 micro-dollars and uses 15,030 of them.
    model_server.rules = [Rule(text="x", usage={"input_tokens": 10, "output_tokens": 1_000}, delay_s=0.05)]
    capped = at_work(acme, claude, max_budget_microusd=100_000)
    with ThreadPoolExecutor(20) as threads:
        answers = list(threads.map(lambda _: call(gateway, capped.llm), range(20)))
    statuses = [answer.status_code for answer in answers]
    assert set(statuses) == {200, 402}
    assert statuses.count(200) == len(model_server.requests) == 6
    task = fresh(capped.task)
    assert (task.cost_microusd, task.reserved_microusd) == (6 * 15_030, 0)


def test_a_refused_call_tells_the_cli_to_stop(gateway, acme, claude, model_server):
    capped = at_work(acme, claude, max_budget_microusd=10)
    answer = call(gateway, capped.llm)
    assert answer.status_code == 402
    error = answer.json()["error"]
    assert (error["type"], error["code"]) == ("billing_error", "budget_exceeded")
    assert error["message"].startswith("budget_exceeded: The budget of the task is $0.0001;")
    assert answer.headers["x-should-retry"] == "false"
    assert model_server.requests == []
    assert capped.records() == []


def test_the_sums_of_a_task_are_those_of_its_records(gateway, working, model_server):
    model_server.rules = [Rule(text="x", usage={"input_tokens": 7, "output_tokens": 3})]
    for _ in range(3):
        assert call(gateway, working.llm).status_code == 200
    working.end()
    task = fresh(working.task)
    assert (task.input_tokens, task.output_tokens) == (21, 9)
    assert task.cost_microusd == sum(record.cost_microusd for record in working.records()) == 3 * (21 + 45)


# --- reading usage -----------------------------------------------------------------------------------


def test_a_stream_is_read_the_same_wherever_it_is_cut():
    text = (
        b'event: message_start\r\ndata: {"type":"message_start","message":{"usage":{"input_tokens":5,'
        b'"cache_creation_input_tokens":9,"cache_creation":{"ephemeral_1h_input_tokens":4},"output_tokens":1}}}\r\n\r\n'
        b'data: {"type":"content_block_delta","delta":{"type":"text_delta","text":"\\"message_delta\\""}}\n\n'
        b': comment\n\ndata: {"type":"message_delta","usage":{"output_tokens":30,"input_tokens":null}}\n\n'
        b'data: {"type":"message_stop"}\n\n'
    )
    for size in (1, 7, 50, len(text)):
        meter = StreamMeter()
        for start in range(0, len(text), size):
            meter.feed(text[start : start + size])
        assert meter.tokens == Tokens(fresh=5, output=30, cache_write_5m=5, cache_write_1h=4)


def test_a_stream_without_events_says_nothing():
    meter = StreamMeter()
    assert meter.tokens is None
    for chunk in (
        b"data: nonsense\n",
        b'data: {"type":"message_start"}\n',
        b'data: ["message_start"]\n',
        b"x" * 10,
    ):
        meter.feed(chunk)
    assert meter.tokens is None


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{}", b'{"usage": 1}', b"\xff", b"[" * 100_000],
)
def test_an_answer_without_usage_says_nothing(body):
    assert read_usage(body) is None


def test_counts_that_are_none_are_taken_for_zero():
    usage = b'{"usage": {"input_tokens": -1, "output_tokens": "7", "cache_read_input_tokens": true}}'
    assert read_usage(usage) == Tokens()
