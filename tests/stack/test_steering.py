"""Messages to a task at work, through the whole product: taken in mid-turn, or made the next turn."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.stack.running import RunningStack, until

pytestmark = [pytest.mark.stack, pytest.mark.engine]


@pytest.fixture(scope="module")
def scripted(stack: RunningStack) -> str:
    made = stack.http.post("/v1/agents", json={"name": "Scripted", "provider": "scripted"})
    assert made.status_code == 201, made.text
    return str(made.json()["id"])


def say(stack: RunningStack, task: dict[str, Any], text: str) -> str:
    answer = stack.http.post(f"/v1/tasks/{task['id']}/messages", json={"text": text})
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def test_a_message_reaches_the_turn_at_work_and_is_acknowledged_at_its_end(
    stack: RunningStack, scripted: str
):
    steps = [{"wait_message": True}, {"wait_message": True}]
    task = stack.submit(json.dumps(steps), agent=scripted)
    first = say(stack, task, "early")
    until(lambda: stack.task(task["id"])["status"] == "running", within_s=60, what="the turn runs")
    second = say(stack, task, "late")
    ended = stack.wait(task["id"])
    assert (ended["status"], ended["result"]["text"]) == ("succeeded", "early\nlate"), ended
    events = stack.events(task["workspace_id"])
    assert [e["data"]["id"] for e in events if e["type"] == "message.consumed"] == [first, second]
    settled = [e["data"] for e in events if e["type"] == "message.settled"]
    assert [(data["id"], data["state"]) for data in settled] == [(first, "taken"), (second, "taken")]


def test_what_a_turn_did_not_take_is_the_next_turns_prompt(stack: RunningStack, scripted: str):
    task = stack.submit(json.dumps([{"hang": True}]), agent=scripted, timeout_s=2)
    say(stack, task, "are you there?")
    assert stack.wait(task["id"])["status"] == "expired"

    def moved() -> str | None:
        events = stack.events(task["workspace_id"])
        found = [e["data"].get("moved_to") for e in events if e["type"] == "message.settled"]
        return found[0] if found else None

    following = stack.wait(until(moved, within_s=60, what="the message becomes a task"))
    assert (following["source"], following["prompt"]) == ("message", "are you there?")
    assert (following["status"], following["result"]["text"]) == ("succeeded", "are you there?")
