"""The running product under a collector: a message is one trace until its answer; no call of a tool runs twice."""

from __future__ import annotations

import json

import pytest
from websockets.sync.client import connect

from tests.fakes.anthropic_server import AnthropicServer, Rule, ToolUse
from tests.fakes.otlp_server import OtlpServer, Span
from tests.fakes.telegram_server import FakeTelegram
from tests.stack.platforms import TelegramChat
from tests.stack.running import RunningStack, registered, until

pytestmark = [pytest.mark.stack, pytest.mark.engine]

USAGE = {"input_tokens": 1_000, "output_tokens": 100}


@pytest.fixture
def stack(second_stack: RunningStack) -> RunningStack:
    """Give the stack that traces."""
    return second_stack


def whole(collector: OtlpServer, *, root: str) -> list[Span]:
    """Return the spans of a trace that began so and ended with a delivery, once none of them is missing."""
    for delivered in [span for span in collector.spans if span.attributes.get("job") == "delivery.send"]:
        spans = collector.of_trace(delivered.trace)
        ids = {span.id for span in spans}
        roots = [span.name for span in spans if not span.parent]
        is_whole = roots == [root] and all(span.parent in ids for span in spans if span.parent)
        ran = {span.attributes.get("job") for span in spans if span.name == "job.run"}
        if is_whole and {"answer.deliver", "delivery.send"} <= ran:
            return spans
    return []


def wait_whole(collector: OtlpServer, *, root: str) -> list[Span]:
    """Wait for such a trace, and return its spans. Raises: AssertionError with what is there."""
    try:
        found: list[Span] = until(lambda: whole(collector, root=root), within_s=30, what="the trace is whole")
    except AssertionError as error:
        there = {span.id: span for span in collector.spans}
        told = [
            f"{span.trace[:6]} {span.service} {span.name} {span.attributes.get('job', '')} "
            f"below {there[span.parent].name if span.parent in there else span.parent or 'nothing'}"
            for span in collector.spans
        ]
        raise AssertionError("\n".join([str(error), *sorted(told)])) from error
    return found


def test_a_message_is_one_trace_until_its_answer_is_sent(
    stack: RunningStack, telegram: FakeTelegram, collector: OtlpServer
):
    chat = TelegramChat(stack, telegram, 19_001)
    chat.says("echo traced")
    chat.wait_for_replies(1)

    spans = wait_whole(collector, root="http.request")
    services = {span.name: span.service for span in spans}
    assert services["http.request"] == "slipway-api"  # which the platform called
    assert services["task.submit"] == "slipway-worker"  # which routes what chats say
    assert services["job.publish"] == "slipway-relay"
    assert services["job.run"] == "slipway-worker"
    assert services["turn.issue"] == services["task.finish"] == "slipway-mcp_gateway"
    assert b"echo traced" not in collector.raw


def test_one_trace_goes_from_a_websocket_through_every_service_and_the_sandbox_to_a_chat(
    stack: RunningStack, telegram: FakeTelegram, model_server: AnthropicServer, collector: OtlpServer
):
    chat = TelegramChat(stack, telegram, 19_003)
    chat.says("echo hello")
    chat.wait_for_replies(1)
    model_server.rules = [
        Rule(
            user="note it",
            has_tool_result=False,
            usage=USAGE,
            tool_uses=[ToolUse(name="mcp__memory__memory_write", input={"name": "a", "body": "whispered"})],
        ),
        Rule(user="note it", has_tool_result=True, text="Noted.", usage=USAGE),
    ]
    order = {
        "agent_id": stack.agents["claude"],
        "prompt": "note it",
        "deliver_to": {"chat_id": chat.chat_ids()[0]},
    }
    headers = {"Authorization": f"Bearer {stack.token}"}
    with connect(f"{stack.realtime}/v1/stream", additional_headers=headers, proxy=None) as client:
        client.send(json.dumps({"id": 1, "op": "submit", **order}))
        answer = json.loads(client.recv(timeout=30))
    assert answer["op"] == "ok", answer
    assert stack.wait(answer["task"]["id"], within_s=180)["status"] == "succeeded"
    assert chat.wait_for_replies(2)[1] == "Noted."
    spans = wait_whole(collector, root="ws.submit")
    of_service: dict[str, set[str]] = {}
    for span in spans:
        of_service.setdefault(span.service, set()).add(span.name)
    assert of_service == {
        "slipway-realtime": {"ws.submit"},
        "slipway-api": {"http.request", "task.submit"},
        "slipway-relay": {"job.publish"},
        "slipway-worker": {"job.run", "sandbox.start"},
        "slipway-mcp_gateway": {"turn.issue", "model.call", "mcp.call", "task.finish"},
    }
    by_name = {span.name: span for span in spans}
    assert by_name["http.request"].parent == by_name["ws.submit"].id
    assert by_name["task.submit"].parent == by_name["http.request"].id
    # What the runner got over its link and sent back with its requests.
    issued = by_name["turn.issue"].id
    assert all(span.links == (issued,) for span in spans if span.name in ("model.call", "mcp.call"))
    assert b"whispered" not in collector.raw
    assert b"note it" not in collector.raw
    calls = stack.http.get("/v1/calls", params={"task_id": answer["task"]["id"]}).json()["items"]
    shown = {(call["kind"], call["server"], call["outcome"]) for call in calls}
    assert shown == {("model", "anthropic", "ok"), ("own", "memory", "ok")}


def test_a_gateway_killed_in_the_middle_of_a_call_runs_it_once_and_the_turn_goes_on(
    stack: RunningStack, model_server: AnthropicServer
):
    with registered(stack, "weather") as upstream:
        agent = stack.agents["claude"]
        changed = stack.http.patch(f"/v1/agents/{agent}", json={"mcp_servers": ["memory", "weather"]})
        assert changed.status_code == 200, changed.text
        model_server.rules = [
            Rule(
                user="wait for it",
                has_tool_result=False,
                usage=USAGE,
                tool_uses=[ToolUse(name="mcp__weather__wait", input={})],
            ),
            Rule(user="wait for it", has_tool_result=True, text="I went on.", usage=USAGE),
        ]
        task = stack.submit("wait for it", agent="claude")

        def calls() -> list[object]:
            return [call for call in upstream.calls.all() if call.get("tool") == "wait"]

        until(calls, within_s=90, what="the call has reached the server")
        old = stack.kill("gateway")
        stack.wait_restarted("gateway", old)
        upstream.release()
        ended = stack.wait(task["id"], within_s=180)
        assert (ended["status"], ended["result"]["text"]) == ("succeeded", "I went on."), ended
        assert len(calls()) == 1
    stored = stack.events(ended["workspace_id"])
    assert [event["seq"] for event in stored] == list(range(1, len(stored) + 1))
    names = [event["type"] for event in stored]
    assert (names.count("tool.called"), names.count("tool.returned"), names.count("turn.done")) == (1, 1, 1)
