"""A Claude agent in a real container: the real SDK and CLI, a model that follows rules, an MCP server of ours."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from mcp.server import MCPServer
from mcp.server.transport_security import TransportSecuritySettings
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from services.adapters.sandbox.tests.conftest import Host, Sandbox
from services.domain.ports.sandbox import SandboxLimits
from tests.fakes.anthropic_server import AnthropicServer
from tests.fakes.gateway_link import FakeGateway

pytestmark = pytest.mark.engine

LIMITS = SandboxLimits(memory_bytes=1024**3, pids=256, cpus=2.0)
MODEL_TOKEN, MEMORY_TOKEN = "token-of-the-model", "token-of-memory"
LLM = {"kind": "anthropic", "path": "/llm/anthropic", "token": MODEL_TOKEN}
MCP = [{"name": "memory", "path": "/mcp/memory", "token": MEMORY_TOKEN}]
RULES: list[dict[str, Any]] = [
    {
        "user": "first task",
        "has_tool_result": False,
        "thinking": "I had better look.",
        "text": "Let me look.",
        "tool_uses": [{"name": "Bash", "input": {"command": "id -u; echo $GRANTED > note; cat note"}}],
    },
    {
        "user": "first task",
        "tool_result": "10001",
        "tool_uses": [{"name": "mcp__memory__remember", "input": {"text": "uid 10001"}}],
    },
    {"user": "first task", "tool_result": "remembered", "text": "You are 10001, and I remember it."},
    {"user": "second task", "text": "Before, you were 10001."},
    {"user": "and one thing more", "text": "Both done."},
    {
        "user": "slow task",
        "has_tool_result": False,
        "tool_uses": [{"name": "Bash", "input": {"command": "until [ -e go ]; do sleep 0.05; done"}}],
    },
    {"user": "endless task", "tool_uses": [{"name": "Bash", "input": {"command": "sleep 0.01"}}]},
    {
        "user": "no budget",
        "error": {"status": 402, "type": "billing_error", "message": "the budget is spent"},
    },
    {
        "user": "bad model",
        "error": {"status": 400, "type": "invalid_request_error", "message": "no such model"},
    },
]


@dataclass
class Outside:
    """What the agent can reach: the model and the memory, and what they saw."""

    model: AnthropicServer
    remembered: list[str]
    apps: dict[str, ASGIApp] = field(default_factory=dict)


def behind_token(app: ASGIApp, token: str) -> ASGIApp:
    refusal = PlainTextResponse("who are you?", status_code=401)

    async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
        is_known = dict(scope["headers"]).get(b"authorization") == f"Bearer {token}".encode()
        await (app if is_known else refusal)(scope, receive, send)

    return guarded


@pytest.fixture
async def outside() -> AsyncIterator[Outside]:
    remembered: list[str] = []
    server = MCPServer("memory")

    @server.tool(description="Remembers a text")
    def remember(text: str) -> str:
        remembered.append(text)
        return "remembered"

    mcp_app = server.streamable_http_app(
        json_response=True,
        stateless_http=True,
        streamable_http_path="/memory",
        transport_security=TransportSecuritySettings(enable_dns_rebinding_protection=False),
    )
    model = AnthropicServer(RULES, key=MODEL_TOKEN)
    ready, over = asyncio.Event(), asyncio.Event()

    async def serve() -> None:  # a task of its own: it must end in the task that it began in
        async with server.session_manager.run():
            ready.set()
            await over.wait()

    serving = asyncio.create_task(serve())
    await ready.wait()
    apps: dict[str, ASGIApp] = {"/llm/anthropic": model.app, "/mcp": behind_token(mcp_app, MEMORY_TOKEN)}
    yield Outside(model, remembered, apps)
    over.set()
    await serving


@pytest.fixture
async def sandbox(docker_host: Host, outside: Outside) -> Sandbox:
    made = await docker_host.make(limits=LIMITS, image=docker_host.image_claude, mounts=outside.apps)
    await made.start()
    return made


def told(gateway: FakeGateway, turn: str) -> list[tuple[str, str]]:
    """Return the turn's events without the session, each as its type and what is in it."""
    shown = {"message.created": "text", "tool.called": "name", "tool.returned": "output"}
    events = [event for event in gateway.of_turn(turn) if event["type"] != "session.saved"]
    return [(event["type"], event["data"].get(shown.get(event["type"], ""), "")) for event in events]


async def test_it_uses_its_tools_answers_and_resumes_in_a_new_container(
    docker_host: Host, outside: Outside, sandbox: Sandbox
) -> None:
    first = await sandbox.gateway.send_turn(
        "claude",
        "first task",
        llm=LLM,
        mcp=MCP,
        env={"GRANTED": "a secret"},
        instructions="Answer like a sailor.",
    )
    done = await sandbox.gateway.wait_done(first)
    assert (done["status"], done["text"], done["tool_calls"], done["turns"]) == (
        "succeeded",
        "You are 10001, and I remember it.",
        2,
        3,
    )
    assert done["usage"]["input_tokens"] == 300
    assert done["usage"]["output_tokens"] == 60
    assert done["usage"]["cost_usd"] > 0
    assert told(sandbox.gateway, first) == [
        ("turn.started", ""),
        ("message.created", "Let me look."),
        ("tool.called", "Bash"),
        ("tool.returned", "10001\na secret"),
        ("tool.called", "mcp__memory__remember"),
        ("tool.returned", '{"result":"remembered"}'),
        ("message.created", "You are 10001, and I remember it."),
        ("turn.done", ""),
    ]
    assert outside.remembered == ["uid 10001"]
    assert sandbox.gateway.live_text("text.delta") == "Let me look.You are 10001, and I remember it."
    assert sandbox.gateway.live_text("reasoning.delta") == "I had better look."
    assert "Answer like a sailor." in json.dumps(outside.model.message_calls()[0]["system"])

    saved = sandbox.gateway.of_turn(first, "session.saved")
    session = {"id": saved[0]["data"]["session_id"], "entries": sandbox.gateway.session_entries(first)}
    await sandbox.destroy()
    other = await docker_host.make(limits=LIMITS, image=docker_host.image_claude, mounts=outside.apps)
    await other.start()
    second = await other.gateway.run_turn("claude", "second task", llm=LLM, mcp=MCP, session=session)
    assert (second["status"], second["text"]) == ("succeeded", "Before, you were 10001.")
    history = json.dumps(outside.model.message_calls()[-1]["messages"])
    assert "first task" in history
    assert "You are 10001, and I remember it." in history
    assert other.gateway.events[-1]["data"]["turns"] == 1


async def test_a_third_turn_resumes_what_two_containers_saved(docker_host: Host, outside: Outside) -> None:
    entries: list[dict[str, Any]] = []
    session: dict[str, Any] | None = None
    for prompt in ("second task", "second task again", "second task at last"):
        sandbox = await docker_host.make(limits=LIMITS, image=docker_host.image_claude, mounts=outside.apps)
        await sandbox.start()
        turn = await sandbox.gateway.send_turn("claude", prompt, llm=LLM, session=session)
        assert (await sandbox.gateway.wait_done(turn))["status"] == "succeeded"
        entries += sandbox.gateway.session_entries(turn)
        saved = sandbox.gateway.of_turn(turn, "session.saved")[-1]["data"]["session_id"]
        session = {"id": saved, "entries": entries}
        await sandbox.destroy()
    history = json.dumps(outside.model.message_calls()[-1]["messages"])
    assert history.count("Before, you were 10001.") == 2
    assert "second task again" in history


async def test_a_follow_up_steers_the_turn_at_work(sandbox: Sandbox) -> None:
    turn = await sandbox.gateway.send_turn("claude", "slow task", llm=LLM)
    await sandbox.gateway.wait_for("tool.called", turn=turn)
    await sandbox.gateway.send({"op": "message", "turn": turn, "id": "m1", "text": "and one thing more"})
    await sandbox.gateway.wait_for("message.consumed", turn=turn)
    await _touch(sandbox, "/workspace/go")
    done = await sandbox.gateway.wait_done(turn)
    assert (done["status"], done["text"]) == ("succeeded", "Both done.")


async def _touch(sandbox: Sandbox, path: str) -> None:
    """Make a file in the container from outside, as the agent's user."""
    name = f"slipway-{sandbox.spec.installation}-{sandbox.id}"
    process = await asyncio.create_subprocess_exec("docker", "exec", name, "touch", path)
    assert await process.wait() == 0


async def test_cancelling_interrupts_the_model_and_its_tools(sandbox: Sandbox) -> None:
    turn = await sandbox.gateway.send_turn("claude", "slow task", llm=LLM)
    await sandbox.gateway.wait_for("tool.called", turn=turn)
    begun = time.monotonic()
    await sandbox.gateway.send({"op": "cancel", "turn": turn, "reason": "cancelled"})
    assert (await sandbox.gateway.wait_done(turn))["status"] == "cancelled"
    assert time.monotonic() - begun < 5
    assert await sandbox.run("cat /proc/[0-9]*/cmdline | tr '\\0' ' ' | grep -c '[c]laude' || true") == "0"


@pytest.mark.parametrize(
    ("prompt", "fields", "code"),
    [
        ("bad model", {}, "model_error"),
        ("no budget", {}, "budget_exceeded"),
        ("endless task", {"max_turns": 2}, "max_turns"),
        ("any", {"llm": {**LLM, "token": "of another task"}}, "model_error"),
        ("any", {"llm": None}, "input_invalid"),
    ],
)
async def test_a_failed_turn_says_why(
    sandbox: Sandbox, prompt: str, fields: dict[str, Any], code: str
) -> None:
    done = await sandbox.gateway.run_turn("claude", prompt, **{"llm": LLM, **fields})
    assert (done["status"], done["error"]["code"]) == ("failed", code)
    assert "Traceback" not in done["error"]["message"]


async def test_the_shell_image_has_no_claude(docker_host: Host) -> None:
    sandbox = await docker_host.make()
    await sandbox.start()
    done = await sandbox.gateway.run_turn("claude", "any", llm=LLM)
    assert done["error"]["code"] == "provider_unknown"
