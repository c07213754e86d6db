"""The real Claude agent in its container calls one tool of every server of ours, and of one that it runs itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from services.mcp_gateway.http import TOOL_SERVERS
from services.mcp_gateway.mcp_servers.tools import Tool, ToolServer
from tests.fakes.anthropic_server import AnthropicServer, Rule, ToolUse
from tests.gateway.walking import arguments_of
from tests.stack.running import RunningStack

pytestmark = [pytest.mark.stack, pytest.mark.engine]

STDIO_SERVER = Path(__file__).parents[1] / "fakes" / "stdio_mcp.py"
USAGE = {"input_tokens": 1_000, "output_tokens": 100}


def easiest(server: ToolServer) -> Tool[Any]:
    """Return the tool that needs least: one that reads, and asks for little."""
    return min(server.tools, key=lambda tool: (not tool.reads_only, len(arguments_of(tool))))


def test_claude_reaches_every_server(stack: RunningStack, model_server: AnthropicServer):
    names = [server.name for server in TOOL_SERVERS]
    changed = stack.http.patch(f"/v1/agents/{stack.agents['claude']}", json={"mcp_servers": names})
    assert changed.status_code == 200, changed.text
    uses = [
        ToolUse(name=f"mcp__{server.name}__{easiest(server).name}", input=arguments_of(easiest(server)))
        for server in TOOL_SERVERS
    ]
    model_server.rules = [
        Rule(user="use them all", has_tool_result=False, usage=USAGE, tool_uses=uses),
        Rule(user="use them all", has_tool_result=True, text="All of them answer.", usage=USAGE),
    ]
    task = stack.wait(stack.submit("use them all", agent="claude")["id"], within_s=180)
    assert task["status"] == "succeeded", task
    events = stack.events(task["workspace_id"])
    called = {
        event["data"]["call_id"]: event["data"]["name"] for event in events if event["type"] == "tool.called"
    }
    assert sorted(called.values()) == sorted(use.name for use in uses)
    returned = [event["data"] for event in events if event["type"] == "tool.returned"]
    assert {row["call_id"] for row in returned} == set(called)
    for row in returned:
        # A server without a connected account says so in our own words; the CLI knows each of the tools.
        assert not row["is_error"] or ": " in row["output"], row
        assert "No such tool" not in row["output"], row
        assert "internal:" not in row["output"], row


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
