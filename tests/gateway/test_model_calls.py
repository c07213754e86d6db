"""Each call of a model is counted and put on record, whatever becomes of it, and never with a word of the prompt."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import Any

import httpx
import pytest
from pydantic import SecretStr
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse

from services.domain.agents.actions import AgentFields, create_agent
from services.domain.llm.actions import update_policy
from services.domain.llm.budgets import BudgetFields, put_budget
from services.domain.llm.rates import Tokens
from services.kit.environment import environment
from services.mcp_gateway.call_log import CALL_LOG
from services.mcp_gateway.http import AgentHttp
from services.mcp_gateway.limits import LIMITS
from services.mcp_gateway.llm import forwarding, reservations
from services.mcp_gateway.llm.openai_usage import OpenaiMeter
from services.mcp_gateway.llm.usage import StreamMeter
from services.mcp_gateway.llm.vendor import Vendor
from services.mcp_gateway.llm.watching import MODEL_METRICS
from tests.domain.cast import fresh
from tests.fakes.anthropic_server import Rule
from tests.fakes.openai_server import OpenaiServer
from tests.fakes.serving import LocalServer
from tests.gateway.conftest import KEY
from tests.gateway.serving import at_work, eventually, served
from tests.gateway.test_calls import metrics, recorded
from tests.gateway.test_llm_policy import FALLBACK, overloaded, scripted  # noqa: F401  # a fixture
from tests.gateway.test_llm_proxy import CALL, MODEL, post
from tests.gateway.test_llm_vendor import SlowVendor, asking_for_stream, behind

SECRET = "the-launch-code-is-0000"
ASKED = [{"role": "user", "content": SECRET}]
START = b'data: {"type":"message_start","message":{"usage":{"input_tokens":50,"output_tokens":1}}}\n\n'
END = b'data: {"type":"message_delta","usage":{"output_tokens":20}}\n\n'


def one(tenant) -> dict[str, Any]:
    """Return the only call on record."""
    (call,) = recorded(tenant, 1)
    assert SECRET not in str(call)
    return call


def how(call: dict[str, Any]) -> tuple[str, str, str, int]:
    """Return the parts of a record that differ from test to test."""
    return call["tool"], call["outcome"], call["code"], call["attempts"]


def streaming(*pieces: bytes, then: Exception | None = None) -> Response:
    async def stream():
        for piece in pieces:
            yield piece
            await asyncio.sleep(0)
        if then is not None:
            raise then

    return StreamingResponse(stream(), media_type="text/event-stream")


def test_a_call_that_went_well_is_on_record(gateway, acme, working, model_server):
    model_server.rules = [Rule(text="Hi.", delay_s=0.05)]
    answer = post(gateway, working.llm, messages=ASKED)
    call = one(acme)
    assert (call["kind"], call["server"]) == ("model", "anthropic")
    assert how(call) == (MODEL, "ok", "", 1)
    assert (call["task_id"], call["agent_id"]) == (working.task.id, working.task.agent_id)
    assert call["user_id"] == acme.owner.user_id
    assert 50 < call["duration_ms"] < 5_000
    assert call["request_bytes"] == len(answer.request.content)
    assert call["result_bytes"] == len(answer.content)


def test_a_streams_time_is_that_to_its_end_and_its_first_byte_is_measured_apart(acme, working):
    vendor = SlowVendor()
    before = _first_bytes()
    with asking_for_stream(vendor, working) as answer:
        pieces = answer.iter_raw()
        size = len(next(pieces))
        eventually(lambda: _first_bytes() == before + 1)
        threading.Timer(0.15, vendor.go_on.set).start()
        size += len(b"".join(pieces))
    call = one(acme)
    assert how(call) == (MODEL, "ok", "", 1)
    assert call["duration_ms"] > 150
    assert call["result_bytes"] == size


def _first_bytes() -> float:
    return _metric('slipway_model_first_byte_seconds_count{vendor="anthropic"}')


def _metric(name: str) -> float:
    lines = metrics(MODEL_METRICS).splitlines()
    return next((float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name + " ")), 0.0)


def test_tokens_and_attempts_are_metrics_and_models_are_no_labels(gateway, acme, working, model_server):
    usage = {
        "input_tokens": 10, "output_tokens": 200, "cache_read_input_tokens": 100, "cache_creation_input_tokens": 40,
    }  # fmt: skip
    model_server.rules = [Rule(usage=usage)]
    kinds = ("input", "output", "cache_read", "cache_write")
    names = [f'slipway_model_tokens_total{{kind="{kind}",vendor="anthropic"}}' for kind in kinds]
    names.append('slipway_model_attempts_total{vendor="anthropic"}')
    before = [_metric(name) for name in names]
    for is_stream in (False, True):
        post(gateway, working.llm, stream=is_stream)
    recorded(acme, 2)
    grown = [_metric(name) - was for name, was in zip(names, before, strict=True)]
    assert grown == [20, 400, 200, 80, 2]
    assert 'slipway_mcp_calls_total{outcome="ok",server="anthropic",tool="model"}' in metrics()
    assert MODEL not in metrics() + metrics(MODEL_METRICS)


# --- refused before it went out ------------------------------------------------------------------------


def test_a_model_that_is_not_allowed_is_refused(gateway, acme, working):
    update_policy(acme.owner, {"allowed": ["claude-haiku-*"]})
    assert post(gateway, working.llm, messages=ASKED).status_code == 400
    assert how(one(acme)) == (MODEL, "refused", "model_not_allowed", 0)


@pytest.mark.parametrize(
    ("changes", "code", "outcome"),
    [
        ({"container": "c"}, "not_passed_on", "refused"),
        ({"max_tokens": 0}, "invalid", "error"),
        ({"model": SECRET * 10}, "invalid", "error"),
    ],
)
def test_what_cannot_be_passed_on_is_on_record_without_what_it_named(
    gateway, acme, working, changes, code, outcome
):
    assert post(gateway, working.llm, messages=ASKED, **changes).status_code == 400
    assert how(one(acme)) == ("(unknown)", outcome, code, 0)


def test_a_spent_budget_limits(gateway, acme, working):
    put_budget(acme.owner, BudgetFields(level="organisation", period="day", limit_microusd=5))
    assert post(gateway, working.llm).status_code == 402
    assert how(one(acme)) == (MODEL, "limited", "budget_exceeded", 0)


def test_too_many_calls_under_way_limit(gateway, acme, working, monkeypatch):
    monkeypatch.setattr(reservations, "MOST_AT_ONCE", 0)
    assert post(gateway, working.llm).status_code == 429
    assert how(one(acme)) == (MODEL, "limited", "rate_limited", 0)


def test_without_a_key_it_is_an_error(acme, working, monkeypatch):
    update_policy(acme.owner, {"key_source": "own"})
    with served(AgentHttp(Vendor("http://127.0.0.1:1", SecretStr(KEY)))) as gateway:
        assert post(gateway, working.llm).status_code == 503
    assert how(one(acme)) == (MODEL, "error", "model_key_missing", 0)


def test_a_bad_token_and_a_flood_are_counted_and_no_calls(gateway, acme, working, monkeypatch):
    before = CALL_LOG.turned_away.copy()
    assert post(gateway, {"x-api-key": "swt_unknown"}).status_code == 401
    monkeypatch.setattr(environment(), "mcp_flood_per_s", 0.5)
    monkeypatch.setattr(environment(), "mcp_flood_burst", 1)
    LIMITS._buckets.clear()
    assert post(gateway, working.llm).status_code == 200
    refused = post(gateway, working.llm)
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "rate_limited")
    assert refused.headers["retry-after"] in ("1", "2")
    grown = CALL_LOG.turned_away - before
    assert (grown["token"], grown["flood"]) == (1, 1)
    recorded(acme, 1)


def test_listing_models_and_counting_tokens_ask_no_model(gateway, acme, working):
    httpx.get(f"{gateway}/llm/anthropic/v1/models", headers=working.llm)
    counted = {"model": MODEL, "messages": ASKED}
    httpx.post(f"{gateway}/llm/anthropic/v1/messages/count_tokens", json=counted, headers=working.llm)
    httpx.get(f"{gateway}/llm/anthropic/v1/no_such", headers=working.llm)
    post(gateway, working.llm)
    one(acme)


# --- the vendor ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "outcome"), [(429, "limited"), (529, "error"), (400, "error"), (500, "error")]
)
def test_a_vendors_refusal_is_on_record_as_its_status(acme, working, status, outcome):
    async def refuse(request: Request) -> Response:
        return PlainTextResponse("no", status)

    with behind(refuse) as gateway:
        assert post(gateway, working.llm).status_code == status
    assert how(one(acme)) == (MODEL, outcome, f"vendor_{status}", 1)


def test_a_vendor_that_refuses_our_key_or_does_not_answer_is_an_error(acme, working):
    async def refuse(request: Request) -> Response:
        return PlainTextResponse("no", 401)

    with behind(refuse) as gateway:
        post(gateway, working.llm)
    with served(AgentHttp(Vendor("http://127.0.0.1:1", SecretStr(KEY)))) as gateway:
        post(gateway, working.llm)
    assert [how(call) for call in recorded(acme, 2)] == [
        (MODEL, "error", "model_key_refused", 1),
        (MODEL, "error", "upstream_unavailable", 1),
    ]


def test_tries_are_counted_and_the_model_that_stood_in_is_named(scripted, acme, working):  # noqa: F811
    update_policy(acme.owner, {"retries": 1, "fallbacks": [{"model": "*", "use": FALLBACK}]})

    def answer(n: int, *_: str) -> Response:
        return overloaded(529, **{"retry-after": "0"}) if n < 3 else JSONResponse({"usage": {}})

    url, vendor = scripted(answer)
    assert post(url, working.llm).status_code == 200
    assert len(vendor.calls) == 3
    assert how(one(acme)) == (FALLBACK, "ok", "", 3)


def test_the_last_failure_is_the_code_of_a_call_that_nobody_answered(scripted, acme, working):  # noqa: F811
    update_policy(acme.owner, {"retries": 2})
    url, _ = scripted(lambda n, *_: overloaded(529 if n < 3 else 503, **{"retry-after": "0"}))
    assert post(url, working.llm).status_code == 503
    assert how(one(acme)) == (MODEL, "error", "vendor_503", 3)


def test_a_stream_that_breaks_and_one_that_fails_are_errors(scripted, acme, working):  # noqa: F811
    failed = b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"m"}}\n\n'
    url, _ = scripted(
        lambda n, *_: streaming(START, then=OSError("cut")) if n == 1 else streaming(START, failed)
    )
    for _ in range(2):
        assert "event: error" in post(url, working.llm, stream=True).text
    assert [how(call) for call in recorded(acme, 2)] == [
        (MODEL, "error", "upstream_broke", 1),
        (MODEL, "error", "vendor_failed", 1),
    ]


def test_a_text_that_speaks_of_an_error_is_none():
    text = json.dumps({"type": "content_block_delta", "delta": {"text": "\nevent: error\n"}})
    for meter in (StreamMeter(), OpenaiMeter(Tokens())):
        for piece in (b"event: content_block_delta\nda", b"ta: " + text.encode() + b"\n", b"\n"):
            meter.feed(piece)
        assert not meter.has_failed
        for piece in (b"event: ", b"error\ndata: {}", b"\n"):
            meter.feed(piece)
        assert meter.has_failed


def test_a_stream_that_lives_too_long_is_a_timeout(acme, working, monkeypatch):
    monkeypatch.setattr(forwarding, "MAX_CALL_S", 0.2)
    vendor = SlowVendor()
    with behind(vendor.answer) as gateway, pytest.raises(httpx.RemoteProtocolError):
        post(gateway, working.llm, stream=True)
    vendor.go_on.set()
    assert how(one(acme)) == (MODEL, "timeout", "model_timeout", 1)


# --- the caller ----------------------------------------------------------------------------------------


def test_a_caller_who_leaves_in_the_middle_of_a_stream_has_cancelled(acme, working):
    vendor = SlowVendor()
    with behind(vendor.answer) as gateway:
        with httpx.stream(
            "POST", f"{gateway}/llm/anthropic/v1/messages", json={**CALL, "stream": True}, headers=working.llm
        ) as answer:
            next(answer.iter_raw())
        assert vendor.is_left.wait(30)
        vendor.go_on.set()
        call = one(acme)
    assert how(call) == (MODEL, "cancelled", "cancelled", 1)
    assert call["result_bytes"] == len(START)


def test_a_caller_who_does_not_wait_for_a_whole_answer_has_cancelled_and_pays(acme, working):
    may_answer = asyncio.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    async def slow(request: Request) -> Response:
        loops.append(asyncio.get_running_loop())
        await may_answer.wait()
        return JSONResponse({"usage": {"input_tokens": 10, "output_tokens": 10}})

    with behind(slow) as gateway:
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{gateway}/llm/anthropic/v1/messages", json=CALL, headers=working.llm, timeout=0.3)
        loops[0].call_soon_threadsafe(may_answer.set)
        assert how(one(acme)) == (MODEL, "cancelled", "cancelled", 1)
    assert fresh(working.task).cost_microusd == 180


def test_a_caller_who_leaves_between_two_tries_is_not_tried_for_again(scripted, acme, working):  # noqa: F811
    update_policy(acme.owner, {"retries": 5})
    url, vendor = scripted(lambda *_: overloaded(529, **{"retry-after": "1"}))
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{url}/llm/anthropic/v1/messages", json=CALL, headers=working.llm, timeout=0.3)
    assert how(one(acme)) == (MODEL, "cancelled", "cancelled", 1)
    assert len(vendor.calls) == 1


# --- the other vendor ----------------------------------------------------------------------------------


def test_calls_of_the_other_vendor_are_on_record_alike(acme, database):
    agent = create_agent(acme.owner, AgentFields(name="Codex", provider="codex", model="gpt-5.4"))
    working = at_work(acme, agent)
    fake = OpenaiServer(key=KEY)
    with (
        LocalServer(fake.app) as server,
        served(AgentHttp(Vendor("http://127.0.0.1:1", None), Vendor(server.url, SecretStr(KEY)))) as url,
    ):
        answer = httpx.post(
            f"{url}/llm/openai/v1/responses",
            json={"model": "gpt-5.4", "input": SECRET, "stream": True},
            headers={"authorization": f"Bearer {working.tokens['llm']}"},
        )
        assert answer.status_code == 200, answer.text
    call = one(acme)
    assert call["server"] == "openai"
    assert how(call) == ("gpt-5.4", "ok", "", 1)
    assert call["result_bytes"] == len(answer.content)
