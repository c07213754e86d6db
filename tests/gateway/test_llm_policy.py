"""The organisation's rules at the proxy: which models, whose key, how often, who stands in, and what is kept."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable

import httpx
import pytest
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from conftest import recorded
from services.domain.agents.actions import update_agent
from services.domain.llm.actions import update_policy
from services.domain.llm.budgets import BudgetFields, put_budget, state_of
from services.domain.llm.keys import NewKey, create_key, delete_key, update_key
from services.domain.llm.logs import get_call_log, list_call_logs, texts_of
from services.domain.llm.models import CallLog, KeyStatus, LlmKey, LlmVendor, PlatformModels
from services.domain.tenancy.transaction import tenant_transaction
from services.domain.vault.actions import create_secret
from services.domain.vault.fields import NewSecret
from services.kit.environment import environment
from services.mcp_gateway.http import AgentHttp
from services.mcp_gateway.llm.vendor import ANTHROPIC_URL, Vendor
from tests.domain.cast import fresh
from tests.fakes.anthropic_server import Rule
from tests.fakes.serving import LocalServer
from tests.gateway.conftest import KEY
from tests.gateway.serving import eventually, served
from tests.gateway.test_llm_proxy import CALL, MODEL, post

ANSWER = {"content": [], "usage": {"input_tokens": 10, "output_tokens": 10}}
FALLBACK = "claude-haiku-4-5"


class Scripted:
    """A vendor that answers each call by a function of the call's number, its key and its model."""

    def __init__(self, answer: Callable[[int, str, str], Response]) -> None:
        self.calls: list[tuple[str, str]] = []
        self._answer_of = answer

    async def answer(self, request: Request) -> Response:
        body = await request.json() if request.method == "POST" else {}
        self.calls.append((request.headers["x-api-key"], body.get("model", "")))
        return self._answer_of(len(self.calls), *self.calls[-1])


@pytest.fixture
def scripted(database):
    """Serve the gateway in front of a scripted vendor; gives a function that starts both."""
    opened = []

    def start(answer, **vendor_options) -> tuple[str, Scripted]:
        vendor = Scripted(answer)
        app = Starlette(routes=[Route("/{path:path}", vendor.answer, methods=["GET", "POST"])])
        server = LocalServer(app)
        server.__enter__()
        gateway = served(AgentHttp(Vendor(server.url, SecretStr(KEY))))
        url = gateway.__enter__()
        opened.append((gateway, server))
        return url, vendor

    yield start
    for gateway, server in opened:
        gateway.__exit__(None, None, None)
        server.__exit__(None, None, None)


def ok() -> Response:
    return JSONResponse(ANSWER)


def overloaded(status: int = 529, **headers: str) -> Response:
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "m"}}
    return JSONResponse(error, status, headers)


def add_key(
    tenant, name: str, key: str, *, priority: int = 100, base_url: str = "", vendor=LlmVendor.ANTHROPIC
):
    fields = NewKey(name=name, vendor=vendor, key=SecretStr(key), priority=priority, base_url=base_url)
    return create_key(tenant.owner, fields, KeyStatus.OK)


def code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


# --- models ------------------------------------------------------------------------------------------


def test_a_model_that_is_not_allowed_is_refused_from_the_next_call_on(gateway, acme, working, model_server):
    assert post(gateway, working.llm).status_code == 200
    update_policy(acme.owner, {"allowed": ["claude-haiku-*"]})
    answer = post(gateway, working.llm)
    assert code(answer) == (400, "model_not_allowed")
    assert answer.headers["x-should-retry"] == "false"
    assert post(gateway, working.llm, model="claude-haiku-4-5").status_code == 200
    update_policy(acme.owner, {"allowed": ["*"]})
    assert post(gateway, working.llm).status_code == 200
    assert len(model_server.requests) == 3


def test_an_agents_own_list_narrows_what_the_organisation_allows(gateway, acme, working, claude):
    assert post(gateway, working.llm).status_code == 200
    update_agent(acme.owner, claude.id, {"model": "", "allowed_models": ["*haiku*"]})
    assert code(post(gateway, working.llm)) == (400, "model_not_allowed")
    assert post(gateway, working.llm, model="claude-haiku-4-5").status_code == 200


def test_the_operators_bounds_hold_for_every_organisation(gateway, working):
    PlatformModels.objects.using("operator").create(id=1, allowed=["claude-haiku-*"], version=7)
    assert code(post(gateway, working.llm)) == (400, "model_not_allowed")


def test_the_list_of_models_holds_those_that_are_allowed(gateway, acme, working):
    update_policy(acme.owner, {"allowed": ["*haiku*"]})
    listed = httpx.get(f"{gateway}/llm/anthropic/v1/models", headers=working.llm).json()["data"]
    assert [one["id"] for one in listed] == ["claude-haiku-4-5"]


def test_tokens_are_not_counted_for_a_model_that_is_not_allowed(gateway, acme, working, model_server):
    update_policy(acme.owner, {"allowed": ["*haiku*"]})
    call = {"model": MODEL, "messages": CALL["messages"]}
    answer = httpx.post(f"{gateway}/llm/anthropic/v1/messages/count_tokens", json=call, headers=working.llm)
    assert code(answer) == (400, "model_not_allowed")
    assert model_server.requests == []


# --- keys --------------------------------------------------------------------------------------------


def test_an_own_key_pays_and_is_tried_by_priority(scripted, acme, working):
    add_key(acme, "second", "sk-ant-own-second", priority=20)
    first = add_key(acme, "first", "sk-ant-own-first", priority=10)
    url, vendor = scripted(lambda *_: ok())
    assert post(url, working.llm).status_code == 200
    assert [key for key, _ in vendor.calls] == ["sk-ant-own-first"]
    assert [record.llm_key_id for record in working.records()] == [first.id]
    with tenant_transaction(acme.organisation.id):
        assert eventually(lambda: LlmKey.objects.get(id=first.id).last_used_at) is not None


def test_a_refused_key_is_taken_out_of_use_and_the_next_is_asked(scripted, acme, working):
    add_key(acme, "first", "sk-ant-own-first", priority=10)
    add_key(acme, "second", "sk-ant-own-second", priority=20)
    url, vendor = scripted(lambda n, key, model: overloaded(401) if key.endswith("first") else ok())
    with recorded() as seen:
        assert [post(url, working.llm).status_code for _ in range(2)] == [200, 200]
    assert Counter(key for key, _ in vendor.calls) == {"sk-ant-own-first": 1, "sk-ant-own-second": 2}
    assert "llm_key.changed" in seen.event_types
    assert [record.cost_microusd for record in working.records()] == [0, 180, 180]


def test_a_refused_last_key_fails_closed_and_the_platforms_does_not_step_in(scripted, acme, working):
    add_key(acme, "only", "sk-ant-own-only-1")
    url, vendor = scripted(lambda n, key, model: overloaded(401) if key != KEY else ok())
    assert code(post(url, working.llm)) == (502, "model_key_refused")
    assert code(post(url, working.llm)) == (503, "model_key_missing")
    assert [key for key, _ in vendor.calls] == ["sk-ant-own-only-1"]


def test_a_key_that_is_switched_off_or_deleted_is_not_used_any_more(scripted, acme, working):
    key = add_key(acme, "only", "sk-ant-own-only-1")
    url, vendor = scripted(lambda *_: ok())
    assert post(url, working.llm).status_code == 200
    update_key(acme.owner, key.id, {"is_enabled": False})
    assert code(post(url, working.llm)) == (503, "model_key_missing")
    delete_key(acme.owner, key.id)
    assert post(url, working.llm).status_code == 200
    assert [key for key, _ in vendor.calls] == ["sk-ant-own-only-1", KEY]


@pytest.mark.parametrize(("source", "used"), [("platform", KEY), ("own", None), ("own_first", KEY)])
def test_whose_key_pays_without_an_own_one(scripted, acme, working, source, used):
    update_policy(acme.owner, {"key_source": source})
    url, vendor = scripted(lambda *_: ok())
    assert post(url, working.llm).status_code == (200 if used else 503)
    assert [key for key, _ in vendor.calls] == ([used] if used else [])


def test_an_operator_may_lend_no_key(scripted, acme, working):
    PlatformModels.objects.using("operator").create(id=1, lends_key=False, version=3)
    url, vendor = scripted(lambda *_: ok())
    assert code(post(url, working.llm)) == (503, "model_key_missing")
    add_key(acme, "own", "sk-ant-own-only-1")
    assert post(url, working.llm).status_code == 200
    assert [key for key, _ in vendor.calls] == ["sk-ant-own-only-1"]


def test_a_key_with_an_address_of_its_own_goes_there_and_nowhere_private(
    gateway, acme, working, monkeypatch, model_server
):
    elsewhere = Scripted(lambda *_: ok())
    with LocalServer(Starlette(routes=[Route("/{path:path}", elsewhere.answer, methods=["POST"])])) as server:
        monkeypatch.setattr(environment(), "upstream_internal_hosts", "127.0.0.1")
        add_key(acme, "elsewhere", "sk-elsewhere-key-1", base_url=f"{server.url}/v1")
        with served(AgentHttp(Vendor(model_server.url, SecretStr(KEY)))) as trusting:
            assert post(trusting, working.llm).status_code == 200
        # The operator's own hosts are no more: what was saved as one of them is not dialled.
        assert code(post(gateway, working.llm)) == (502, "upstream_unavailable")
    assert [key for key, _ in elsewhere.calls] == ["sk-elsewhere-key-1"]
    assert model_server.requests == []
    assert working.records()[-1].cost_microusd == 0


# --- retries and fallbacks ---------------------------------------------------------------------------


def test_without_a_policy_nothing_is_tried_again(scripted, working):
    url, vendor = scripted(lambda *_: overloaded(**{"retry-after": "7"}))
    answer = post(url, working.llm)
    assert (answer.status_code, answer.headers["retry-after"]) == (529, "7")
    assert len(vendor.calls) == 1


@pytest.mark.parametrize("status", [500, 502, 503, 529])
def test_an_overloaded_vendor_is_asked_again(scripted, acme, working, status):
    update_policy(acme.owner, {"retries": 2})
    url, vendor = scripted(lambda n, *_: overloaded(status, **{"retry-after-ms": "5"}) if n < 3 else ok())
    assert post(url, working.llm).status_code == 200
    assert len(vendor.calls) == 3
    assert [record.cost_microusd for record in working.records()] == [0, 0, 180]
    assert fresh(working.task).reserved_microusd == 0


def test_after_the_last_try_the_vendors_own_words_and_delay_are_passed_on(scripted, acme, working):
    update_policy(acme.owner, {"retries": 1})
    url, vendor = scripted(lambda n, *_: overloaded(529, **{"retry-after": "0" if n == 1 else "9"}))
    answer = post(url, working.llm)
    assert (answer.status_code, answer.headers["retry-after"]) == (529, "9")
    assert answer.json()["error"]["type"] == "overloaded_error"
    assert len(vendor.calls) == 2
    assert fresh(working.task).cost_microusd == 0


def test_a_vendor_that_wants_a_long_rest_is_not_waited_for(scripted, acme, working):
    update_policy(acme.owner, {"retries": 3})
    url, vendor = scripted(lambda *_: overloaded(529, **{"retry-after": "60"}))
    assert post(url, working.llm).headers["retry-after"] == "60"
    assert len(vendor.calls) == 1


def test_a_limit_is_not_asked_again_but_left_to_another_key(scripted, acme, working):
    update_policy(acme.owner, {"retries": 3})
    add_key(acme, "first", "sk-ant-own-first", priority=10)
    url, vendor = scripted(lambda n, key, _: overloaded(429) if key.endswith("first") else ok())
    assert post(url, working.llm).status_code == 429
    assert len(vendor.calls) == 1
    add_key(acme, "second", "sk-ant-own-second", priority=20)
    assert post(url, working.llm).status_code == 200
    assert [key for key, _ in vendor.calls[1:]] == ["sk-ant-own-first", "sk-ant-own-second"]


def test_another_model_stands_in_and_the_caller_is_told(scripted, acme, working):
    update_policy(acme.owner, {"fallbacks": [{"model": "claude-sonnet-*", "use": FALLBACK}]})
    url, vendor = scripted(lambda n, _, model: overloaded() if model == MODEL else ok())
    answer = post(url, working.llm)
    assert (answer.status_code, answer.headers["x-slipway-model"]) == (200, FALLBACK)
    assert [model for _, model in vendor.calls] == [MODEL, FALLBACK]
    first, second = working.records()
    assert (first.model, first.cost_microusd) == (MODEL, 0)
    assert (second.model, second.cost_microusd) == (FALLBACK, 10 + 50)
    assert second.reserved_microusd < first.reserved_microusd


def test_a_model_that_the_agent_may_not_ask_does_not_stand_in(scripted, acme, working, claude):
    update_policy(acme.owner, {"fallbacks": [{"model": "*", "use": FALLBACK}]})
    update_agent(acme.owner, claude.id, {"allowed_models": ["*sonnet*"]})
    url, vendor = scripted(lambda *_: overloaded())
    assert post(url, working.llm).status_code == 529
    assert [model for _, model in vendor.calls] == [MODEL]


def test_tries_at_once_stay_within_a_budget(scripted, acme, working):
    # Each call may need some 15,100 micro-dollars: two at once fit, and a try takes what the one before gave back.
    budget = put_budget(acme.owner, BudgetFields(level="organisation", period="day", limit_microusd=16_000))
    update_policy(acme.owner, {"retries": 2})
    url, _ = scripted(lambda n, *_: overloaded(529, **{"retry-after": "0"}) if n < 3 else ok())
    assert post(url, working.llm).status_code == 200
    with tenant_transaction(acme.organisation.id):
        found = state_of(budget)
    assert (found.spent_microusd, found.reserved_microusd) == (180, 0)


def test_a_stream_that_begins_with_an_error_is_tried_again(scripted, acme, working):
    def answer(n: int, *_: str) -> Response:
        async def failing():
            yield b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"m"}}\n\n'

        async def good():
            yield b'data: {"type":"message_start","message":{"usage":{"input_tokens":10,"output_tokens":1}}}\n\n'
            yield b'data: {"type":"message_delta","usage":{"output_tokens":10}}\n\n'

        return StreamingResponse(failing() if n == 1 else good(), media_type="text/event-stream")

    update_policy(acme.owner, {"retries": 1})
    url, _ = scripted(answer)
    answered = post(url, working.llm, stream=True)
    assert "overloaded" not in answered.text
    eventually(lambda: fresh(working.task).reserved_microusd == 0)
    assert [record.cost_microusd for record in working.records()] == [0, 180]


def test_nothing_is_tried_again_once_a_byte_was_passed_on(scripted, acme, working):
    def answer(n: int, *_: str) -> Response:
        async def broken():
            yield b'data: {"type":"message_start","message":{"usage":{"input_tokens":10}}}\n\n'
            await asyncio.sleep(0)
            raise OSError("cut")

        return StreamingResponse(broken(), media_type="text/event-stream")

    update_policy(acme.owner, {"retries": 3})
    url, vendor = scripted(answer)
    assert "upstream_broke" in post(url, working.llm, stream=True).text
    assert len(vendor.calls) == 1


def test_what_the_caller_did_wrong_is_not_tried_again(scripted, acme, working):
    update_policy(acme.owner, {"retries": 3, "fallbacks": [{"model": "*", "use": FALLBACK}]})
    url, vendor = scripted(lambda *_: PlainTextResponse("bad", 400))
    assert post(url, working.llm).status_code == 400
    assert len(vendor.calls) == 1


# --- budgets -----------------------------------------------------------------------------------------


def test_a_spent_budget_is_told_to_the_agent(gateway, acme, working, model_server):
    put_budget(
        acme.owner,
        BudgetFields(level="agent", period="month", subject_id=working.task.agent_id, limit_microusd=5),
    )
    answer = post(gateway, working.llm)
    assert code(answer) == (402, "budget_exceeded")
    error = answer.json()["error"]
    assert (error["level"], error["period"]) == ("agent", "month")
    assert error["renews_at"] in error["message"]
    assert model_server.requests == []


# --- logs --------------------------------------------------------------------------------------------


def logs(tenant) -> list[dict[str, str]]:
    with tenant_transaction(tenant.organisation.id):
        return [
            texts_of(get_call_log(tenant.owner, row.id))
            for row in list_call_logs(tenant.owner).order_by("id")
        ]


def test_nothing_is_kept_unless_it_is_switched_on(gateway, acme, working):
    post(gateway, working.llm)
    assert post(gateway, working.llm, stream=True).status_code == 200
    assert CallLog.objects.using("operator").count() == 0
    update_policy(acme.owner, {"logs_calls": True})
    post(gateway, working.llm)
    update_policy(acme.owner, {"logs_calls": False})
    post(gateway, working.llm)
    assert CallLog.objects.using("operator").count() == 1


@pytest.mark.parametrize("is_stream", [False, True])
def test_what_is_kept_holds_no_secret(gateway, acme, working, model_server, is_stream):
    secret = 'pa"ss wörd\nsecond line'
    create_secret(acme.owner, NewSecret(name="DEPLOY", value=SecretStr(secret)))
    update_policy(acme.owner, {"logs_calls": True})
    model_server.rules = [Rule(text=f"I found {secret} and bob@acme.example, Bearer abcdefghijk12345 too")]
    prompt = f"use {secret} with sk-ant-api03-abcdefghijkl and mail alice@acme.example"
    post(gateway, working.llm, stream=is_stream, messages=[{"role": "user", "content": prompt}])
    (kept,) = eventually(lambda: logs(acme))
    everything = json.dumps(kept)
    for hidden in ("pa", "second line", "sk-ant", "abcdefghijk", "acme.example"):
        assert hidden not in everything.replace("claude", "").replace("parameters", ""), hidden
    assert "use [redacted]" in kept["prompt"]
    assert "I found [redacted]" in kept["answer"]
    assert "Bearer [redacted]" in kept["answer"]


def test_what_is_kept_is_sealed_and_bounded(gateway, acme, working):
    update_policy(acme.owner, {"logs_calls": True, "log_max_bytes": 1_024})
    text = "begin " + "x" * 50_000 + " end"
    post(gateway, working.llm, messages=[{"role": "user", "content": text}])
    (kept,) = eventually(lambda: logs(acme))
    assert len(kept["prompt"]) < 1_200
    assert "begin" in kept["prompt"]
    assert " end" in kept["prompt"]
    row = CallLog.objects.using("operator").get()
    assert b"begin" not in bytes(row.sealed)


def test_without_an_own_key_and_without_the_platforms_the_vendor_is_not_called(acme, working):
    with served(AgentHttp(Vendor(ANTHROPIC_URL, None))) as gateway:
        assert code(post(gateway, working.llm)) == (503, "model_key_missing")
