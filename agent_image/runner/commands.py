"""Commands that outlive turns: each runs under a keeper until it ends, is cancelled, or its time is over."""

from __future__ import annotations

import asyncio
import codecs
import time
from collections import deque
from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import Any

from agent_image.runner.bash import Bash
from agent_image.runner.journal import Journal
from agent_image.runner.link import Link
from agent_image.runner.live import LiveOutput
from agent_image.runner.processes import Kept
from agent_image.runner.workspace import workspace_folder

TAIL_BYTES = 64 * 1024
MAX_FINISHED = 200
INTERRUPT_S = 3.0
KILL_S = 10.0
PROGRESS_S = 5.0
DRAIN_S = 0.2
DEFAULT_TIMEOUT_S = 3_600.0


class StopReason(StrEnum):
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    LOST = "lost"


class OutputEnd:
    """The end of an output of any length, and how long all of it is."""

    def __init__(self) -> None:
        self.total = 0
        self._kept = bytearray()

    def add(self, chunk: bytes) -> None:
        self.total += len(chunk)
        self._kept += chunk
        if len(self._kept) > 2 * TAIL_BYTES:
            del self._kept[:-TAIL_BYTES]

    def text(self) -> str:
        return self._kept[-TAIL_BYTES:].decode("utf-8", "replace")


class Commands:
    """All commands of this sandbox. `on_end` is called after each, so that nothing of it stays."""

    def __init__(
        self, link: Link, journal: Journal, kept: Kept, on_end: Callable[[], Awaitable[None]]
    ) -> None:
        self._link = link
        self._journal = journal
        self._kept = kept
        self._on_end = on_end
        self._running: dict[str, _Work] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._finished: deque[str] = deque(maxlen=MAX_FINISHED)

    def take(self, frame: dict[str, Any]) -> None:
        """Take `command.start` or `command.cancel`; a repeat, or one for a command that is over, is ignored."""
        command = frame.get("command")
        if not isinstance(command, str):
            return
        work = self._running.get(command)
        if frame.get("op") == "command.cancel":
            if work is not None:
                work.stop(StopReason.CANCELLED)
        elif work is None and command not in self._finished and isinstance(text := frame.get("text"), str):
            timeout_s = frame.get("timeout_s")
            limit_s = float(timeout_s) if isinstance(timeout_s, int | float) else DEFAULT_TIMEOUT_S
            self._running[command] = work = _Work(command, text, limit_s, self._link, self._journal)
            task = asyncio.get_running_loop().create_task(self._run(work))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def lose_all(self) -> None:
        """Report all of them as lost: their processes were ended together with a turn's."""
        for work in self._running.values():
            work.stop(StopReason.LOST)

    async def stop(self) -> None:
        """End all of them, because the sandbox stops."""
        self.lose_all()
        if self._tasks:
            await asyncio.wait(set(self._tasks))

    async def _run(self, work: _Work) -> None:
        try:
            await work.run(self._kept)
        finally:
            self._finished.append(work.command)
            del self._running[work.command]
        await self._on_end()


class _Work:
    """One command at work."""

    def __init__(self, command: str, text: str, timeout_s: float, link: Link, journal: Journal) -> None:
        self.command = command
        self._text = text
        self._timeout_s = timeout_s
        self._link = link
        self._journal = journal
        self._output = OutputEnd()
        self._stop: asyncio.Future[StopReason] = asyncio.get_running_loop().create_future()

    def stop(self, reason: StopReason) -> None:
        """Ask it to end; the first reason counts."""
        if not self._stop.done():
            self._stop.set_result(reason)

    async def run(self, kept: Kept) -> None:
        """Run it to its end, which is reported whatever happens."""
        started = time.monotonic()
        try:
            env = await kept.environment()
            async with kept.starting:
                bash = await Bash.start(self._text, env, workspace_folder(), is_kept=True)
                kept.keepers.add(bash.pid)
        except (OSError, RuntimeError) as exc:
            self._finish("failed", None, started, error=f"The sandbox could not start it: {exc}.")
            return
        self._send("command.started", {})
        try:
            reason, code = await self._follow(bash)
        finally:
            bash.close()
            kept.keepers.discard(bash.pid)
        status = reason.value if reason is not None else "succeeded" if code == 0 else "failed"
        self._finish(status, code, started)

    async def _follow(self, bash: Bash) -> tuple[StopReason | None, int | None]:
        """Read and report its output until it ends or is ended. Returns why it was ended, and its exit code."""
        live = LiveOutput(self._show)
        reading = asyncio.create_task(self._read(bash, live))
        reporting = asyncio.create_task(self._report_progress())
        ending = asyncio.create_task(bash.wait())
        awaited: set[asyncio.Future[Any]] = {ending, self._stop}
        try:
            await asyncio.wait(awaited, timeout=self._timeout_s, return_when=asyncio.FIRST_COMPLETED)
            reason = None
            if not ending.done():
                reason = self._stop.result() if self._stop.done() else StopReason.EXPIRED
                await _end(bash, ending, is_quick=reason is StopReason.LOST)
            elif self._stop.done() and self._stop.result() is StopReason.LOST:
                reason = StopReason.LOST
            await asyncio.wait({reading}, timeout=DRAIN_S)
        finally:
            for task in (reading, reporting, ending):
                task.cancel()
            live.flush()
        return reason, ending.result() if ending.done() and not ending.cancelled() else None

    def _show(self, text: str) -> None:
        self._link.send_live(self.command, "command.output", {"text": text}, of="command")

    async def _read(self, bash: Bash, live: LiveOutput) -> None:
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        while chunk := await bash.read():
            self._output.add(chunk)
            live.add(decoder.decode(chunk))

    async def _report_progress(self) -> None:
        """Let the platform keep what a long command has printed so far, now and then while there is something new."""
        told = 0
        while True:
            await asyncio.sleep(PROGRESS_S)
            if self._output.total > told and not self._journal.is_full:
                told = self._output.total
                self._send("command.progress", {"output": self._output.text(), "output_bytes": told})

    def _finish(self, status: str, code: int | None, started: float, *, error: str = "") -> None:
        payload = {
            "status": status,
            "exit_code": 128 - code
            if code is not None and code < 0
            else code,  # as a shell tells of a signal
            "output": self._output.text(),
            "output_bytes": self._output.total,
            "duration_ms": round((time.monotonic() - started) * 1000),
            "error": error,
        }
        self._send("command.finished", payload)

    def _send(self, kind: str, payload: dict[str, Any]) -> None:
        self._link.send_event(self.command, kind, payload, of="command")


async def _end(bash: Bash, ending: asyncio.Task[int], *, is_quick: bool) -> None:
    """Interrupt it as Ctrl-C does, and kill it with all that it started when it does not listen."""
    if not is_quick:
        bash.interrupt()
        await asyncio.wait({ending}, timeout=INTERRUPT_S)
    if not ending.done():
        bash.kill()
        await asyncio.wait({ending}, timeout=KILL_S)
