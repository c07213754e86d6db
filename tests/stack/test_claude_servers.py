"""The real Claude agent in its container calls one tool of every server of ours."""

from __future__ import annotations

from typing import Any

import pytest

from services.mcp_gateway.http import TOOL_SERVERS
from services.mcp_gateway.mcp_servers.tools import Tool, ToolServer
from tests.fakes.anthropic_server import AnthropicServer, Rule, ToolUse
from tests.gateway.walking import arguments_of
from tests.stack.running import RunningStack

pytestmark = [pytest.mark.stack, pytest.mark.engine]

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
