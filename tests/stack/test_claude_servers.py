"""The real Claude agent in its container and its tools: of every server, of one that it runs itself, and one held."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from services.mcp_gateway.http import TOOL_SERVERS
from services.mcp_gateway.mcp_servers.tools import Tool, ToolServer
from tests.conftest import MODEL_KEY
from tests.fakes.anthropic_server import AnthropicServer, Rule, ToolUse
from tests.fakes.mcp_upstream import McpUpstream
from tests.gateway.walking import arguments_of
from tests.stack.running import RunningStack, until

pytestmark = [pytest.mark.stack, pytest.mark.engine]

STDIO_SERVER = Path(__file__).parents[1] / "fakes" / "stdio_mcp.py"
USAGE = {"input_tokens": 1_000, "output_tokens": 100}
OF_ANOTHER = ToolUse(name="mcp__numbers__add", input={"a": 40, "b": 2})
NOTE = {"name": "release", "body": "Never on Fridays."}
WRITE = ToolUse(name="mcp__memory__memory_write", input=NOTE)
# A call that is held waits longer than this before it says so: the turn succeeds only if its deadline moves.
OWN_TIME_S = 45


def easiest(server: ToolServer) -> Tool[Any]:
    """Return the tool that needs least: one that reads, and asks for little."""
    return min(server.tools, key=lambda tool: (not tool.reads_only, len(arguments_of(tool))))


def make_agent(stack: RunningStack, servers: list[str]) -> str:
    """Make a Claude agent that has some servers."""
    fields = {"name": f"Caller {os.urandom(4).hex()}", "provider": "claude", "mcp_servers": servers}
    made = stack.http.post("/v1/agents", json=fields)
    assert made.status_code == 201, made.text
    return str(made.json()["id"])


def data_of(stack: RunningStack, task: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    """Return what the workspace's events of a kind say."""
    return [event["data"] for event in stack.events(task["workspace_id"]) if event["type"] == kind]


@pytest.fixture
def numbers(stack: RunningStack) -> Iterator[McpUpstream]:
    """Run a server of somebody else, which the organisation has registered as `numbers`."""
    with McpUpstream() as upstream:
        made = stack.http.post("/v1/mcp_servers", json={"name": "numbers", "url": upstream.url})
        assert made.status_code == 201, made.text
        yield upstream


def test_claude_reaches_every_server(
    stack: RunningStack, model_server: AnthropicServer, numbers: McpUpstream
):
    agent = make_agent(stack, [*(server.name for server in TOOL_SERVERS), "numbers"])
    uses = [
        ToolUse(name=f"mcp__{server.name}__{easiest(server).name}", input=arguments_of(easiest(server)))
        for server in TOOL_SERVERS
    ]
    uses.append(OF_ANOTHER)
    model_server.rules = [
        Rule(user="use them all", has_tool_result=False, usage=USAGE, tool_uses=uses),
        Rule(user="use them all", has_tool_result=True, text="All of them answer.", usage=USAGE),
    ]
    task = stack.wait(stack.submit("use them all", agent=agent)["id"], within_s=180)
    assert task["status"] == "succeeded", task
    called = {data["call_id"]: data["name"] for data in data_of(stack, task, "tool.called")}
    assert sorted(called.values()) == sorted(use.name for use in uses)
    returned = data_of(stack, task, "tool.returned")
    assert {row["call_id"] for row in returned} == set(called)
    for row in returned:
        # A server without a connected account says so in our own words; the CLI knows each of the tools.
        assert not row["is_error"] or ": " in row["output"], row
        assert "No such tool" not in row["output"], row
        assert "internal:" not in row["output"], row
    (answered,) = [row for row in returned if called[row["call_id"]] == OF_ANOTHER.name]
    assert (answered["is_error"], "42" in answered["output"]) == (False, True), answered
    asked_of_the_other(numbers, stack)


def asked_of_the_other(numbers: McpUpstream, stack: RunningStack) -> None:
    """Check that the other party was asked once, and told nothing that is ours."""
    seen = numbers.calls.all()
    (made,) = [call for call in seen if call.get("tool") not in (None, "tools/list")]
    assert (made["tool"], made["arguments"]) == ("add", OF_ANOTHER.input)
    heads = [call["headers"] for call in seen if "headers" in call]
    assert heads
    assert not any("authorization" in head for head in heads)
    for secret in ("swt_", "sw_", MODEL_KEY, stack.token):
        assert secret not in str(seen)


def test_claude_runs_a_registered_server_in_its_sandbox(stack: RunningStack, model_server: AnthropicServer):
    kept = stack.http.post("/v1/secrets", json={"name": "TOOLS_KEY", "value": "value-of-the-key"})
    assert kept.status_code == 201, kept.text
    program = {"command": "python3", "args": ["-c", STDIO_SERVER.read_text()], "allowed_tools": ["look"]}
    variables = {"env": {"MODE": "fast"}, "env_secrets": {"API_KEY": "TOOLS_KEY"}}
    made = stack.http.post(
        "/v1/mcp_servers", json={"name": "tools", "transport": "stdio", **program, **variables}
    )
    assert made.status_code == 201, made.text
    changed = stack.http.patch(
        f"/v1/agents/{stack.agents['claude']}", json={"mcp_servers": ["memory", "tools"]}
    )
    assert changed.status_code == 200, changed.text
    names = ["MODE", "API_KEY", "TOOLS_KEY"]
    uses = [ToolUse(name="mcp__tools__look", input={"names": names}), ToolUse(name="mcp__tools__quiet")]
    model_server.rules = [
        Rule(user="use your own", has_tool_result=False, usage=USAGE, tool_uses=uses),
        Rule(user="use your own", has_tool_result=True, text="It answers.", usage=USAGE),
    ]
    task = stack.wait(stack.submit("use your own", agent="claude")["id"], within_s=120)
    assert task["status"] == "succeeded", task
    events = stack.events(task["workspace_id"])
    returned = [event["data"] for event in events if event["type"] == "tool.returned"]
    look, quiet = sorted(returned, key=lambda row: row["is_error"])
    seen = json.loads(look["output"])
    assert seen["env"] == {"MODE": "fast", "API_KEY": "value-of-the-key", "TOOLS_KEY": None}
    assert quiet["is_error"], quiet
    assert "nothing to say" not in quiet["output"]
    query = {"task_id": task["id"], "kind": "upstream"}

    def on_record() -> list[tuple[str, str, str]]:
        calls = stack.http.get("/v1/calls", params=query).json()["items"]
        return sorted((call["server"], call["tool"], call["outcome"]) for call in calls)

    until(lambda: len(on_record()) == 2, within_s=10, what="what the sandbox says of its calls is on record")
    assert on_record() == [("tools", "(unknown)", "refused"), ("tools", "look", "ok")]


@pytest.fixture
def careful(stack: RunningStack) -> str:
    """Make an agent of which a person must allow each note."""
    agent = make_agent(stack, ["memory", "platform"])
    rule = {"effect": "hold", "tool": "memory.memory_write", "agent_id": agent}
    made = stack.http.post("/v1/approval_rules", json=rule)
    assert made.status_code == 201, made.text
    return agent


def test_a_held_call_waits_for_a_person_and_is_made_once(
    stack: RunningStack, model_server: AnthropicServer, careful: str
):
    asks = Rule(user="note it", has_tool_result=False, usage=USAGE, tool_uses=[WRITE])
    model_server.rules = [asks]
    task = stack.submit("note it", agent=careful, timeout_s=OWN_TIME_S)

    def pending() -> list[dict[str, Any]]:
        query = {"task_id": task["id"], "status": "pending"}
        return list(stack.http.get("/v1/approvals", params=query).json()["items"])

    (approval,) = until(pending, within_s=120, what="the call is held")
    waits = ToolUse(name="mcp__platform__approval_wait", input={"approval_id": approval["id"]})
    model_server.rules = [
        asks,
        Rule(user="note it", tool_result="approval_pending", usage=USAGE, tool_uses=[waits]),
        Rule(user="note it", tool_result="allowed and made", text="It is noted.", usage=USAGE),
    ]

    def calls() -> list[str]:
        return [data["name"] for data in data_of(stack, task, "tool.called")]

    until(lambda: waits.name in calls(), within_s=120, what="the agent waits for the decision")
    until(lambda: stack.task(task["id"])["status"] == "waiting", within_s=30, what="the clock stands still")
    assert notes_of(stack, careful) == []
    allowed = stack.http.post(f"/v1/approvals/{approval['id']}/decide", json={"decision": "allow"})
    assert (allowed.status_code, allowed.json()["status"]) == (200, "allowed"), allowed.text

    ended = stack.wait(task["id"], within_s=120)
    assert (ended["status"], ended["result"]["text"]) == ("succeeded", "It is noted."), ended
    assert calls() == [WRITE.name, waits.name]
    first, second = data_of(stack, task, "tool.returned")
    assert (first["is_error"], second["is_error"]) == (True, False), (first, second)
    assert approval["id"] in first["output"]
    assert notes_of(stack, careful) == [(NOTE["name"], NOTE["body"], 1)]
    assert stack.http.get(f"/v1/approvals/{approval['id']}").json()["call"]["state"] == "done"
    told = data_of(stack, task, "task.waiting")
    assert {(data["reason"], data["approval_id"]) for data in told} == {("approval", approval["id"])}
    started, finished = (datetime.fromisoformat(ended[name]) for name in ("started_at", "finished_at"))
    assert (finished - started).total_seconds() > OWN_TIME_S
    waited_s = data_of(stack, task, "task.resumed")[-1]["waited_ms"] / 1_000
    assert (finished - started).total_seconds() - waited_s < OWN_TIME_S


def notes_of(stack: RunningStack, agent: str) -> list[tuple[str, str, int]]:
    """Return an agent's notes, each with how often it was written."""
    found = stack.http.get("/v1/memories", params={"agent_id": agent}).json()["items"]
    return [(note["name"], note["body"], note["version"]) for note in found]
