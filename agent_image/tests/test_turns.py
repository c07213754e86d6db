"""Turns, seen from the gateway: one at a time, each ended exactly once, with the status that it deserves."""

from __future__ import annotations

import json
import os
import time
import uuid
from typing import Any

import pytest

from agent_image.runner.runner import MAX_FINISHED, Runner
from tests.fakes.gateway_link import FakeGateway

HANG = json.dumps([{"hang": True}])


async def start_hanging(gateway: FakeGateway, **fields: Any) -> str:
    turn = await gateway.send_turn("scripted", HANG, **fields)
    await gateway.wait_for("turn.started", turn=turn)
    return turn


async def test_a_repeated_turn_is_worked_on_once(runner: Runner, gateway: FakeGateway) -> None:
    turn = str(uuid.uuid4())
    for _ in range(3):
        await gateway.send_turn("scripted", '[{"delay_s": 0.05}]', turn=turn)
    await gateway.wait_done(turn)
    await gateway.send_turn("scripted", "again", turn=turn)
    await gateway.run_turn("scripted", "another")
    assert [event["type"] for event in gateway.of_turn(turn)] == ["turn.started", "turn.done"]


async def test_a_second_turn_at_once_is_refused(runner: Runner, gateway: FakeGateway) -> None:
    first = await start_hanging(gateway)
    second = await gateway.run_turn("scripted", "me too")
    assert (second["status"], second["error"]["code"]) == ("failed", "input_invalid")
    assert not gateway.of_turn(first, "turn.done")


async def test_hello_names_the_turn_at_work_and_the_last_finished_ones(
    runner: Runner, gateway: FakeGateway
) -> None:
    finished = []
    for _ in range(MAX_FINISHED + 5):
        finished.append(await gateway.send_turn("nothing_of_this_name", ""))
        await gateway.wait_done(finished[-1])
    turn = await start_hanging(gateway)
    await gateway.cut()
    await gateway.wait_until(lambda: len(gateway.hellos) == 2, "second hello")
    assert gateway.hellos[1]["turn"] == turn
    assert gateway.hellos[1]["finished"] == finished[-MAX_FINISHED:]


@pytest.mark.parametrize(
    ("reason", "status", "code"), [("cancelled",) * 3, ("expired", "expired", "timeout")]
)
async def test_a_cancelled_turn_ends_with_the_status_that_was_asked_for(
    runner: Runner, gateway: FakeGateway, reason: str, status: str, code: str
) -> None:
    turn = await start_hanging(gateway)
    started = time.monotonic()
    await gateway.send({"op": "cancel", "turn": turn, "reason": reason})
    done = await gateway.wait_done(turn)
    assert (done["status"], done["error"]["code"], done["text"]) == (status, code, "interrupted")
    assert time.monotonic() - started < 5


async def test_a_turn_that_takes_too_long_expires(runner: Runner, gateway: FakeGateway) -> None:
    done = await gateway.run_turn("scripted", HANG, timeout_s=0.1)
    assert (done["status"], done["error"]["code"]) == ("expired", "timeout")


async def test_a_turns_time_is_never_less_than_it_was_given(runner: Runner, gateway: FakeGateway) -> None:
    turn = await start_hanging(gateway, timeout_s=0.5)
    for timeout_s in (60, "soon", None, True, -1):
        await gateway.send({"op": "extend", "turn": turn, "timeout_s": timeout_s})
    began = time.monotonic()
    done = await gateway.wait_done(turn)
    assert (done["status"], time.monotonic() - began < 5) == ("expired", True)


async def test_a_stopped_sandbox_ends_its_turn(runner: Runner, gateway: FakeGateway) -> None:
    turn = await start_hanging(gateway)
    await runner.stop()
    done = await gateway.wait_done(turn)
    assert (done["status"], done["error"]["code"]) == ("failed", "sandbox_stopped")


async def test_a_follow_up_reaches_the_provider_once(runner: Runner, gateway: FakeGateway) -> None:
    steps = '[{"wait_message": true}, {"wait_message": true}]'
    turn = await gateway.send_turn("scripted", steps)
    for message in ("m1", "m1", "m2"):
        await gateway.send({"op": "message", "turn": turn, "id": message, "text": f"text of {message}"})
    done = await gateway.wait_done(turn)
    consumed = [event["data"]["id"] for event in gateway.of_turn(turn, "message.consumed")]
    assert consumed == ["m1", "m2"]
    assert done["text"] == "text of m1\ntext of m2"


async def test_a_follow_up_to_a_turn_that_is_over_is_not_consumed(
    runner: Runner, gateway: FakeGateway
) -> None:
    turn = await gateway.send_turn("scripted", "hi")
    await gateway.wait_done(turn)
    await gateway.send({"op": "message", "turn": turn, "id": "m1", "text": "late"})
    await gateway.run_turn("scripted", "next")
    assert not [event for event in gateway.events if event["type"] == "message.consumed"]


@pytest.mark.parametrize("name", ["nothing_of_this_name", "../shell", "", "Shell", "claude"])
async def test_an_unknown_provider_is_said_to_be_unknown(
    runner: Runner, gateway: FakeGateway, name: str
) -> None:
    done = await gateway.run_turn(name, "hi")  # claude: its packages are in the image only
    assert (done["status"], done["error"]["code"]) == ("failed", "provider_unknown")


async def test_a_crash_shows_its_message_and_no_traceback(runner: Runner, gateway: FakeGateway) -> None:
    done = await gateway.run_turn("scripted", '[{"crash": "no more memory"}]')
    assert done["error"] == {"code": "provider_crashed", "message": "RuntimeError: no more memory"}
    assert "Traceback" not in json.dumps(gateway.events)
    assert (await gateway.run_turn("scripted", "still here"))["status"] == "succeeded"


@pytest.mark.parametrize(
    "fields",
    [
        {"prompt": None},
        {"env": {"A=B": "c"}},
        {"env": {"A": 1}},
        {"env": ["A"]},
        {"mcp": [{"name": "x"}]},
        {"llm": {"kind": "anthropic"}},
        {"timeout_s": "soon"},
    ],
)
async def test_a_turn_of_the_wrong_form_is_invalid(
    runner: Runner, gateway: FakeGateway, fields: dict[str, Any]
) -> None:
    done = await gateway.run_turn("scripted", **{"prompt": "hi", **fields})
    assert (done["status"], done["error"]["code"]) == ("failed", "input_invalid")


async def test_a_turn_that_fails_on_a_full_disk_says_so(
    runner: Runner, gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = os.statvfs_result((4096, 4096, 1000, 9, 9, 100, 50, 50, 0, 255))
    monkeypatch.setattr("agent_image.runner.workspace.os.statvfs", lambda _folder: full)
    done = await gateway.run_turn("shell", "echo x; exit 1")
    assert (done["status"], done["error"]["code"]) == ("failed", "disk_full")
    done = await gateway.run_turn("shell", "true")
    assert done["status"] == "succeeded"
