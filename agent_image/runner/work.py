"""One turn at work: runs the provider, and ends the turn exactly once whatever becomes of it."""

from __future__ import annotations

import asyncio
import sys
import time
import traceback
from collections.abc import Awaitable, Callable, Mapping
from enum import StrEnum
from typing import Any

from agent_image.runner import text
from agent_image.runner.journal import Journal
from agent_image.runner.link import Link
from agent_image.runner.skills import write_skills
from agent_image.runner.turn import Failure, FollowUp, Outcome, Provider, ProviderUnknown, Turn
from agent_image.runner.workspace import is_disk_full, workspace_folder

INTERRUPT_S = 3.0  # what a provider gets to stop by itself
FORCE_S = 1.0  # what it gets after that; both together stay below the five seconds of the protocol
STOP_INTERRUPT_S = 0.3  # the same when the whole sandbox stops: an engine waits two seconds
STOP_FORCE_S = 0.3

MOST_S = 8 * 86_400.0  # a day of work at most, and what it may wait for people; anything longer is a mistake

ProviderOpener = Callable[[str], Provider]


class StopReason(StrEnum):
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    TIMEOUT = "timeout"
    SANDBOX_STOPPED = "sandbox_stopped"


_ENDS: Mapping[StopReason, tuple[str, Failure]] = {
    StopReason.CANCELLED: ("cancelled", Failure("cancelled", "The turn was cancelled.")),
    StopReason.EXPIRED: ("expired", Failure("timeout", "The turn took longer than it may.")),
    StopReason.TIMEOUT: ("expired", Failure("timeout", "The turn took longer than it may.")),
    StopReason.SANDBOX_STOPPED: ("failed", Failure("sandbox_stopped", "The sandbox was stopped.")),
}


class TurnChannel:
    """A provider's way to the link: the one schema of events, closed once the turn is done."""

    def __init__(
        self, turn: Turn, link: Link, journal: Journal, open_forwarder: Callable[[], Awaitable[str]]
    ) -> None:
        self._turn = turn
        self._link = link
        self._journal = journal
        self._open_forwarder = open_forwarder
        self._messages: asyncio.Queue[FollowUp] = asyncio.Queue()
        self._heard: set[str] = set()
        self._is_closed = False
        self.tool_calls = 0

    async def emit(self, kind: str, payload: Mapping[str, Any]) -> None:
        await self._journal.wait_for_room()
        if not self._is_closed:
            self._link.send_event(self._turn.id, kind, dict(payload))

    def _live(self, kind: str, payload: dict[str, Any]) -> None:
        if not self._is_closed:
            self._link.send_live(self._turn.id, kind, payload)

    async def message_created(self, text: str) -> None:
        await self.emit("message.created", {"role": "assistant", "text": text})

    async def tool_called(self, call_id: str, name: str, tool_input: Mapping[str, Any]) -> None:
        self.tool_calls += 1
        await self.emit("tool.called", {"call_id": call_id, "name": name, "input": dict(tool_input)})

    async def tool_returned(
        self, call_id: str, output: str, *, is_error: bool, duration_ms: int, is_truncated: bool = False
    ) -> None:
        kept, is_cut = text.clip(output, text.MAX_OUTPUT_CHARS)
        payload = {
            "call_id": call_id,
            "is_error": is_error,
            "output": kept,
            "truncated": is_cut or is_truncated,
            "duration_ms": duration_ms,
        }
        await self.emit("tool.returned", payload)

    async def message_consumed(self, message: FollowUp) -> None:
        await self.emit("message.consumed", {"id": message.id})

    async def session_saved(self, session_id: str, entries: list[dict[str, Any]]) -> None:
        await self.emit("session.saved", {"session_id": session_id, "entries": entries})

    def text_delta(self, text: str) -> None:
        self._live("text.delta", {"text": text})

    def reasoning_delta(self, text: str) -> None:
        self._live("reasoning.delta", {"text": text})

    def tool_output(self, call_id: str, text: str) -> None:
        self._live("tool.output", {"call_id": call_id, "text": text})

    def typing(self) -> None:
        self._live("typing", {})

    async def next_message(self) -> FollowUp:
        return await self._messages.get()

    async def gateway_url(self) -> str:
        return await self._open_forwarder()

    def put_message(self, message: FollowUp) -> None:
        """Hand a follow-up to the provider, once: the gateway repeats what it has not seen consumed."""
        if message.id not in self._heard:
            self._heard.add(message.id)
            self._messages.put_nowait(message)

    def open(self, provider: str) -> None:
        """Send the turn's first event. It does not wait for room: a stop must not hang on it."""
        self._link.send_event(self._turn.id, "turn.started", {"provider": provider})

    def close(self, payload: dict[str, Any]) -> None:
        """Send the turn's last event; what a provider sends later is dropped."""
        self._is_closed = True
        self._link.send_event(self._turn.id, "turn.done", payload)


class TurnWork:
    """Runs one turn to its end."""

    def __init__(self, turn: Turn, channel: TurnChannel, open_provider: ProviderOpener) -> None:
        self.turn = turn
        self.channel = channel
        self._open_provider = open_provider
        self._stop: asyncio.Future[StopReason] = asyncio.get_running_loop().create_future()
        self._timeout_s = float(turn.timeout_s)
        self._extended = asyncio.Event()

    def extend(self, timeout_s: float) -> None:
        """Let the turn take this long in all, from its start: what it waits for people does not count."""
        self._timeout_s = max(float(self.turn.timeout_s), min(timeout_s, MOST_S))
        self._extended.set()

    def stop(self, reason: StopReason) -> None:
        """Ask the turn to end; the first reason counts."""
        if not self._stop.done():
            self._stop.set_result(reason)

    async def run(self) -> None:
        """Run the provider; the turn's last event is sent whatever happens."""
        started = time.monotonic()
        reason: StopReason | None = None
        try:
            self.channel.open(self.turn.provider)
            await asyncio.to_thread(write_skills, workspace_folder(), self.turn.options.get("skills") or ())
            provider = self._open_provider(self.turn.provider)
            working = asyncio.create_task(_contained(provider.run(self.turn, self.channel)))
            try:
                reason = await self._wait(working)
                if reason is not None:
                    await _interrupt(provider, working, reason)
                outcome = _outcome_of(working)
            finally:
                working.cancel()
        except ProviderUnknown as exc:
            outcome = Outcome(failure=Failure("provider_unknown", str(exc)), turns=0)
        except Exception as exc:
            outcome = _crash(exc)
        self._finish(outcome, reason)
        print(
            f"turn {self.turn.id}: over after {time.monotonic() - started:.1f} s", file=sys.stderr, flush=True
        )

    async def _wait(self, working: asyncio.Task[Outcome]) -> StopReason | None:
        """Wait for the provider, a stop or the deadline; None says that the provider ended by itself."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        while not working.done() and not self._stop.done():
            left_s = began + self._timeout_s - loop.time()
            if left_s <= 0:
                return StopReason.TIMEOUT
            self._extended.clear()
            extending = asyncio.create_task(self._extended.wait())
            awaited: set[asyncio.Future[Any]] = {working, self._stop, extending}
            await asyncio.wait(awaited, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
            extending.cancel()
        return self._stop.result() if self._stop.done() else None

    def _finish(self, outcome: Outcome, reason: StopReason | None) -> None:
        status, failure = "succeeded", outcome.failure
        if reason is not None:
            status, failure = _ENDS[reason]
        elif failure is not None:
            status = "failed"
            if is_disk_full():
                failure = Failure("disk_full", f"The workspace has no room left. {failure.message}")
        payload = {
            "status": status,
            "text": text.clip(outcome.text, text.MAX_OUTPUT_CHARS)[0],
            "error": {"code": failure.code, "message": failure.message} if failure else None,
            "usage": outcome.usage.as_json() if outcome.usage else None,
            "turns": outcome.turns,
            "tool_calls": self.channel.tool_calls,
        }
        self.channel.close(payload)


async def _contained(run: Awaitable[Outcome]) -> Outcome:
    """Await a provider; an exit that a library calls for must not end the runner."""
    try:
        return await run
    except (SystemExit, KeyboardInterrupt) as exc:
        raise RuntimeError(f"the provider called for an exit: {exc}") from exc


async def _interrupt(provider: Provider, working: asyncio.Task[Outcome], reason: StopReason) -> None:
    """Let the provider stop by itself, then cancel it."""
    is_quick = reason is StopReason.SANDBOX_STOPPED
    grace_s, force_s = (STOP_INTERRUPT_S, STOP_FORCE_S) if is_quick else (INTERRUPT_S, FORCE_S)
    interrupting = asyncio.create_task(provider.interrupt(grace_s))
    await asyncio.wait({working}, timeout=grace_s + force_s)
    both: set[asyncio.Task[Any]] = {interrupting, working}
    for task in both:
        task.cancel()
    await asyncio.wait(both, timeout=force_s / 2)
    if interrupting.done() and not interrupting.cancelled() and (exc := interrupting.exception()):
        print(f"interrupt: {type(exc).__name__}: {exc}", file=sys.stderr, flush=True)


def _outcome_of(working: asyncio.Task[Outcome]) -> Outcome:
    if not working.done() or working.cancelled():
        return Outcome()
    exc = working.exception()
    if isinstance(exc, Exception):
        return _crash(exc)
    return working.result()


def _crash(exc: Exception) -> Outcome:
    """Turn an exception into a failure: its message for people, its traceback for the operator's log only."""
    traceback.print_exception(exc, file=sys.stderr)
    message = text.clip(str(exc).strip() or "no message", 2_000)[0]
    return Outcome(failure=Failure("provider_crashed", f"{type(exc).__name__}: {message}"))
