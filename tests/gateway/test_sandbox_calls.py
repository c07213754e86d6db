"""Calls of servers in the sandbox: on record from what the runner says, once each, and only theirs."""

from __future__ import annotations

import asyncio
import json
import uuid
from typing import Any

import pytest
from django.db import OperationalError

from conftest import Tenant
from services.domain.agents.actions import update_agent
from services.domain.calls.models import McpCall
from services.domain.plane.queries import find_sandbox
from services.domain.tenancy.transaction import tenant_transaction
from services.domain.upstreams.actions import NewUpstream, register_upstream
from services.domain.upstreams.in_sandbox import SandboxTools
from services.domain.upstreams.models import UpstreamServer
from services.mcp_gateway import sandbox_calls
from services.mcp_gateway.call_log import CALL_LOG
from services.mcp_gateway.link import Hello, Link
from tests.gateway.serving import Working, at_work
from tests.gateway.test_calls import recorded
from tests.gateway.test_link import Wire

SECRET = "the-launch-code-is-0000"


class Sandbox:
    """Plays a runner at its link's end."""

    def __init__(self, working: Working) -> None:
        self.task = working.task
        self.journal, self.n = uuid.uuid4(), 0
        self.row = find_sandbox(working.sandbox_id)
        self.connect()

    def connect(self) -> None:
        """Open a link."""
        hello = Hello(op="hello", protocol=1, journal=self.journal, oldest=1, turn=self.task.id)
        assert self.row is not None
        self.link = Link(Wire(), self.row, hello)  # type: ignore[arg-type]  # a fake

    def frame(self, kind: str, **data: Any) -> dict[str, Any]:
        """Make the next frame."""
        self.n += 1
        return {"op": "event", "n": self.n, "turn": str(self.task.id), "type": kind, "data": data}

    def sends(self, *frames: dict[str, Any]) -> None:
        """Send frames together, and have what they tell of stored."""
        assert asyncio.run(self.link._store_entries(frames))
        CALL_LOG.flush()

    def calls(self, name: str, call_id: str = "c1", **returned: Any) -> None:
        """Call a tool that returns."""
        self.sends(
            self.frame("tool.called", call_id=call_id, name=name, input={"words": SECRET}),
            self.frame("tool.returned", call_id=call_id, **{"output": SECRET, "duration_ms": 40, **returned}),
        )


@pytest.fixture
def sandbox(acme: Tenant, claude) -> Sandbox:
    """Put an agent to work that has a server in its sandbox and one elsewhere."""
    program = NewUpstream(name="git", transport="stdio", command="mcp-server-git")
    register_upstream(acme.owner, program)
    register_upstream(acme.owner, NewUpstream(name="git-hub", url="https://mcp.example.com/mcp"))
    update_agent(acme.owner, claude.id, {"mcp_servers": ["memory", "git", "git-hub"]})
    return Sandbox(at_work(acme, claude))


def test_a_call_in_the_sandbox_is_on_record_without_a_word_of_it(sandbox, acme):
    sandbox.calls("mcp__git__log")
    (call,) = recorded(acme, 1)
    assert (call["kind"], call["server"], call["tool"]) == ("upstream", "git", "log")
    assert (call["outcome"], call["code"], call["duration_ms"]) == ("ok", "", 40.0)
    assert (call["task_id"], call["agent_id"]) == (sandbox.task.id, sandbox.task.agent_id)
    assert call["user_id"] == acme.owner.user_id
    assert (call["request_bytes"], call["result_bytes"]) == (len(json.dumps({"words": SECRET})), len(SECRET))
    assert SECRET not in str(call)


def test_a_call_that_failed_and_one_that_did_not_return_are_on_record(sandbox, acme):
    sandbox.calls("mcp__git__log", is_error=True)
    sandbox.sends(sandbox.frame("tool.called", call_id="c2", name="mcp__git__blame"))
    sandbox.sends(sandbox.frame("turn.done", status="cancelled"))
    assert [(call["tool"], call["outcome"], call["code"]) for call in recorded(acme, 2)] == [
        ("log", "error", "tool_error"), ("blame", "cancelled", "cancelled"),
    ]  # fmt: skip


def test_a_tool_that_is_not_served_is_refused_there_and_not_named(sandbox, acme):
    with tenant_transaction(acme.organisation.id):
        UpstreamServer.objects.filter(name="git").update(allowed_tools=["log"])
    sandbox.calls("mcp__git__push", is_error=True)
    (call,) = recorded(acme, 1)
    assert (call["tool"], call["outcome"], call["code"]) == ("(unknown)", "refused", "unknown_tool")


def test_what_passes_the_gateway_and_what_is_no_server_is_not_counted_twice(sandbox, acme):
    names = (
        "Bash",
        "apply_patch",
        "mcp__memory__memory_list",
        "mcp__git-hub__x",
        "mcp__unknown__y",
        "git_log",
    )
    for number, name in enumerate(names):
        sandbox.calls(name, f"c{number}")
    sandbox.calls("mcp__git__log", "last")
    assert [call["tool"] for call in recorded(acme, 1)] == ["log"]


def test_what_a_runner_sends_again_is_noted_once(sandbox, acme):
    called = sandbox.frame("tool.called", call_id="c", name="mcp__git__log")
    returned = sandbox.frame("tool.returned", call_id="c")
    sandbox.sends(called)
    sandbox.sends(called, returned)
    sandbox.connect()
    sandbox.sends(called, returned)
    recorded(acme, 1)


def test_of_another_sandboxs_task_nothing_is_believed(sandbox, acme, claude):
    other = at_work(acme, claude)
    frames = [
        sandbox.frame("tool.called", call_id="c", name="mcp__git__log"),
        sandbox.frame("tool.returned", call_id="c"),
    ]
    sandbox.sends(*({**frame, "turn": str(other.task.id)} for frame in frames))
    with tenant_transaction(acme.organisation.id):
        assert not McpCall.objects.exists()


@pytest.mark.parametrize("duration_ms", [-5, 10**300])
def test_a_time_that_cannot_be_is_not_believed(sandbox, acme, duration_ms):
    sandbox.calls("mcp__git__log", duration_ms=duration_ms)
    (call,) = recorded(acme, 1)
    assert 0 <= call["duration_ms"] <= 86_400_000


@pytest.mark.parametrize("tool", ["", f"{SECRET} and so on", "\x00", "\ud800", "x" * 200])
def test_a_name_that_no_tool_has_is_not_on_record(sandbox, acme, tool):
    sandbox.calls(f"mcp__git__{tool}", output="\ud800")
    (call,) = recorded(acme, 1)
    assert (call["server"], call["tool"]) == ("git", "(unknown)")


def test_calls_that_never_return_are_bounded(sandbox, acme, monkeypatch):
    monkeypatch.setattr(sandbox_calls, "MOST_OPEN", 2)
    begun = [sandbox.frame("tool.called", call_id=f"c{n}", name="mcp__git__log") for n in range(3)]
    sandbox.sends(*begun, sandbox.frame("tool.called", call_id="c" * 201, name="mcp__git__log"))
    sandbox.sends(sandbox.frame("turn.done", status="succeeded"))
    recorded(acme, 2)


def test_a_record_that_cannot_be_made_does_not_break_the_link(sandbox, acme, monkeypatch):
    def broken(*_: object) -> SandboxTools:
        raise OperationalError("the database is away")

    with monkeypatch.context() as away:
        away.setattr(sandbox_calls, "load_sandbox_tools", broken)
        sandbox.calls("mcp__git__log")
    sandbox.calls("mcp__git__log", "c2")
    recorded(acme, 1)


@pytest.mark.parametrize(
    ("provider", "name", "found"),
    [
        ("claude", "mcp__git__log", ("git", "log", True)),
        ("claude", "mcp__git__push", ("git", "push", True)),
        ("claude", "mcp__git__x__y", ("git__x", "y", True)),
        ("claude", "mcp__few__look", ("few", "look", True)),
        ("claude", "mcp__few__quiet", ("few", "quiet", False)),
        ("claude", "git_log", None),
        ("codex", "mcp__git__log", ("git", "log", True)),
        ("opencode", "git_log", ("git", "log", True)),
        ("opencode", "git_remote_log", None),
        ("opencode", "mcp__git__log", None),
    ],
)
def test_a_providers_name_of_a_tool_is_that_of_its_server_and_tool(provider, name, found):
    servers = ("git", "git__x", "git_remote", "few")
    tools = SandboxTools(provider, servers, {"git": None, "git__x": None, "few": ["look"]})
    assert tools.find(name) == found
