"""The real Codex agent in its container, against a local model server: a command, memory, an answer, a bill."""

from __future__ import annotations

import pytest

from tests.conftest import MODEL_KEY
from tests.fakes.anthropic_server import Rule, ToolUse
from tests.fakes.openai_server import OpenaiServer
from tests.stack.running import RunningStack, registered

pytestmark = [pytest.mark.stack, pytest.mark.engine]

USAGE = {"input_tokens": 1_000, "output_tokens": 100}
MODEL = "gpt-5.1-codex"


def test_codex_runs_a_command_remembers_and_answers(stack: RunningStack, openai_server: OpenaiServer):
    openai_server.rules = [
        Rule(
            user="find out",
            has_tool_result=False,
            usage=USAGE,
            tool_uses=[ToolUse(name="exec_command", input={"cmd": "echo uid=$(id -u)"})],
        ),
        Rule(
            user="find out",
            tool_result="uid=10001",
            usage=USAGE,
            tool_uses=[
                ToolUse(name="mcp__memory__memory_write", input={"name": "codex", "body": "I run as 10001."})
            ],
        ),
        Rule(user="find out", has_tool_result=True, text="You run as 10001.", usage=USAGE),
    ]
    task = stack.submit("Please find out who I am.", agent="codex", model=MODEL)
    task = stack.wait(task["id"], within_s=150)
    assert task["status"] == "succeeded", task
    assert task["result"]["text"] == "You run as 10001."
    events = stack.events(task["workspace_id"])
    called = [event["data"]["name"] for event in events if event["type"] == "tool.called"]
    assert called == ["Bash", "mcp__memory__memory_write"]
    usage = task["result"]["usage"]
    assert (usage["input_tokens"], usage["output_tokens"]) == (3_000, 300)
    assert usage["cost_microusd"] == 3 * (1_250 + 1_000)
    memories = stack.http.get("/v1/memories").json()["items"]
    assert [memory["body"] for memory in memories if memory["name"] == "codex"] == ["I run as 10001."]
    assert {request["headers"]["authorization"] for request in openai_server.requests} == {
        f"Bearer {MODEL_KEY}"
    }


@pytest.mark.parametrize(("provider", "tool"), [("codex", "mcp__adder__add"), ("opencode", "adder_add")])
def test_a_registered_server_is_called_through_the_gateway(
    stack: RunningStack, openai_server: OpenaiServer, provider: str, tool: str
):
    with registered(stack, "adder") as upstream:
        fields = {
            "name": f"Adder {provider}",
            "provider": provider,
            "model": MODEL,
            "mcp_servers": ["adder"],
        }
        agent = stack.http.post("/v1/agents", json=fields)
        assert agent.status_code == 201, agent.text
        openai_server.rules = [
            Rule(
                user="add them",
                has_tool_result=False,
                usage=USAGE,
                tool_uses=[ToolUse(name=tool, input={"a": 40, "b": 2})],
            ),
            Rule(user="add them", tool_result="42", text="It is 42.", usage=USAGE),
        ]
        task = stack.wait(stack.submit("add them", agent=agent.json()["id"])["id"], within_s=150)
    assert (task["status"], task["result"]["text"]) == ("succeeded", "It is 42."), task
    made = [call["arguments"] for call in upstream.calls.all() if call.get("tool") == "add"]
    assert made == [{"a": 40, "b": 2}]
