"""The gateway dies while the model speaks: the turn goes on, what was done is not done again, the money is settled."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from tests.fakes.anthropic_server import AnthropicServer, Rule, ToolUse
from tests.fakes.mcp_upstream import McpUpstream
from tests.stack.running import Follower, RunningStack, registered, until

pytestmark = [pytest.mark.stack, pytest.mark.engine]

USAGE = {"input_tokens": 1_000, "output_tokens": 100}
ADD = ToolUse(name="mcp__sums__add", input={"a": 40, "b": 2})
ANSWER = " ".join(f"Sentence {number} of the answer." for number in range(1, 21))
SLOWLY_S = 0.25


@pytest.fixture
def sums(stack: RunningStack) -> Iterator[McpUpstream]:
    """Run a server of somebody else, which the organisation has registered as `sums`."""
    with registered(stack, "sums") as upstream:
        yield upstream


@pytest.fixture
def agent(stack: RunningStack, sums: McpUpstream) -> str:
    """Make a Claude agent that has the server."""
    fields = {"name": f"Speaker {os.urandom(4).hex()}", "provider": "claude", "mcp_servers": ["sums"]}
    made = stack.http.post("/v1/agents", json=fields)
    assert made.status_code == 201, made.text
    return str(made.json()["id"])


@pytest.fixture
def budget(stack: RunningStack, agent: str) -> str:
    """Limit what the agent may cost in a day."""
    limit = {"level": "agent", "period": "day", "subject_id": agent, "limit_microusd": 50_000_000}
    made = stack.http.put("/v1/budgets", json=limit)
    assert made.status_code == 200, made.text
    return f"/v1/budgets/{made.json()['id']}"


def test_a_gateway_killed_while_the_model_speaks_costs_the_turn_nothing(
    stack: RunningStack, model_server: AnthropicServer, sums: McpUpstream, agent: str, budget: str
):
    asks = Rule(user="add and tell", has_tool_result=False, usage=USAGE, tool_uses=[ADD])
    tells = Rule(user="add and tell", has_tool_result=True, text=ANSWER, usage=USAGE)
    model_server.rules = [asks, tells.model_copy(update={"piece_delay_s": SLOWLY_S})]
    task = stack.submit("add and tell", agent=agent)
    follower = Follower(stack, task["workspace_id"])
    until(lambda: "Sentence 2" in heard(follower), within_s=120, what="the model speaks")
    old = stack.kill("gateway")
    model_server.rules = [asks, tells]
    stack.wait_restarted("gateway", old)
    ends_whole(stack, task, sums)
    follower.stop()
    settled_in_the_end(stack, task["id"], budget)


def test_what_was_called_in_the_stream_that_broke_is_not_called_again(
    stack: RunningStack, model_server: AnthropicServer, sums: McpUpstream, agent: str
):
    """The CLI calls a tool as soon as its part of the message is whole, while others are still being said."""
    long = ToolUse(name="Bash", input={"command": f"echo {'x' * 1_000}"})
    asks = Rule(user="add and tell", has_tool_result=False, usage=USAGE, tool_uses=[ADD, long])
    tells = Rule(user="add and tell", has_tool_result=True, text=ANSWER, usage=USAGE)
    model_server.rules = [asks.model_copy(update={"piece_delay_s": SLOWLY_S}), tells]
    task = stack.submit("add and tell", agent=agent)
    follower = Follower(stack, task["workspace_id"])
    follower.wait_for("tool.returned", within_s=120)
    follower.stop()
    old = stack.kill("gateway")
    model_server.rules = [asks, tells]
    stack.wait_restarted("gateway", old)
    ends_whole(stack, task, sums)


def ends_whole(stack: RunningStack, task: dict[str, Any], sums: McpUpstream) -> None:
    """Check that the turn succeeds with the whole answer, said once, and that its one tool ran once."""
    ended = stack.wait(task["id"], within_s=180)
    assert (ended["status"], ended["error"]) == ("succeeded", None), ended
    assert ended["result"]["text"] == ANSWER
    stored = stack.events(ended["workspace_id"])
    assert [event["seq"] for event in stored] == list(range(1, len(stored) + 1))
    said = [event["data"]["text"] for event in stored if event["type"] == "message.created"]
    assert said == ["add and tell", ANSWER]
    names = [event["type"] for event in stored]
    assert (names.count("tool.called"), names.count("tool.returned"), names.count("turn.done")) == (1, 1, 1)
    assert [call["arguments"] for call in sums.calls.all() if call.get("tool") == "add"] == [ADD.input]


def settled_in_the_end(stack: RunningStack, task_id: str, budget: str) -> None:
    """Check that only the broken call's money is held, and that it is settled at its estimate once nobody can live."""
    broken, others = split(calls_of(stack, task_id))
    assert (len(broken), len(others)) == (1, 2)
    ((record_id, estimate, _),) = broken
    spent = sum(cost for _, _, cost in others)
    shown = stack.http.get(budget).json()
    assert (shown["reserved_microusd"], shown["spent_microusd"]) == (estimate, spent)
    stack.operate(
        "UPDATE usage_record SET created_at = now() - interval '31 minutes' WHERE id = %s RETURNING id",
        [record_id],
    )
    until(lambda: not split(calls_of(stack, task_id))[0], within_s=60, what="the broken call is settled")
    shown = stack.http.get(budget).json()
    assert (shown["reserved_microusd"], shown["spent_microusd"]) == (0, spent + estimate)


def calls_of(stack: RunningStack, task_id: str) -> list[Any]:
    """Return a task's model calls: id, what was set aside, what it cost."""
    query = "SELECT id, reserved_microusd, cost_microusd FROM usage_record WHERE task_id = %s"
    return [tuple(row.values()) for row in stack.operate(query, [task_id])]


def split(calls: list[Any]) -> tuple[list[Any], list[Any]]:
    """Return the calls that are not settled, and those that are."""
    return [call for call in calls if call[2] is None], [call for call in calls if call[2] is not None]


def heard(follower: Follower) -> str:
    """Return what the follower has heard of the answer."""
    return "".join(event["data"]["text"] for event in follower.live if event["type"] == "text.delta")
