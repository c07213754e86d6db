"""Keeps the connection to the gateway: says hello, sends what is not stored yet, and reconnects for ever.

Read docs/link.md first; this speaks protocol version 1.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import deque
from dataclasses import dataclass, field
from typing import Any, Protocol

from agent_image.runner import text, websocket
from agent_image.runner.greeting import TARGET, Greeting, hello_frame
from agent_image.runner.journal import Journal
from agent_image.runner.websocket import WebSocket
from agent_image.runner.wire import LinkClosed

SILENCE_S = 30.0
WELCOME_S = 10.0
FIRST_BACKOFF_S = 0.1
MAX_BACKOFF_S = 2.0
_LOOK_S = 0.002
WORK = frozenset({"turn", "message", "cancel", "extend", "open", "command.start", "command.cancel"})
MAX_WAITING_LIVE = (
    1_000  # frames; what a slow gateway has not read beyond this is dropped, as live events may be
)


class Worker(Protocol):
    """Who works on the turns: what `hello` tells of it, and where the gateway's frames go."""

    @property
    def turn_at_work(self) -> str | None: ...

    @property
    def finished_turns(self) -> list[str]: ...

    def take(self, frame: dict[str, Any]) -> None:
        """Take what `WORK` names. Never waits and never raises."""
        ...


@dataclass(slots=True)
class _Outgoing:
    """What waits to be written on one connection, in the order in which it was emitted."""

    frames: deque[tuple[bytes, bool]] = field(default_factory=deque)
    live: int = 0
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def put(self, frame: bytes, *, is_live: bool = False) -> None:
        if is_live and self.live >= MAX_WAITING_LIVE:
            return
        self.frames.append((frame, is_live))
        self.live += is_live
        self.changed.set()

    async def get(self) -> bytes:
        while not self.frames:
            self.changed.clear()
            await self.changed.wait()
        frame, is_live = self.frames.popleft()
        self.live -= is_live
        return frame


class Link:
    """One connection at a time, and what is waiting for it."""

    def __init__(
        self,
        socket_path: str,
        journal: Journal,
        worker: Worker,
        *,
        silence_s: float = SILENCE_S,
        greeting: Greeting | None = None,
    ) -> None:
        self._socket_path = socket_path
        self._journal = journal
        self._worker = worker
        self._silence_s = silence_s
        self._greeting = greeting
        self._outgoing: _Outgoing | None = None  # set once the gateway has said welcome
        self._is_useful = False

    def send_event(self, subject: str, kind: str, payload: dict[str, Any], *, of: str = "turn") -> None:
        """Journal a durable event of a turn, or of a command, and send it if there is a connection."""
        frame = self._journal.append(subject, kind, payload, of=of)
        if self._outgoing is not None:
            self._outgoing.put(frame)

    def send_live(self, subject: str, kind: str, payload: dict[str, Any], *, of: str = "turn") -> None:
        """Send a live event; without a connection it is gone."""
        if self._outgoing is not None:
            frame = {"op": "live", of: subject, "type": kind, "data": text.without_nul(payload)}
            self._outgoing.put(text.encode_fitting(frame), is_live=True)

    async def run(self) -> None:
        """Connect again and again until cancelled. One that served for something resets the backoff."""
        backoff_s, last_reason = 0.0, ""
        while True:
            self._is_useful = False
            try:
                await self._run_connection()
            except LinkClosed as exc:
                reason = str(exc)
            if self._is_useful:
                backoff_s, last_reason = 0.0, ""
            if reason != last_reason:
                print(f"link: {reason}", file=sys.stderr, flush=True)
                last_reason = reason
            await asyncio.sleep(backoff_s)
            backoff_s = min(max(backoff_s * 2, FIRST_BACKOFF_S), MAX_BACKOFF_S)

    async def flush(self, timeout_s: float) -> bool:
        """Wait until the gateway has stored everything, or the time is over. Returns whether it has."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._journal.wait_until_empty()
        except TimeoutError:
            return False
        return True

    async def _run_connection(self) -> None:
        """Run one connection to its end. Raises: LinkClosed, always."""
        socket = await self._greet()
        writing: asyncio.Task[None] | None = None
        try:
            await self._hear_welcome(socket)
            writing = asyncio.create_task(self._write(socket, self._outgoing_now()))
            await self._read(socket, writing)
        finally:
            self._outgoing = None
            if writing is not None:
                await _end(writing)
            await socket.close()

    async def _greet(self) -> WebSocket:
        """Return a connection on which hello is said: the first may be from before this was loaded."""
        greeting, self._greeting = self._greeting, None
        while greeting is not None and not greeting.is_over:  # noqa: ASYNC110  # a thread sets no asyncio event
            await asyncio.sleep(_LOOK_S)
        if greeting is not None and (connection := greeting.take()) is not None:
            return await websocket.adopt(connection)
        socket = await websocket.connect(self._socket_path, TARGET)
        hello = hello_frame(
            self._journal.id,
            oldest=self._journal.oldest,
            turn=self._worker.turn_at_work,
            finished=self._worker.finished_turns,
        )
        try:
            await socket.send_text(hello)
        except BaseException:
            await socket.close()
            raise
        return socket

    async def _hear_welcome(self, socket: WebSocket) -> None:
        try:
            async with asyncio.timeout(WELCOME_S):
                while (frame := _parse(await socket.receive())).get("op") != "welcome":
                    pass
        except TimeoutError as exc:
            raise LinkClosed("the gateway did not say welcome") from exc
        await self._acknowledge(frame.get("acked"))

    def _outgoing_now(self) -> _Outgoing:
        """Fill a fresh queue with all that is held, in one step: no event can slip in between."""
        outgoing = _Outgoing()
        for frame in self._journal.held_after(0):
            outgoing.put(frame)
        self._outgoing = outgoing
        return outgoing

    async def _write(self, socket: WebSocket, outgoing: _Outgoing) -> None:
        while True:
            await socket.send_text(await outgoing.get())

    async def _read(self, socket: WebSocket, writing: asyncio.Task[None]) -> None:
        while True:
            receiving = asyncio.create_task(socket.receive())
            try:
                await asyncio.wait(
                    {receiving, writing}, timeout=self._silence_s, return_when=asyncio.FIRST_COMPLETED
                )
                if receiving.done():
                    await self._take(_parse(receiving.result()))
                elif writing.done():
                    writing.result()
                else:
                    raise LinkClosed(f"the gateway was silent for {self._silence_s:g} s")
            finally:
                await _end(receiving)

    async def _take(self, frame: dict[str, Any]) -> None:
        op = frame.get("op")
        self._is_useful = True
        if op == "ping" and self._outgoing is not None:
            self._outgoing.put(b'{"op":"pong"}')
        elif op == "ack":
            await self._acknowledge(frame.get("n"))
        elif op in WORK:
            self._worker.take(frame)

    async def _acknowledge(self, n: object) -> None:
        if isinstance(n, int) and not isinstance(n, bool):
            await self._journal.acknowledge(n)


async def _end(task: asyncio.Task[Any]) -> None:
    """Cancel a task and take note of how it ended, so that asyncio does not report it as unheard."""
    task.cancel()
    await asyncio.wait({task})
    if not task.cancelled():
        task.exception()


def _parse(message: str) -> dict[str, Any]:
    """Read one frame; anything that is not a JSON object reads as an empty one, which is ignored."""
    try:
        frame = json.loads(message)
    except ValueError:
        return {}
    return frame if isinstance(frame, dict) else {}
