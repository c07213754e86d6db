"""The link of docs/link.md, seen from the runner: nothing durable is lost or doubled, whatever breaks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from agent_image.runner.journal import Journal
from agent_image.runner.runner import Runner
from agent_image.tests.conftest import StartRunner
from tests.fakes.gateway_link import FakeGateway, serve_gateway


def script(*steps: Any) -> str:
    return json.dumps(list(steps))


def said(text: str) -> dict[str, Any]:
    return {"event": ["message.created", {"role": "assistant", "text": text}]}


TALK = script(said("a"), {"live": ["text.delta", {"text": "b"}]}, said("b"), said("c"), {"finish": "c"})
TALK_TYPES = ["turn.started", "message.created", "message.created", "message.created", "turn.done"]


def types_of(gateway: FakeGateway, turn: str) -> list[str]:
    return [event["type"] for event in gateway.of_turn(turn)]


async def test_a_turn_is_started_told_and_done_in_order(runner: Runner, gateway: FakeGateway) -> None:
    turn = await gateway.send_turn("scripted", TALK)
    done = await gateway.wait_done(turn)
    assert types_of(gateway, turn) == TALK_TYPES
    assert [event["n"] for event in gateway.events] == [1, 2, 3, 4, 5]
    assert done == {
        "status": "succeeded",
        "text": "c",
        "error": None,
        "usage": {"input_tokens": 10, "output_tokens": 5, "cost_usd": 0.001},
        "turns": 1,
        "tool_calls": 0,
    }


async def test_the_first_frame_is_a_hello_that_tells_what_is_held(
    runner: Runner, gateway: FakeGateway
) -> None:
    expected = {
        "op": "hello",
        "protocol": 1,
        "journal": runner.journal.id,
        "oldest": 1,
        "turn": None,
        "finished": [],
    }
    assert gateway.hellos == [expected]


@pytest.mark.parametrize("frame", range(1, 9))
async def test_a_cut_after_any_frame_loses_and_repeats_nothing(
    start_runner: StartRunner, gateway: FakeGateway, frame: int
) -> None:
    gateway.cut_after = lambda count: count == frame
    start_runner()
    turn = await gateway.send_turn("scripted", TALK)
    await gateway.wait_done(turn)
    assert types_of(gateway, turn) == TALK_TYPES
    assert [event["n"] for event in gateway.events] == [1, 2, 3, 4, 5]


async def test_a_link_that_is_cut_after_each_event_still_brings_all(
    start_runner: StartRunner, gateway: FakeGateway
) -> None:
    gateway.cut_after = lambda count: count > 1 and count % 2 == 0
    start_runner()
    turn = await gateway.send_turn("scripted", script(*(said(str(n)) for n in range(6))))
    await gateway.wait_done(turn)
    assert [event["n"] for event in gateway.events] == list(range(1, 9))
    assert len(gateway.hellos) > 4


async def test_what_was_not_acknowledged_is_sent_again(runner: Runner, gateway: FakeGateway) -> None:
    gateway.is_acking = False
    turn = await gateway.send_turn("scripted", TALK)
    await gateway.wait_done(turn)
    gateway.acked.clear()  # a gateway that stored nothing before it died
    first, gateway.events = gateway.events, []
    await gateway.cut()
    gateway.is_acking = True
    await gateway.wait_done(turn)
    assert gateway.events == first
    assert gateway.hellos[-1]["oldest"] == 1
    assert gateway.hellos[-1]["finished"] == [turn]


async def test_what_the_welcome_acknowledges_is_not_sent_again(runner: Runner, gateway: FakeGateway) -> None:
    gateway.is_acking = False
    await gateway.run_turn("scripted", TALK)
    await gateway.cut()
    await gateway.run_turn("scripted", TALK)
    assert gateway.repeats == 0
    assert runner.journal.oldest == 6


async def test_work_goes_on_while_the_gateway_is_away(
    start_runner: StartRunner, socket_folder: Path, workspace: Path
) -> None:
    gateway = FakeGateway()
    runner = start_runner()
    async with serve_gateway(socket_folder / "gw.sock", gateway):
        steps = (said("before"), {"wait_file": str(workspace / "go")}, said("after"))
        turn = await gateway.send_turn("scripted", script(*steps))
        await gateway.wait_for("message.created")
    (workspace / "go").touch()
    async with serve_gateway(socket_folder / "gw.sock", gateway):
        await gateway.wait_done(turn)
    assert [event["n"] for event in gateway.events] == [1, 2, 3, 4]
    assert {hello["journal"] for hello in gateway.hellos} == {runner.journal.id}


async def test_live_events_come_before_what_is_sent_after_them(runner: Runner, gateway: FakeGateway) -> None:
    turn = await gateway.send_turn("scripted", TALK)
    await gateway.wait_done(turn)
    assert gateway.live == [{"op": "live", "turn": turn, "type": "text.delta", "data": {"text": "b"}}]


async def test_a_silent_gateway_is_left_for_a_new_connection(
    start_runner: StartRunner, gateway: FakeGateway
) -> None:
    start_runner(silence_s=0.2)
    await gateway.wait_until(lambda: len(gateway.hellos) >= 2, "second hello")


async def test_a_ping_is_answered(runner: Runner, gateway: FakeGateway) -> None:
    await gateway.send({"op": "ping"})
    await gateway.wait_until(lambda: gateway.pongs == 1, "pong")


async def test_frames_that_mean_nothing_are_ignored(runner: Runner, gateway: FakeGateway) -> None:
    await gateway.send({"op": "nonsense", "turn": 7})
    await gateway.send({"op": "ack", "n": "many"})
    await gateway.send({"op": "ack", "n": 1_000})
    await gateway.send({"op": "turn", "turn": 12})
    await gateway.send({"op": "cancel", "turn": "of another life"})
    assert gateway.socket is not None
    for text in ("not json", "[]", "7"):
        await gateway.socket.send_text(text)
    assert (await gateway.run_turn("scripted", TALK))["status"] == "succeeded"
    assert len(gateway.hellos) == 1


async def test_a_full_journal_holds_the_provider_back(
    start_runner: StartRunner, gateway: FakeGateway
) -> None:
    gateway.is_acking = False
    runner = start_runner(journal=Journal(max_entries=20))
    turn = await gateway.send_turn("scripted", script({"repeat": [100, [said("x")]]}))
    await gateway.wait_until(lambda: len(gateway.events) == 20, "20 events")
    await gateway.send({"op": "ping"})
    await gateway.wait_until(lambda: gateway.pongs == 1, "pong")
    assert runner.journal.is_full
    assert len(gateway.events) == 20
    await gateway.acknowledge()
    await gateway.wait_done(turn)
    assert [event["n"] for event in gateway.events] == list(range(1, 103))


async def test_a_full_journal_of_bytes_holds_the_provider_back(
    start_runner: StartRunner, gateway: FakeGateway
) -> None:
    gateway.is_acking = False
    runner = start_runner(journal=Journal(max_bytes=50_000))
    turn = await gateway.send_turn("scripted", script({"repeat": [20, [said("x" * 10_000)]]}))
    await gateway.wait_until(lambda: runner.journal.is_full, "full journal")
    await gateway.acknowledge()
    await gateway.wait_done(turn)
    assert len(gateway.of_turn(turn)) == 22


async def test_a_stopped_runner_does_not_wait_for_a_full_journal(
    start_runner: StartRunner, gateway: FakeGateway
) -> None:
    gateway.is_acking = False
    runner = start_runner(journal=Journal(max_entries=5))
    turn = await gateway.send_turn("scripted", script({"repeat": [100, [said("x")]]}))
    await gateway.wait_until(lambda: len(gateway.events) == 5, "5 events")
    await runner.stop(flush_s=0.05)
    done = await gateway.wait_done(turn)
    assert (done["status"], done["error"]["code"]) == ("failed", "sandbox_stopped")


@pytest.mark.parametrize("letter", ["x", "\x01", "\U0001f600", "\udc80"])
async def test_a_frame_never_exceeds_a_mebibyte(runner: Runner, gateway: FakeGateway, letter: str) -> None:
    long = letter * 1_200_000
    await gateway.run_turn(
        "scripted", script({"event": ["message.created", {"role": "assistant", "text": long}]})
    )
    event = await gateway.wait_for("message.created")
    assert len(json.dumps(event, ensure_ascii=False).encode("utf-8", "replace")) < 1024 * 1024
    assert "characters left out" in event["data"]["text"]


async def test_nul_is_replaced_because_no_store_takes_it(runner: Runner, gateway: FakeGateway) -> None:
    await gateway.run_turn("scripted", script(said("a\0b")))
    assert (await gateway.wait_for("message.created"))["data"]["text"] == "a\ufffdb"
