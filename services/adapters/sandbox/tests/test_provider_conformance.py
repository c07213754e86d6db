"""One suite over all providers, each in a container of its own image: the vendors' CLIs are real, the models ours."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from mcp.server import MCPServer
from mcp.server.transport_security import TransportSecuritySettings
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from services.adapters.sandbox.tests.conftest import REPOSITORY, AgentImages, Host, Sandbox
from services.adapters.sandbox.tests.provider_cases import CASES, MCP, MEMORY_TOKEN, OPENAI, STDIO, Case
from services.domain.ports.sandbox import SandboxLimits
from tests.fakes.anthropic_server import AnthropicServer
from tests.fakes.openai_server import OpenaiServer

pytestmark = pytest.mark.engine

LIMITS = SandboxLimits(memory_bytes=2 * 1024**3, pids=512, cpus=2.0)
EACH = [name for name, case in CASES.items() if name == case.provider]
WITH_MODEL = [name for name in EACH if CASES[name].wire is not None]
INTERRUPT_S = 8.0  # the protocol's five, and what a busy machine adds


@dataclass
class World:
    """One provider, the model and the memory that it can reach, and the sandboxes that it is tried in."""

    case: Case
    host: Host
    image: str
    model: AnthropicServer | OpenaiServer | None
    remembered: list[str]
    apps: dict[str, ASGIApp] = field(default_factory=dict)

    async def sandbox(self) -> Sandbox:
        """Start a new container of the provider's image."""
        made = await self.host.make(limits=LIMITS, image=self.image, mounts=self.apps)
        await made.start()
        return made

    async def begin(self, sandbox: Sandbox, scenario: str, **fields: Any) -> str:
        """Begin a turn of a scenario; return its id."""
        prompt = self.case.prompt(scenario)
        return await sandbox.gateway.send_turn(self.case.provider, prompt, **{**self.case.fields, **fields})

    async def play(self, sandbox: Sandbox, scenario: str, **fields: Any) -> dict[str, Any]:
        """Play a scenario to its end; return what the turn's end says."""
        return await sandbox.gateway.wait_done(await self.begin(sandbox, scenario, **fields))

    def asked(self) -> str:
        """Return the model's latest call as text."""
        assert self.model is not None
        return json.dumps(self.model.requests[-1]["body"])


def session_of(sandbox: Sandbox, *turns: str) -> dict[str, Any]:
    """Return what turns saved, as the gateway brings it to the next."""
    saved = sandbox.gateway.of_turn(turns[-1], "session.saved")
    entries = [entry for turn in turns for entry in sandbox.gateway.session_entries(turn)]
    return {"id": saved[-1]["data"]["session_id"], "entries": entries}


def behind_token(app: ASGIApp, token: str) -> ASGIApp:
    refusal = PlainTextResponse("who are you?", status_code=401)

    async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
        is_known = dict(scope["headers"]).get(b"authorization") == f"Bearer {token}".encode()
        await (app if is_known else refusal)(scope, receive, send)

    return guarded


@pytest.fixture(scope="session")
def images(agent_images: AgentImages) -> dict[str, str]:
    """Name each provider's image, as the environment gives it or as it is built now."""
    found = {"shell": agent_images.shell, "scripted": agent_images.shell, "claude": agent_images.claude}
    for name in ("codex", "opencode"):
        found[name] = os.environ.get(f"SLIPWAY_AGENT_IMAGE_{name.upper()}") or _build(name)
    return found


def _build(target: str) -> str:
    base = os.environ.get("SLIPWAY_BASE_IMAGE", "slipway-base:bookworm")
    command = [str(REPOSITORY / "agent_image" / "build.sh"), "--base", base, "--quiet", "--only", target]
    output = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    return output.strip().partition("=")[2]


@pytest.fixture
async def world(
    request: pytest.FixtureRequest, docker_host: Host, images: dict[str, str]
) -> AsyncIterator[World]:
    case = CASES[request.param]
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
    ready, over = asyncio.Event(), asyncio.Event()

    async def serve() -> None:  # a task of its own: it must end in the task that it began in
        async with server.session_manager.run():
            ready.set()
            await over.wait()

    serving = asyncio.create_task(serve())
    await ready.wait()
    apps = {"/mcp": behind_token(mcp_app, MEMORY_TOKEN)}
    made = World(case, docker_host, images[case.provider], None, remembered, apps)
    if case.wire is not None:
        made.model = case.wire.make_server(case.rules())
        made.apps[case.wire.llm["path"]] = made.model.app
    yield made
    over.set()
    await serving


every_provider = pytest.mark.parametrize("world", EACH, indirect=True)
every_model = pytest.mark.parametrize("world", WITH_MODEL, indirect=True)


@pytest.mark.parametrize("world", list(CASES), indirect=True)
async def test_it_streams_what_it_does_and_says_what_it_used(world: World) -> None:
    sandbox = await world.sandbox()
    turn = await world.begin(
        sandbox, "look around", mcp=MCP, env={"GRANTED": "a secret"}, instructions="Answer like a sailor."
    )
    done = await sandbox.gateway.wait_done(turn)
    assert done["status"] == "succeeded", done
    events = sandbox.gateway.of_turn(turn)
    assert (events[0]["type"], events[-1]["type"]) == ("turn.started", "turn.done")
    called = [event["data"] for event in events if event["type"] == "tool.called"]
    returned = [event["data"] for event in events if event["type"] == "tool.returned"]
    assert [call["call_id"] for call in called] == [answer["call_id"] for answer in returned]
    assert returned[0]["output"].strip() == "found-42 a secret 10001"
    assert not any(answer["is_error"] for answer in returned)
    assert done["tool_calls"] == len(called)
    if world.case.wire is None:
        return
    said = [event["data"]["text"] for event in events if event["type"] == "message.created"]
    assert said == ["Let me look.", "The answer is 42."]
    assert sandbox.gateway.live_text("text.delta") == "Let me look.The answer is 42."
    assert sandbox.gateway.live_text("reasoning.delta") == "I had better look."
    assert world.remembered == ["it is 42"]
    assert (done["text"], done["turns"], len(called)) == ("The answer is 42.", 3, 2)
    assert (done["usage"]["input_tokens"], done["usage"]["output_tokens"]) == (300, 60)
    assert "Answer like a sailor." in world.asked()


@every_provider
async def test_it_takes_a_follow_up_while_it_works(world: World) -> None:
    sandbox = await world.sandbox()
    turn = await world.begin(sandbox, "slow work")
    await sandbox.gateway.wait_for("tool.called", turn=turn)
    await say(sandbox, turn, world.case.follow_up)
    await let_go(sandbox)
    done = await sandbox.gateway.wait_done(turn)
    assert (done["status"], done["text"]) == ("succeeded", "Both done."), done
    consumed = [event["data"]["id"] for event in sandbox.gateway.of_turn(turn, "message.consumed")]
    assert consumed == ["m1"]


@every_provider
async def test_it_is_told_to_stop_and_serves_the_next_turn(world: World) -> None:
    sandbox = await world.sandbox()
    turns: list[str] = []
    fields: dict[str, Any] = {}
    for reason, code in (("cancelled", "cancelled"), ("expired", "timeout")):
        turn = await world.begin(sandbox, "slow work", **fields)
        await sandbox.gateway.wait_for("tool.called", turn=turn)
        begun = time.monotonic()
        await sandbox.gateway.send({"op": "cancel", "turn": turn, "reason": reason})
        done = await sandbox.gateway.wait_done(turn)
        assert (done["status"], done["error"]["code"]) == (reason, code)
        assert time.monotonic() - begun < INTERRUPT_S
        if world.case.process:
            pattern = f"{world.case.process[:-1]}[{world.case.process[-1]}]"
            assert await sandbox.run(f"pgrep -fc '{pattern}' || true") == "0"
        if world.case.wire is not None:
            turns.append(turn)
            fields = {"session": session_of(sandbox, *turns)}
    if world.case.wire is not None:
        after = await world.play(sandbox, "what is my name", **fields)
        assert (after["status"], after["text"]) == ("succeeded", "Ada, I think."), after
        assert world.asked().count('"slow work"') == 2


@every_model
async def test_it_resumes_in_new_containers_what_others_saved(world: World) -> None:
    entries: list[dict[str, Any]] = []
    session: dict[str, Any] | None = None
    for prompt in ("my name is Ada", "what is my name?", "what is my name, again?"):
        sandbox = await world.sandbox()
        turn = await world.begin(sandbox, prompt, session=session)
        done = await sandbox.gateway.wait_done(turn)
        assert done["status"] == "succeeded", done
        saved = session_of(sandbox, turn)
        entries += saved["entries"]
        session = {"id": saved["id"], "entries": entries}
        await sandbox.destroy()
    history = world.asked()
    assert history.count("my name is Ada") == 1
    assert history.count("Hello Ada.") == 1
    assert history.count("Ada, I think.") == 1
    assert done["turns"] == 1


@every_model
async def test_a_failed_turn_says_why(world: World) -> None:
    sandbox = await world.sandbox()
    assert world.case.wire is not None
    foreign = {**world.case.wire.llm, "token": "of another task"}
    for prompt, fields, code in (
        ("bad model", {}, "model_error"),
        ("no budget", {}, "budget_exceeded"),
        ("endless work", {"max_turns": 2}, "max_turns"),
        ("any", {"llm": foreign}, "model_error"),
        ("any", {"llm": None}, "input_invalid"),
    ):
        done = await world.play(sandbox, prompt, **fields)
        assert (done["status"], done["error"]["code"]) == ("failed", code), done
        assert "Traceback" not in done["error"]["message"]


@every_model
async def test_a_cli_that_dies_is_a_crash_and_the_next_turn_is_well(world: World) -> None:
    sandbox = await world.sandbox()
    turn = await world.begin(sandbox, "slow work")
    await sandbox.gateway.wait_for("tool.called", turn=turn)
    await inside(sandbox, "pkill", "-9", "-f", world.case.process)
    done = await sandbox.gateway.wait_done(turn)
    assert (done["status"], done["error"]["code"]) == ("failed", "provider_crashed"), done
    assert (await world.play(sandbox, "my name is Ada"))["text"] == "Hello Ada."


@every_model
async def test_it_starts_mcp_servers_in_the_sandbox_that_end_with_the_turn(world: World) -> None:
    sandbox = await world.sandbox()
    options = {"mcp_stdio": [STDIO]}
    turn = await world.begin(sandbox, "use the tools", env={"GRANTED": "a secret"}, options=options)
    done = await sandbox.gateway.wait_done(turn)
    assert (done["status"], done["text"]) == ("succeeded", "Used."), done
    (called,) = [event["data"] for event in sandbox.gateway.of_turn(turn, "tool.called")]
    assert called["name"].endswith("look")
    (returned,) = [event["data"] for event in sandbox.gateway.of_turn(turn, "tool.returned")]
    seen = returned["output"].replace("\\", "")
    assert '"argv": ["${HOME} $(id)"]' in seen
    assert '"env": {"MODE": "fast", "API_KEY": "a secret", "GRANTED": null}' in seen
    assert '"count": 0' in seen
    assert await sandbox.run("pgrep -fc 'Say what this serve[r]' || true") == "0"


@every_model
async def test_a_tool_that_is_not_on_the_list_of_such_a_server_does_not_exist(world: World) -> None:
    sandbox = await world.sandbox()
    outputs = []
    for allowed in (None, ["look"]):
        options = {"mcp_stdio": [{**STDIO, "allowed_tools": allowed}]}
        done = await world.play(sandbox, "use the other tool", options=options)
        assert (done["status"], done["text"]) == ("succeeded", "Used."), done
        outputs.append("nothing to say" in world.asked())
    assert outputs == [True, False]


@pytest.mark.parametrize("world", ["shell"], indirect=True)
async def test_the_shell_image_has_no_vendors_cli_and_the_tools_of_a_coding_agent(world: World) -> None:
    sandbox = await world.sandbox()
    for provider in WITH_MODEL:
        done = await sandbox.gateway.run_turn(provider, "any", llm=OPENAI.llm)
        assert done["error"]["code"] == "provider_unknown"
    for tool in ("git", "rg", "curl", "python3", "pip3", "node", "npm", "gcc", "make", "jq", "unzip"):
        await sandbox.run(f"command -v {tool}")
    await sandbox.run("python3 -m venv env && env/bin/python -c 'import ssl'")


async def say(sandbox: Sandbox, turn: str, text: str) -> None:
    """Send a follow-up, and wait until the runner has it: it answers a ping that came after."""
    await sandbox.gateway.send({"op": "message", "turn": turn, "id": "m1", "text": text})
    pongs = sandbox.gateway.pongs
    await sandbox.gateway.send({"op": "ping"})
    await sandbox.gateway.wait_until(lambda: sandbox.gateway.pongs > pongs, "pong")


async def let_go(sandbox: Sandbox) -> None:
    """Make the file that slow work waits for, as the agent's user."""
    await inside(sandbox, "touch", "/workspace/go")


async def inside(sandbox: Sandbox, *command: str) -> None:
    """Run a command in the container from outside, as the agent's user."""
    name = f"slipway-{sandbox.spec.installation}-{sandbox.id}"
    process = await asyncio.create_subprocess_exec("docker", "exec", name, *command)
    assert await process.wait() == 0
