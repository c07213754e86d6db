"""The real Claude agent in its container, against a local model server: Bash, memory over MCP, an answer, a bill."""

from __future__ import annotations

import pytest

from tests.conftest import MODEL_KEY
from tests.fakes.anthropic_server import AnthropicServer, Rule, ToolUse
from tests.stack.running import RunningStack

pytestmark = [pytest.mark.stack, pytest.mark.engine]

USAGE = {"input_tokens": 1_000, "output_tokens": 100}


def test_claude_calls_bash_and_memory_and_answers(stack: RunningStack, model_server: AnthropicServer):
    model_server.rules = [
        Rule(
            user="find out",
            has_tool_result=False,
            usage=USAGE,
            text="Let me look.",
            tool_uses=[ToolUse(name="Bash", input={"command": "echo uid=$(id -u) > who.txt; cat who.txt"})],
        ),
        Rule(
            user="find out",
            tool_result="uid=10001",
            usage=USAGE,
            tool_uses=[
                ToolUse(name="mcp__memory__memory_write", input={"name": "who", "body": "I run as 10001."})
            ],
        ),
        Rule(
            user="find out",
            has_tool_result=True,
            text="You run as 10001, and I will remember it.",
            usage=USAGE,
        ),
    ]
    task = stack.wait(stack.submit("Please find out who I am.", agent="claude")["id"], within_s=120)
    assert task["status"] == "succeeded", task
    assert "10001" in task["result"]["text"]
    events = stack.events(task["workspace_id"])
    called = [event["data"]["name"] for event in events if event["type"] == "tool.called"]
    assert called == ["Bash", "mcp__memory__memory_write"]
    assert all(not event["data"]["is_error"] for event in events if event["type"] == "tool.returned")
    assert task["result"]["usage"]["input_tokens"] >= 3_000
    assert task["result"]["usage"]["cost_microusd"] > 0
    memories = stack.http.get("/v1/memories").json()["items"]
    assert [memory["body"] for memory in memories if memory["name"] == "who"] == ["I run as 10001."]


def test_the_real_key_is_added_on_the_way_out_and_never_enters_the_container(
    stack: RunningStack, model_server: AnthropicServer
):
    model_server.rules = [
        Rule(
            user="look around",
            has_tool_result=False,
            usage=USAGE,
            tool_uses=[
                ToolUse(
                    name="Bash",
                    input={
                        "command": "(env; cat /proc/*/environ | tr '\\0' '\\n') 2>/dev/null"
                        f" | grep -c '{MODEL_KEY}'; true"
                    },
                )
            ],
        ),
        Rule(user="look around", has_tool_result=True, text="Nothing there.", usage=USAGE),
    ]
    task = stack.wait(stack.submit("look around", agent="claude")["id"], within_s=120)
    events = stack.events(task["workspace_id"])
    (output,) = [event["data"]["output"] for event in events if event["type"] == "tool.returned"]
    assert output.strip().splitlines()[0] == "0"
    sent = [request["headers"].get("x-api-key") for request in model_server.requests]
    assert set(sent) == {MODEL_KEY}


def test_a_second_turn_knows_the_first_in_another_container(
    stack: RunningStack, model_server: AnthropicServer
):
    model_server.rules = [
        Rule(user="my name is Ada", text="Hello Ada.", usage=USAGE),
        Rule(user="what is my name", text="Ada.", usage=USAGE),
    ]
    changed = stack.http.patch(f"/v1/agents/{stack.agents['claude']}", json={"idle_stop_s": 0})
    assert changed.status_code == 200, changed.text
    first = stack.wait(stack.submit("my name is Ada", agent="claude")["id"], within_s=120)
    stack.wait_stopped(first["workspace_id"])
    model_server.requests.clear()
    second = stack.submit("what is my name?", workspace_id=first["workspace_id"])
    assert "Ada" in stack.wait(second["id"], within_s=120)["result"]["text"]
    history = str(model_server.message_calls()[-1]["messages"])
    assert "my name is Ada" in history
    assert "Hello Ada." in history
