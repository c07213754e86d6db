"""A token that was good is good without the database for a moment, and never after its task's end was heard."""

from __future__ import annotations

import threading
import time
import uuid
from datetime import timedelta

import pytest

from services.domain.identity.actions import (
    all_tenants_resume_organisation,
    all_tenants_suspend_organisation,
)
from services.domain.tasks.dispatch import expire_task, fail_task
from services.domain.tasks.lost import settle_lost_task
from services.domain.tasks.models import Task, TaskToken
from services.domain.tasks.runner import issue_turn
from services.domain.tasks.submit import cancel_task
from services.kit.clock import now
from services.kit.redisbus import client as redis_client
from services.mcp_gateway import callers
from services.mcp_gateway.caller_cache import CALLERS, TTL_S, CallerCache
from services.mcp_gateway.callers import AgentCaller
from tests.gateway.serving import Working, at_work, eventually, rpc

TOKEN, AUDIENCE = "swt_token", "mcp:memory"


@pytest.fixture
def heard(gateway) -> None:
    """Wait until the gateway hears of tokens that die."""
    eventually(lambda: CALLERS._hearing)


def status(gateway: str, working: Working) -> int:
    return rpc(f"{gateway}/mcp/memory", working.tokens["mcp:memory"], "tools/list").status_code


def test_a_second_call_does_not_ask_the_database(gateway, heard, working, monkeypatch):
    assert status(gateway, working) == 200

    def broken(token: str, audience: str) -> TaskToken:
        raise AssertionError("asked")

    monkeypatch.setattr(callers, "all_tenants_find_task_token", broken)
    assert status(gateway, working) == 200


def finish(working: Working, acme) -> None:
    working.end()


def cancel(working: Working, acme) -> None:
    cancel_task(acme.owner, working.task.id)
    assert fail_task(
        acme.organisation.id, working.task.id, working.sandbox_id, reason=("cancelled", "Cancelled.")
    )


def expire(working: Working, acme) -> None:
    Task.objects.using("operator").filter(id=working.task.id).update(deadline_at=now())
    assert expire_task(acme.organisation.id, working.task.id)


def issue_again(working: Working, acme) -> None:
    assert issue_turn(acme.organisation.id, working.task.id, working.sandbox_id) is not None


def lose_the_host(working: Working, acme) -> None:
    assert settle_lost_task(acme.organisation.id, working.task.id, working.sandbox_id)


@pytest.mark.parametrize("end", [finish, cancel, expire, issue_again, lose_the_host])
def test_a_token_is_refused_as_soon_as_the_nudge_has_come(gateway, heard, working, acme, monkeypatch, end):
    dropped = threading.Event()
    drop = CALLERS.drop

    def noted(task_id: uuid.UUID) -> None:
        drop(task_id)
        if task_id == working.task.id:
            dropped.set()

    monkeypatch.setattr(CALLERS, "drop", noted)
    # So that nothing but the nudge can end it.
    monkeypatch.setattr(CALLERS, "_ttl_s", 3_600.0)
    assert status(gateway, working) == 200
    end(working, acme)
    assert dropped.wait(30)
    assert status(gateway, working) == 401


def test_a_suspended_organisations_tokens_are_refused(gateway, heard, working, acme, monkeypatch):
    monkeypatch.setattr(CALLERS, "_ttl_s", 3_600.0)
    assert status(gateway, working) == 200
    all_tenants_suspend_organisation(acme.organisation.id)
    eventually(lambda: status(gateway, working) == 401)
    all_tenants_resume_organisation(acme.organisation.id)
    assert status(gateway, working) == 200


def test_a_token_whose_nudge_was_lost_is_refused_after_a_second(gateway, heard, working, monkeypatch):
    monkeypatch.setattr("services.domain.tasks.tokens.nudge", lambda channel, message: None)
    assert status(gateway, working) == 200
    working.end()
    began = time.monotonic()
    eventually(lambda: status(gateway, working) == 401)
    assert time.monotonic() - began < TTL_S + 1


def test_a_token_is_asked_for_each_time_while_nudges_cannot_be_heard(gateway, heard, working, monkeypatch):
    monkeypatch.setattr(CALLERS, "_ttl_s", 3_600.0)
    monkeypatch.setattr("services.mcp_gateway.caller_cache._AGAIN_S", 3_600.0)
    monkeypatch.setattr("services.domain.tasks.tokens.nudge", lambda channel, message: None)
    assert status(gateway, working) == 200
    redis_client().client_kill_filter(_type="pubsub")
    eventually(lambda: not CALLERS._hearing)
    assert status(gateway, working) == 200
    assert len(CALLERS) == 0
    working.end()
    assert status(gateway, working) == 401


def test_another_sandbox_is_refused_what_its_neighbour_was_just_granted(
    gateway, heard, working, acme, claude
):
    other = at_work(acme, claude)
    assert status(gateway, working) == 200
    token = working.tokens["mcp:memory"]
    headers = {"x-test-sandbox": str(other.sandbox_id)}
    assert rpc(f"{gateway}/mcp/memory", token, "tools/list", **headers).status_code == 401


def test_a_refusal_is_not_remembered(gateway, heard, working):
    assert rpc(f"{gateway}/mcp/memory", "swt_unknown", "tools/list").status_code == 401
    assert len(CALLERS) == 0


# --- the cache by itself -------------------------------------------------------------------------------


def caller() -> AgentCaller:
    return AgentCaller(Task(id=uuid.uuid4()))


def kept(cache: CallerCache, known: AgentCaller, *, lives_s: float = 60) -> None:
    with cache.lookup(TOKEN, AUDIENCE) as looking:
        cache.keep(looking, known, now() + timedelta(seconds=lives_s))


def test_nothing_is_kept_before_nudges_are_heard():
    cache = CallerCache()
    kept(cache, caller())
    assert cache.find(TOKEN, AUDIENCE) is None


def test_a_caller_is_found_for_its_own_audience_only():
    cache, known = CallerCache(), caller()
    cache.hear()
    kept(cache, known)
    assert cache.find(TOKEN, AUDIENCE) is known
    assert cache.find(TOKEN, "llm") is None


def test_an_entry_ends_with_its_token():
    cache = CallerCache()
    cache.hear()
    kept(cache, caller(), lives_s=-1)
    assert cache.find(TOKEN, AUDIENCE) is None


def test_what_was_read_before_its_end_was_heard_is_not_kept():
    cache, known = CallerCache(), caller()
    cache.hear()
    with cache.lookup(TOKEN, AUDIENCE) as looking:
        cache.drop(known.task.id)
        cache.keep(looking, known, now() + timedelta(minutes=1))
    assert cache.find(TOKEN, AUDIENCE) is None


def test_what_was_read_while_nobody_heard_is_not_kept():
    cache, known = CallerCache(), caller()
    cache.hear()
    with cache.lookup(TOKEN, AUDIENCE) as looking:
        cache.go_deaf()
        cache.hear()
        cache.keep(looking, known, now() + timedelta(minutes=1))
    assert cache.find(TOKEN, AUDIENCE) is None


def test_the_cache_does_not_grow_without_end(monkeypatch):
    monkeypatch.setattr("services.mcp_gateway.caller_cache.MOST", 10)
    cache = CallerCache()
    cache.hear()
    for n in range(100):
        with cache.lookup(f"swt_{n}", AUDIENCE) as looking:
            cache.keep(looking, caller(), now() + timedelta(minutes=1))
        assert len(cache) <= 10
    assert cache.find("swt_99", AUDIENCE) is not None
