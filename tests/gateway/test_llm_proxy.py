"""The model proxy: what goes out, what comes back, and what neither side gets to see."""

from __future__ import annotations

import json

import anthropic
import httpx
import pytest

from services.domain.tasks.models import TaskToken
from services.kit.clock import now
from services.mcp_gateway.llm.requests import MAX_BODY_BYTES
from tests.domain.cast import fresh
from tests.fakes.anthropic_server import Rule
from tests.gateway.conftest import KEY
from tests.gateway.serving import at_work, eventually

MODEL = "claude-sonnet-4-6"
CALL = {"model": MODEL, "max_tokens": 1_000, "messages": [{"role": "user", "content": "hello"}]}


def post(gateway: str, headers: dict[str, str], **changes) -> httpx.Response:
    return httpx.post(f"{gateway}/llm/anthropic/v1/messages", json={**CALL, **changes}, headers=headers)


# --- passing on --------------------------------------------------------------------------------------


def test_the_vendors_own_client_gets_an_answer_and_the_task_pays_for_it(gateway, working, model_server):
    model_server.rules = [Rule(text="Hi.", usage={"input_tokens": 1_000, "output_tokens": 500})]
    with anthropic.Anthropic(base_url=f"{gateway}/llm/anthropic", api_key=working.tokens["llm"]) as client:
        message = client.messages.create(**CALL)
    assert message.content[0].text == "Hi."
    task = fresh(working.task)
    assert (task.cost_microusd, task.reserved_microusd) == (10_500, 0)
    assert (task.input_tokens, task.output_tokens) == (1_000, 500)


def test_a_stream_is_passed_on_and_counted(gateway, working, model_server):
    usage = {
        "input_tokens": 10,
        "output_tokens": 200,
        "cache_read_input_tokens": 100,
        "cache_creation_input_tokens": 40,
    }
    model_server.rules = [Rule(text="A longer answer in many pieces.", usage=usage)]
    with (
        anthropic.Anthropic(base_url=f"{gateway}/llm/anthropic", auth_token=working.tokens["llm"]) as client,
        client.messages.stream(**CALL) as stream,
    ):
        assert stream.get_final_text() == "A longer answer in many pieces."
    eventually(lambda: fresh(working.task).reserved_microusd == 0)
    (record,) = working.records()
    assert (record.input_tokens, record.output_tokens, record.model) == (150, 200, MODEL)
    assert record.cost_microusd == 10 * 3 + 200 * 15 + 100 * 3 // 10 + 40 * 15 // 4


def test_the_real_key_goes_out_and_the_tasks_token_does_not(gateway, working, model_server):
    headers = working.llm | {
        "cookie": "session=1",
        "authorization": f"Bearer {working.tokens['llm']}",
        "anthropic-beta": "thing-2026",
        "x-forwarded-for": "10.0.0.1",
        "x-evil": "1",
    }
    answer = post(gateway, headers)
    assert answer.status_code == 200
    (sent,) = model_server.requests
    assert sent["headers"]["x-api-key"] == KEY
    assert sent["headers"]["anthropic-beta"] == "thing-2026"
    assert set(sent["headers"]) == {
        "host", "x-api-key", "anthropic-version", "anthropic-beta", "content-type", "accept", "accept-encoding",
        "user-agent", "content-length",
    }  # fmt: skip
    assert working.tokens["llm"] not in str(sent)
    assert KEY not in str(answer.headers) + answer.text


def test_the_body_and_the_known_options_go_out_as_they_came(gateway, working, model_server):
    raw = json.dumps({**CALL, "metadata": {"user_id": "ü"}}, indent=3).encode()
    answer = httpx.post(
        f"{gateway}/llm/anthropic/v1/messages?beta=true&evil=1",
        content=raw,
        headers=working.llm | {"content-type": "application/json"},
    )
    assert answer.status_code == 200
    assert model_server.requests[0]["body"] == json.loads(raw)


def test_models_are_listed_and_tokens_counted_for_nothing(gateway, working):
    listed = httpx.get(f"{gateway}/llm/anthropic/v1/models?limit=5", headers=working.llm)
    assert listed.json()["data"][0]["id"] == "claude-sonnet-5"
    call = {"model": MODEL, "messages": CALL["messages"]}
    counted = httpx.post(f"{gateway}/llm/anthropic/v1/messages/count_tokens", json=call, headers=working.llm)
    assert counted.json()["input_tokens"] > 0
    assert working.records() == []


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "v1/messages"),
        ("POST", "v1/models"),
        ("GET", "v1/organizations/users"),
        ("POST", "v1/files"),
        ("POST", "v1/messages/batches"),
        ("DELETE", "v1/messages"),
        ("POST", ""),
    ],
)
def test_anything_else_is_not_passed_on(gateway, working, model_server, method, path):
    answer = httpx.request(method, f"{gateway}/llm/anthropic/{path}", headers=working.llm)
    assert answer.status_code == 404
    assert model_server.requests == []


# --- who may -----------------------------------------------------------------------------------------


def test_bad_tokens_are_refused_alike_and_not_tried_again(gateway, working, acme, claude, model_server):
    other = at_work(acme, claude)
    expired = at_work(acme, claude)
    TaskToken.objects.using("operator").filter(task_id=expired.task.id).update(expires_at=now())
    ended = at_work(acme, claude)
    ended.end()
    refused = [
        {},
        {"x-api-key": "sk-something"},
        {"x-api-key": working.tokens["mcp:memory"]},
        {"authorization": f"Bearer {acme.token}"},
        expired.llm,
        ended.llm,
        working.llm | {"x-test-sandbox": str(other.sandbox_id)},
    ]
    answers = [post(gateway, headers) for headers in refused]
    assert {answer.status_code for answer in answers} == {401}
    assert len({answer.text for answer in answers}) == 1
    error = answers[0].json()["error"]
    assert (error["type"], error["code"]) == ("authentication_error", "token_invalid")
    assert answers[0].headers["www-authenticate"].startswith("Bearer")
    assert answers[0].headers["x-should-retry"] == "false"
    assert model_server.requests == []
    assert post(gateway, working.llm | {"x-test-sandbox": str(working.sandbox_id)}).status_code == 200


def test_garbage_is_refused_before_it_goes_out(gateway, working, model_server):
    bodies = [
        b"", b"{", b"[]", b"null", b"\xff\xfe{\x00}\x00", b"[" * 100_000, b'{"model": "m"}',
        b'{"model": "", "max_tokens": 1}', b'{"model": 1, "max_tokens": 1}', b'{"model": "m", "max_tokens": true}',
        b'{"model": "m", "max_tokens": 0}', b'{"model": "m", "max_tokens": -5}', b'{"model": "m", "max_tokens": 1e9}',
        b'{"model": "m", "max_tokens": 1, "max_tokens": 100000}', b'{"model": "a\\u0000", "max_tokens": 1}',
        b'{"model": "m", "max_tokens": ' + b"9" * 5_000 + b"}",
    ]  # fmt: skip
    for body in bodies:
        answer = httpx.post(f"{gateway}/llm/anthropic/v1/messages", content=body, headers=working.llm)
        assert (answer.status_code, answer.json()["error"]["type"]) == (400, "invalid_request_error"), body[
            :60
        ]
    assert model_server.requests == []
    assert working.records() == []


def test_a_body_beyond_the_vendors_limit_is_refused(gateway, working, model_server):
    answer = httpx.post(
        f"{gateway}/llm/anthropic/v1/messages", content=b" " * (MAX_BODY_BYTES + 1), headers=working.llm
    )
    assert (answer.status_code, answer.json()["error"]["type"]) == (413, "request_too_large")
    assert model_server.requests == []


@pytest.mark.parametrize(
    "asked",
    [
        {"tools": [{"type": "web_fetch_20250910", "name": "web_fetch"}]},
        {"tools": [{"name": "ok", "input_schema": {}}, {"type": "code_execution_20250825", "name": "c"}]},
        {"mcp_servers": [{"type": "url", "url": "https://elsewhere.example/mcp", "name": "x"}]},
        {"container": "container_1"},
        {"speed": "fast"},
        {
            "messages": [
                {
                    "role": "user",
                    "content": [{"type": "image", "source": {"type": "url", "url": "http://x.example"}}],
                }
            ]
        },
        {
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {
                            "type": "tool_result",
                            "tool_use_id": "t",
                            "content": [{"type": "document", "source": {"type": "file", "file_id": "f"}}],
                        }
                    ],
                }
            ]
        },
    ],
)
def test_what_would_make_the_vendor_reach_out_is_not_passed_on(gateway, working, model_server, asked):
    answer = post(gateway, working.llm, **asked)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "not_passed_on")
    assert model_server.requests == []


def test_tools_that_run_in_the_sandbox_and_pictures_in_the_body_are_passed_on(gateway, working):
    block = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA=="}}
    schema = {"type": "object", "properties": {"source": {"type": "url"}}}
    answer = post(
        gateway,
        working.llm,
        tools=[{"name": "fetch", "input_schema": schema}, {"type": "bash_20250124", "name": "bash"}],
        messages=[{"role": "user", "content": [block, {"type": "text", "text": "look"}]}],
    )
    assert answer.status_code == 200
