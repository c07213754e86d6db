"""Does what its prompt says, step by step.

Shape: a JSON list of objects with one key each. A prompt that is not such a list is its own answer.

- `{"event": [type, data]}` sends a durable event, `{"live": [type, data]}` a live one
- `{"delay_s": 0.1}`, `{"wait_file": "path"}` waits until it exists, `{"hang": true}` until interrupted
- `{"wait_message": true}` waits for a follow-up and consumes it
- `{"repeat": [n, steps]}`
- `{"finish": "text"}`, `{"fail": [code, message]}`, `{"crash": "message"}` end the turn
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from agent_image.runner.turn import Failure, Outcome, Turn, TurnEvents, Usage

_POLL_S = 0.01


class ScriptedProvider:
    def __init__(self) -> None:
        self._interrupted = asyncio.Event()
        self._heard: list[str] = []

    async def run(self, turn: Turn, events: TurnEvents) -> Outcome:
        try:
            steps = json.loads(turn.prompt)
        except ValueError:
            steps = None
        if not isinstance(steps, list):
            await events.message_created(turn.prompt)
            return Outcome(text=turn.prompt, usage=Usage())
        outcome = await self._do_all(steps, events)
        return outcome or Outcome(text="\n".join(self._heard) or "done", usage=Usage())

    async def interrupt(self, grace_s: float) -> None:
        self._interrupted.set()

    async def _do_all(self, steps: list[Any], events: TurnEvents) -> Outcome | None:
        for step in steps:
            outcome = await self._do(step, events)
            if outcome is not None or self._interrupted.is_set():
                return outcome or Outcome(text="interrupted")
        return None

    async def _do(self, step: Mapping[str, Any], events: TurnEvents) -> Outcome | None:
        ((kind, argument),) = step.items()
        match kind:
            case "event" if argument[0] == "tool.called":
                await events.tool_called(argument[1]["call_id"], argument[1]["name"], argument[1]["input"])
            case "event":
                await events.emit(argument[0], argument[1])
            case "live":
                _send_live(events, argument[0], argument[1])
            case "delay_s":
                await self._wait_interruptibly(asyncio.sleep(argument))
            case "wait_message":
                await self._wait_interruptibly(self._hear(events))
            case "wait_file":
                await self._wait_interruptibly(_wait_for_file(Path(argument)))
            case "hang":
                await self._interrupted.wait()
            case "repeat":
                for _ in range(argument[0]):
                    if outcome := await self._do_all(argument[1], events):
                        return outcome
            case "fail":
                return Outcome(failure=Failure(argument[0], argument[1]))
            case "finish":
                return Outcome(text=argument, usage=Usage(10, 5, 0.001))
            case _:
                raise RuntimeError(argument if kind == "crash" else f"unknown step {kind!r}")
        return None

    async def _hear(self, events: TurnEvents) -> None:
        message = await events.next_message()
        self._heard.append(message.text)
        await events.message_consumed(message)

    async def _wait_interruptibly(self, work: Any) -> None:
        working = asyncio.ensure_future(work)
        stopping = asyncio.ensure_future(self._interrupted.wait())
        await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
        for task in (working, stopping):
            if not task.done():
                task.cancel()
        if working.done() and not working.cancelled():
            working.result()


async def _wait_for_file(path: Path) -> None:
    while not path.exists():  # noqa: ASYNC110, ASYNC240 (nothing announces a file)
        await asyncio.sleep(_POLL_S)


def _send_live(events: TurnEvents, kind: str, payload: Mapping[str, Any]) -> None:
    senders: dict[str, Callable[[], None]] = {
        "text.delta": lambda: events.text_delta(payload["text"]),
        "reasoning.delta": lambda: events.reasoning_delta(payload["text"]),
        "tool.output": lambda: events.tool_output(payload["call_id"], payload["text"]),
        "typing": events.typing,
    }
    senders[kind]()
