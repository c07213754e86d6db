"""The proxy of the OpenAI API: what goes out, what comes back, what a call costs, what it may not ask for."""

from __future__ import annotations

import json
from collections.abc import Iterator

import httpx
import pytest
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from conftest import Tenant
from services.domain.agents.actions import AgentFields, create_agent
from services.domain.agents.models import Agent
from services.mcp_gateway.http import AgentHttp
from services.mcp_gateway.llm.openai_requests import DEFAULT_OUTPUT_TOKENS
from services.mcp_gateway.llm.vendor import ANTHROPIC_URL, OPENAI_URL, Vendor
from tests.domain.cast import fresh
from tests.fakes.anthropic_server import Rule
from tests.fakes.openai_server import OpenaiServer
from tests.fakes.serving import LocalServer
from tests.gateway.serving import Working, at_work, eventually, served

KEY = "sk-openai-real-key-for-tests"
MODEL = "gpt-5.1-codex"
NOWHERE = Vendor(ANTHROPIC_URL, None)
CALL = {"model": MODEL, "input": "hello"}
CHAT = {"model": MODEL, "messages": [{"role": "user", "content": "hello"}]}
USAGE = {"input_tokens": 1_000, "cached_tokens": 400, "output_tokens": 500}
COST = (600 * 1_250 + 400 * 125 + 500 * 10_000) // 1_000


@pytest.fixture
def openai_server() -> Iterator[OpenaiServer]:
    fake = OpenaiServer([Rule(text="A longer answer in many pieces.", usage=USAGE)], key=KEY)
    with LocalServer(fake.app) as server:
        fake.url = server.url
        yield fake


@pytest.fixture
def gateway(database, openai_server: OpenaiServer) -> Iterator[str]:
    with served(AgentHttp(NOWHERE, Vendor(openai_server.url, SecretStr(KEY)))) as url:
        yield f"{url}/llm/openai"


@pytest.fixture
def codex(acme: Tenant) -> Agent:
    return create_agent(acme.owner, AgentFields(name="Codex", provider="codex", model=MODEL))


@pytest.fixture
def working(acme: Tenant, codex: Agent) -> Working:
    return at_work(acme, codex)


def bearer(working: Working) -> dict[str, str]:
    return {"authorization": f"Bearer {working.tokens['llm']}"}


def post(gateway: str, working: Working, path: str = "v1/responses", **changes) -> httpx.Response:
    body = {**(CALL if path == "v1/responses" else CHAT), **changes}
    return httpx.post(f"{gateway}/{path}", json=body, headers=bearer(working))


def pays(working: Working) -> tuple[int, int, int]:
    eventually(lambda: fresh(working.task).reserved_microusd == 0)
    task = fresh(working.task)
    return task.cost_microusd, task.input_tokens, task.output_tokens


# --- passing on --------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_stream", [False, True])
@pytest.mark.parametrize("path", ["v1/responses", "v1/chat/completions"])
def test_an_answer_is_passed_on_and_the_task_pays_for_it(gateway, working, path, is_stream):
    answer = post(gateway, working, path, stream=is_stream)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/event-stream" if is_stream else "application/json")
    assert "A longer ans" in answer.text
    assert pays(working) == (COST, 1_000, 500)
    assert [record.model for record in working.records()] == [MODEL]


def test_the_real_key_goes_out_and_the_tasks_token_does_not(gateway, working, openai_server):
    headers = bearer(working) | {"cookie": "a=1", "openai-organization": "org-evil", "openai-beta": "x=v1"}
    answer = httpx.post(f"{gateway}/v1/responses", json=CALL, headers=headers)
    assert answer.status_code == 200
    (sent,) = openai_server.requests
    assert sent["headers"]["authorization"] == f"Bearer {KEY}"
    assert set(sent["headers"]) == {
        "host", "authorization", "openai-beta", "content-type", "accept", "accept-encoding", "user-agent",
        "content-length",
    }  # fmt: skip
    assert working.tokens["llm"] not in str(sent)
    assert KEY not in str(answer.headers) + answer.text


def test_a_call_goes_out_with_a_limit_and_so_that_nothing_is_kept(gateway, working, openai_server):
    post(gateway, working, metadata={"a": "ü"})
    post(gateway, working, max_output_tokens=50)
    post(gateway, working, "v1/chat/completions", stream=True, stream_options={"x": 1})
    post(gateway, working, "v1/chat/completions", max_tokens=60)
    first, second, third, fourth = openai_server.model_calls()
    assert first == {
        **CALL,
        "metadata": {"a": "ü"},
        "store": False,
        "max_output_tokens": DEFAULT_OUTPUT_TOKENS,
    }
    assert second["max_output_tokens"] == 50
    assert third["stream_options"] == {"x": 1, "include_usage": True}
    assert third["max_completion_tokens"] == DEFAULT_OUTPUT_TOKENS
    assert "max_completion_tokens" not in fourth


def test_models_are_listed_for_nothing(gateway, working):
    listed = httpx.get(f"{gateway}/v1/models", headers=bearer(working))
    assert listed.json()["data"][0]["id"] == "gpt-5.5"
    assert working.records() == []


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "v1/responses"),
        ("POST", "v1/files"),
        ("GET", "v1/responses/resp_1"),
        ("POST", "v1/embeddings"),
    ],
)
def test_anything_else_is_not_passed_on(gateway, working, openai_server, method, path):
    answer = httpx.request(method, f"{gateway}/{path}", headers=bearer(working))
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")
    assert openai_server.requests == []


# --- who may, and with what money --------------------------------------------------------------------


@pytest.mark.parametrize("header", [{}, {"authorization": "Bearer wrong"}, {"x-api-key": "wrong"}])
def test_a_bad_token_is_refused_in_the_vendors_shape(gateway, working, openai_server, header):
    answer = httpx.post(f"{gateway}/v1/responses", json=CALL, headers=header)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert answer.json()["error"]["code"] == "token_invalid"
    assert openai_server.requests == []


def test_a_token_dies_with_its_task(gateway, working):
    working.end()
    assert post(gateway, working).status_code == 401


def test_a_cap_holds_before_the_call_goes_out(gateway, acme, codex, openai_server):
    working = at_work(acme, codex, max_budget_microusd=100_000)
    answer = post(gateway, working)
    assert answer.status_code == 402
    assert answer.headers["x-should-retry"] == "false"
    error = answer.json()["error"]
    assert (error["type"], error["code"]) == ("insufficient_quota", "budget_exceeded")
    assert openai_server.requests == []
    assert post(gateway, working, max_output_tokens=1_000).status_code == 200


def test_without_a_key_the_vendor_is_not_called(database, acme, codex):
    working = at_work(acme, codex)
    with served(AgentHttp(NOWHERE, Vendor(OPENAI_URL, None))) as url:
        answer = post(f"{url}/llm/openai", working)
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "model_key_missing")


# --- what is not passed on ---------------------------------------------------------------------------

IMAGE = {"type": "input_image", "image_url": "https://example.com/a.png"}
FILE = {"type": "input_file", "file_id": "file-1"}


@pytest.mark.parametrize(
    "changes",
    [
        {"tools": [{"type": "web_search"}]},
        {"tools": [{"type": "mcp", "server_url": "https://example.com"}]},
        {"tools": [{"type": "code_interpreter"}]},
        {"tools": [{"type": "shell", "environment": {"type": "container_auto"}}]},
        {"tools": [{"type": "namespace", "name": "a", "tools": [{"type": "file_search"}]}]},
        {"tools": [{"name": "no type"}]},
        {"previous_response_id": "resp_1"},
        {"conversation": "conv_1"},
        {"prompt": {"id": "pmpt_1"}},
        {"background": True},
        {"store": True},
        {"service_tier": "priority"},
        {"input": [{"type": "item_reference", "id": "msg_1"}]},
        {"input": [{"role": "user", "content": [IMAGE]}]},
        {"input": [{"role": "user", "content": [FILE]}]},
        {"input": [{"type": "function_call_output", "call_id": "c", "output": [FILE]}]},
        {"model": "gpt-5-search-api"},
        {"model": "o3-deep-research"},
    ],
)
def test_what_would_reach_out_or_read_what_others_stored_is_refused(gateway, working, openai_server, changes):
    answer = post(gateway, working, **changes)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "not_passed_on"), answer.text
    assert openai_server.requests == []


@pytest.mark.parametrize(
    "changes",
    [
        {"web_search_options": {}, "n": 2},
        {"n": 5},
        {"modalities": ["text", "audio"]},
        {
            "messages": [
                {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://a/b"}}]}
            ]
        },
    ],
)
def test_the_same_holds_for_chat(gateway, working, openai_server, changes):
    answer = post(gateway, working, "v1/chat/completions", **changes)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "not_passed_on"), answer.text
    assert openai_server.requests == []


def test_what_the_client_does_itself_is_passed_on(gateway, working):
    tools = [
        {"type": "function", "name": "f"},
        {"type": "custom", "name": "apply_patch"},
        {"type": "namespace", "name": "mcp__memory", "tools": [{"type": "function", "name": "write"}]},
    ]
    image = {"type": "input_image", "image_url": "data:image/png;base64,AAAA"}
    answer = post(gateway, working, tools=tools, input=[{"role": "user", "content": [image]}])
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"[]", b'{"model": 1, "input": "a"}', b'{"input": "a"}', b'{"model": "a", "model": "b"}',
        b'{"model": "gpt-5", "input": "a", "max_output_tokens": -1}', '{"model": "gpt-5"}'.encode("utf-16"),
        b'{"model": "gpt-5", "input": "a", "max_output_tokens": "many"}', b"[" * 100_000,
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_invalid(gateway, working, openai_server, body):
    answer = httpx.post(f"{gateway}/v1/responses", content=body, headers=bearer(working))
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid")
    assert openai_server.requests == []


# --- vendors that refuse or break off ----------------------------------------------------------------


def behind(answer, working: Working, **changes) -> httpx.Response:
    """Make a call through a gateway whose vendor answers in its own way."""
    vendor = Starlette(routes=[Route("/{path:path}", answer, methods=["POST"])])
    with (
        LocalServer(vendor) as server,
        served(AgentHttp(NOWHERE, Vendor(server.url, SecretStr(KEY)))) as url,
    ):
        return post(f"{url}/llm/openai", working, **changes)


def test_the_vendors_limits_are_left_to_the_client_and_cost_nothing(database, working):
    async def refuse(request: Request) -> Response:
        headers = {
            "retry-after": "7",
            "retry-after-ms": "7000",
            "openai-organization": "org",
            "set-cookie": "a=b",
        }
        return JSONResponse({"error": {"message": "slow down", "type": "requests"}}, 429, headers)

    answer = behind(refuse, working)
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "7")
    assert "openai-organization" not in answer.headers
    assert "set-cookie" not in answer.headers
    assert pays(working) == (0, 0, 0)


def test_our_refused_key_is_not_the_callers_fault(database, working):
    async def refuse(request: Request) -> Response:
        return JSONResponse({"error": {"message": f"bad key {KEY}"}}, 401)

    answer = behind(refuse, working)
    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "model_key_refused")
    assert KEY not in answer.text


def test_a_stream_that_breaks_off_costs_what_came(database, working):
    delta = {"type": "response.output_text.delta", "delta": "x" * 300}

    async def pieces():
        yield b'data: {"type":"response.created"}\n\n'
        yield f"data: {json.dumps(delta)}\n\n".encode()

    async def break_off(request: Request) -> Response:
        headers = {"content-length": "100000"}
        return StreamingResponse(pieces(), media_type="text/event-stream", headers=headers)

    answer = behind(break_off, working, stream=True)
    assert "upstream_broke" in answer.text
    cost, given, made = pays(working)
    assert made == 100
    assert 0 < given < 100
    assert 0 < cost < 2_000
