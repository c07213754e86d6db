"""The running product under a collector: a message is one trace until its answer; no call of a tool runs twice."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.local.stack import Stack
from tests.conftest import MODEL_KEY
from tests.fakes.anthropic_server import AnthropicServer, Rule, ToolUse
from tests.fakes.mcp_upstream import McpUpstream
from tests.fakes.otlp_server import OtlpServer, Span
from tests.fakes.serving import LocalServer
from tests.fakes.telegram_server import FakeTelegram
from tests.stack.platforms import TelegramChat
from tests.stack.running import RunningStack, until

pytestmark = [pytest.mark.stack, pytest.mark.engine]

USAGE = {"input_tokens": 1_000, "output_tokens": 100}


@pytest.fixture(scope="module")
def collector() -> Iterator[OtlpServer]:
    """Run a local receiver of traces; its address is in `url`."""
    fake = OtlpServer()
    with LocalServer(fake.app) as server:
        fake.url = server.url
        yield fake


@pytest.fixture(scope="module")
def stack(
    collector: OtlpServer, telegram: FakeTelegram, model_server: AnthropicServer
) -> Iterator[RunningStack]:
    """Run a stack of this module's own, which traces and may reach local MCP servers."""
    environ = {
        name: value for name, value in os.environ.items() if not name.startswith(("SLIPWAY_", "DJANGO_"))
    }
    environ |= {name: os.environ[name] for name in ("SLIPWAY_BASE_IMAGE",) if name in os.environ}
    extra = {
        "SLIPWAY_SANDBOX_SLOTS": "4",
        "SLIPWAY_OTLP_ENDPOINT": collector.url,
        "SLIPWAY_UPSTREAM_INTERNAL_HOSTS": "127.0.0.1",
        "TELEGRAM_API_BASE": telegram.url,
        "ANTHROPIC_BASE_URL": model_server.url,
        "ANTHROPIC_API_KEY": MODEL_KEY,
    }
    folder = Path(tempfile.mkdtemp(prefix="slipway-observed-"))
    running = RunningStack(Stack(folder, environ=environ, extra=extra, driver="docker", is_bound=True))
    running.start()
    yield running
    running.stop()


def test_a_message_is_one_trace_until_its_answer_is_sent(
    stack: RunningStack, telegram: FakeTelegram, collector: OtlpServer
):
    chat = TelegramChat(stack, telegram, 19_001)
    chat.says("echo traced")
    chat.wait_for_replies(1)

    def whole() -> list[Span]:
        delivered = [span for span in collector.spans if span.attributes.get("job") == "delivery.send"]
        spans = collector.of_trace(delivered[0].trace) if delivered else []
        ids = {span.id for span in spans}
        roots = [span.name for span in spans if not span.parent]
        is_whole = roots == ["task.submit"] and all(span.parent in ids for span in spans if span.parent)
        ran = {span.attributes.get("job") for span in spans if span.name == "job.run"}
        return spans if is_whole and {"answer.deliver", "delivery.send"} <= ran else []

    spans = until(whole, within_s=30, what="the trace is whole")
    services = {span.name: span.service for span in spans}
    assert services["task.submit"] == "slipway-worker"  # which routes what chats say
    assert services["job.publish"] == "slipway-relay"
    assert services["job.run"] == "slipway-worker"
    assert services["turn.issue"] == services["task.finish"] == "slipway-mcp_gateway"
    assert b"echo traced" not in collector.raw


def test_a_gateway_killed_in_the_middle_of_a_call_runs_it_once_and_the_turn_goes_on(
    stack: RunningStack, model_server: AnthropicServer
):
    with McpUpstream() as upstream:
        server = stack.http.post("/v1/mcp_servers", json={"name": "weather", "url": upstream.url})
        assert server.status_code == 201, server.text
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
