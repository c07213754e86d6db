"""A small gateway for the tests of runners: the link of docs/link.md, and whatever HTTP apps a test mounts beside it.

It keeps what is durable exactly as the real one must: for each journal, event n only after n - 1. A test reads
`events`, sends `turn`, `message` and `cancel`, decides when to acknowledge, and cuts the connection where it wants.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.routing import BaseRoute, Mount, WebSocketRoute
from starlette.types import ASGIApp
from starlette.websockets import WebSocket, WebSocketDisconnect

WAIT_S = 60.0  # a real CLI takes its time to start where others build and test


class LinkBroken(AssertionError):
    """The runner sent something that docs/link.md does not allow."""


@dataclass
class FakeGateway:
    """The state of one sandbox's gateway. `is_acking` off keeps the runner's journal full."""

    is_acking: bool = True
    hellos: list[dict[str, Any]] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    live: list[dict[str, Any]] = field(default_factory=list)
    repeats: int = 0
    pongs: int = 0
    frames: int = 0
    cut_after: Callable[[int], bool] | None = (
        None  # of the count of all frames; True cuts the connection there
    )
    acked: dict[str, int] = field(default_factory=dict)
    socket: WebSocket | None = None
    _is_over: asyncio.Event = field(default_factory=asyncio.Event)
    _dialled: dict[str, asyncio.Queue[WebSocket]] = field(default_factory=dict)
    _changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def link(self, socket: WebSocket) -> None:
        """Serve one connection of the runner."""
        await socket.accept()
        try:
            hello = json.loads(await socket.receive_text())
            if hello.get("op") != "hello" or hello.get("protocol") != 1:
                raise LinkBroken(f"the first frame is {hello}")
            self.hellos.append(hello)
            await self._count_frame(socket)
            journal = hello["journal"]
            await socket.send_text(json.dumps({"op": "welcome", "acked": self.acked.get(journal, 0)}))
            self.socket = socket
            await self._notify()
            while True:
                await self._take(socket, journal, json.loads(await socket.receive_text()))
                await self._count_frame(socket)
        except (WebSocketDisconnect, RuntimeError):  # Starlette: RuntimeError once we have cut it ourselves
            pass
        finally:
            if self.socket is socket:
                self.socket = None
            await self._notify()

    async def serve_channel(self, socket: WebSocket) -> None:
        """Hand a channel that the runner dials to the test that asked for it, and keep it until the test ends."""
        await socket.accept()
        await self._dialled[socket.path_params["channel"]].put(socket)
        await self._is_over.wait()

    async def _count_frame(self, socket: WebSocket) -> None:
        self.frames += 1
        if self.cut_after is not None and self.cut_after(self.frames):
            await socket.close(1011)
            raise WebSocketDisconnect(1011)

    async def _take(self, socket: WebSocket, journal: str, frame: dict[str, Any]) -> None:
        if frame["op"] == "event":
            expected = self.acked.get(journal, 0) + 1
            if frame["n"] > expected:
                raise LinkBroken(f"event {frame['n']} came before {expected}")
            if frame["n"] == expected:
                self.acked[journal] = expected
                self.events.append(frame)
            else:
                self.repeats += 1
            if self.is_acking:
                await socket.send_text(json.dumps({"op": "ack", "n": self.acked[journal]}))
        elif frame["op"] == "live":
            self.live.append(frame)
        elif frame["op"] == "pong":
            self.pongs += 1
        await self._notify()

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    # --- what a test does --------------------------------------------------------------------------------

    async def open_channel(self, kind: str, **params: Any) -> WebSocket:
        """Ask for a channel, and return it once the runner has dialled."""
        channel = str(uuid.uuid4())
        self._dialled[channel] = asyncio.Queue()
        await self.send({"op": "open", "channel": channel, "kind": kind, "params": params})
        async with asyncio.timeout(WAIT_S):
            return await self._dialled[channel].get()

    async def start_command(self, text: str, *, timeout_s: float = 60) -> str:
        """Start a durable command; return its id."""
        command = str(uuid.uuid4())
        await self.send({"op": "command.start", "command": command, "text": text, "timeout_s": timeout_s})
        return command

    def of_command(self, command: str, kind: str | None = None) -> list[dict[str, Any]]:
        return [e for e in self.events if e.get("command") == command and kind in (None, e["type"])]

    async def wait_finished(self, command: str) -> dict[str, Any]:
        """Wait for a command's end; return what was said of it."""
        await self.wait_until(lambda: bool(self.of_command(command, "command.finished")), f"end of {command}")
        finished: dict[str, Any] = self.of_command(command, "command.finished")[-1]["data"]
        return finished

    async def wait_until(self, condition: Callable[[], bool], what: str = "condition") -> None:
        """Wait until the condition holds; it is looked at after every frame."""
        try:
            async with asyncio.timeout(WAIT_S), self._changed:
                await self._changed.wait_for(condition)
        except TimeoutError:
            seen = [(event["n"], event["type"]) for event in self.events[-20:]]
            raise AssertionError(f"no {what} within {WAIT_S:g} s; events: {seen}") from None

    async def send(self, frame: Mapping[str, Any]) -> None:
        """Send a frame, once the runner is connected."""
        while True:
            await self.wait_until(lambda: self.socket is not None, "connection")
            socket = self.socket
            if socket is None:
                continue
            with contextlib.suppress(WebSocketDisconnect, RuntimeError):
                await socket.send_text(json.dumps(frame))
                return

    async def send_turn(self, provider: str, prompt: str, **fields: Any) -> str:
        """Send a turn with sensible fields; return its id."""
        turn = {
            "op": "turn",
            "turn": str(uuid.uuid4()),
            "provider": provider,
            "prompt": prompt,
            "instructions": "",
            "model": None,
            "max_turns": None,
            "timeout_s": 60,
            "tools": None,
            "env": {},
            "mcp": [],
            "llm": None,
            "session": None,
            "options": {},
            **fields,
        }
        await self.send(turn)
        return str(turn["turn"])

    async def run_turn(self, provider: str, prompt: str, **fields: Any) -> dict[str, Any]:
        """Send a turn and wait for its end; return the data of `turn.done`."""
        return await self.wait_done(await self.send_turn(provider, prompt, **fields))

    async def wait_done(self, turn: str) -> dict[str, Any]:
        await self.wait_until(lambda: bool(self.of_turn(turn, "turn.done")), f"turn.done of {turn}")
        done: dict[str, Any] = self.of_turn(turn, "turn.done")[-1]["data"]
        return done

    async def wait_for(self, kind: str, *, turn: str | None = None) -> dict[str, Any]:
        """Wait for a durable or live event of a type; return the first one's frame."""

        def found() -> list[dict[str, Any]]:
            frames = [*self.events, *self.live]
            return [f for f in frames if f["type"] == kind and turn in (None, f.get("turn"))]

        await self.wait_until(lambda: bool(found()), kind)
        return found()[0]

    def of_turn(self, turn: str, kind: str | None = None) -> list[dict[str, Any]]:
        return [e for e in self.events if e.get("turn") == turn and kind in (None, e["type"])]

    def live_text(self, kind: str) -> str:
        return "".join(frame["data"]["text"] for frame in self.live if frame["type"] == kind)

    def session_entries(self, turn: str) -> list[dict[str, Any]]:
        return [entry for event in self.of_turn(turn, "session.saved") for entry in event["data"]["entries"]]

    async def acknowledge(self) -> None:
        """Acknowledge all that came on the current journal, and all that comes from now on."""
        self.is_acking = True
        await self.send({"op": "ack", "n": self.acked.get(self.hellos[-1]["journal"], 0)})

    async def cut(self) -> None:
        """Close the connection now, if there is one."""
        socket, self.socket = self.socket, None
        if socket is not None:
            with contextlib.suppress(RuntimeError):
                await socket.close(1012)


@contextlib.asynccontextmanager
async def serve_gateway(
    socket_path: Path, gateway: FakeGateway, mounts: Mapping[str, ASGIApp] | None = None
) -> AsyncIterator[FakeGateway]:
    """Serve the gateway on a Unix socket that any user may connect to; apps are mounted at their paths."""
    routes: list[BaseRoute] = [
        WebSocketRoute("/runner", gateway.link),
        WebSocketRoute("/runner/channels/{channel}", gateway.serve_channel),
    ]
    routes += [Mount(path, app) for path, app in (mounts or {}).items()]
    async with serve_app(Starlette(routes=routes), uds=str(socket_path)):
        socket_path.chmod(0o666)  # noqa: ASYNC240 (a moment, in a test)
        try:
            yield gateway
        finally:
            gateway._is_over.set()


@contextlib.asynccontextmanager
async def serve_app(app: ASGIApp, *, uds: str | None = None, port: int = 0) -> AsyncIterator[int]:
    """Run an ASGI app in this loop, on a Unix socket or a loopback port; yields the port (0 for a socket)."""
    config = uvicorn.Config(
        app, uds=uds, host="127.0.0.1", port=port, log_level="warning", lifespan="off", ws="websockets-sansio",
        ws_max_size=2 * 1024 * 1024, timeout_graceful_shutdown=1,
    )  # fmt: skip
    server = _QuietServer(config)
    serving = asyncio.create_task(server.serve())
    try:
        await _until(lambda: _started(server, serving))
        yield 0 if uds else server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        await serving


class _QuietServer(uvicorn.Server):
    """A server that leaves the signals of the test's process alone."""

    @contextlib.contextmanager
    def capture_signals(self) -> Any:
        yield


def _started(server: uvicorn.Server, serving: asyncio.Task[None]) -> bool:
    if serving.done():
        serving.result()
        raise AssertionError("the server ended while starting")
    return server.started


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not condition():  # noqa: ASYNC110 (a server that starts announces nothing)
            await asyncio.sleep(0.005)
