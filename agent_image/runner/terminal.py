"""A terminal for a person: bash on a PTY of its own, its bytes on one channel, in both directions as fast as both take.

Shape: binary frames are what is typed and what is shown. Text frames: `{"op": "resize", "cols", "rows"}` down;
`{"op": "ok"}`, `{"op": "error", "code", "message"}` and at the end `{"op": "exited", "exit_code"}` up.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import pty
import signal
import struct
import termios
import time
from collections.abc import Mapping
from typing import Any

from agent_image.runner import text
from agent_image.runner.bash import keeper_command, process_environment
from agent_image.runner.processes import Kept
from agent_image.runner.websocket import WebSocket
from agent_image.runner.workspace import workspace_folder

MAX_TERMINALS = 8
IDLE_S = 30 * 60.0
READ_BYTES = 32 * 1024
DEAF_S = 10.0  # what is typed into a program that reads nothing for so long is dropped
END_S = 5.0
_open: set[int] = set()


async def serve_terminal(socket: WebSocket, params: dict[str, Any], kept: Kept) -> None:
    """Run one terminal until its shell ends, the other side goes, or nothing has moved for long. Raises: LinkClosed."""
    if len(_open) >= MAX_TERMINALS:
        await _say(socket, "error", code="too_many_terminals", message="Too many terminals are open here.")
        return
    ours, theirs = pty.openpty()
    _open.add(ours)
    try:
        os.set_blocking(ours, False)
        _resize(ours, params)
        try:
            env = await kept.environment()
            async with kept.starting:
                process = await _start(theirs, env)
                kept.keepers.add(process.pid)
        except (OSError, RuntimeError):
            await _say(socket, "error", code="sandbox_busy", message="The sandbox has no room for this now.")
            return
        finally:
            os.close(theirs)
        try:
            await _Terminal(socket, ours, process).run()
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
            await asyncio.wait({asyncio.create_task(process.wait())}, timeout=END_S)
            kept.keepers.discard(process.pid)
    finally:
        os.close(ours)
        _open.discard(ours)


async def _start(theirs: int, env: Mapping[str, str]) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *keeper_command("tty"),
        "bash",
        "-l",
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        cwd=workspace_folder(),
        env=process_environment(TERM="xterm-256color", COLORTERM="truecolor") | dict(env),
        start_new_session=True,
    )


class _Terminal:
    """One terminal at work."""

    def __init__(self, socket: WebSocket, handle: int, process: asyncio.subprocess.Process) -> None:
        self._socket = socket
        self._handle = handle
        self._process = process
        self._moved_at = time.monotonic()

    async def run(self) -> None:
        """Carry bytes both ways. Raises: LinkClosed."""
        await _say(self._socket, "ok")
        showing = asyncio.create_task(self._show())
        typing = asyncio.create_task(self._type())
        ending = asyncio.create_task(self._process.wait())
        tasks: set[asyncio.Task[Any]] = {showing, typing, ending}
        try:
            while not any(task.done() for task in tasks):
                left_s = self._moved_at + IDLE_S - time.monotonic()
                if left_s <= 0:
                    break
                await asyncio.wait(tasks, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
            if typing.done():
                typing.result()
            if showing.done() or ending.done():
                # What was printed last is still in the terminal, whose end is read as an error.
                await asyncio.wait({showing, ending}, timeout=END_S)
            code = self._process.returncode
            await _say(
                self._socket, "exited", exit_code=128 - code if code is not None and code < 0 else code
            )
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            for task in tasks:
                if not task.cancelled():
                    task.exception()

    async def _show(self) -> None:
        """Send what the terminal shows. While the other side is slow nothing is read, and the program waits."""
        while True:
            try:
                chunk = os.read(self._handle, READ_BYTES)
            except BlockingIOError:
                await _until_ready(self._handle, is_read=True)
                continue
            except OSError:
                return  # the last process has let go of it
            if not chunk:
                return
            self._moved_at = time.monotonic()
            await self._socket.send_bytes(chunk)

    async def _type(self) -> None:
        while True:
            message = await self._socket.receive_any()
            self._moved_at = time.monotonic()
            if isinstance(message, bytes):
                await self._write(message)
            else:
                with contextlib.suppress(ValueError):
                    _resize(self._handle, json.loads(message))

    async def _write(self, typed: bytes) -> None:
        view = memoryview(typed)
        try:
            async with asyncio.timeout(DEAF_S):
                while view:
                    try:
                        view = view[os.write(self._handle, view) :]
                    except BlockingIOError:
                        await _until_ready(self._handle, is_read=False)
        except (TimeoutError, OSError):
            return


async def _until_ready(handle: int, *, is_read: bool) -> None:
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    add, remove = (loop.add_reader, loop.remove_reader) if is_read else (loop.add_writer, loop.remove_writer)

    def wake() -> None:
        if not ready.done():
            ready.set_result(None)

    add(handle, wake)
    try:
        await ready
    finally:
        remove(handle)


def _resize(handle: int, size: Any) -> None:
    if not isinstance(size, dict):
        return
    cols, rows = size.get("cols"), size.get("rows")
    if isinstance(cols, int) and isinstance(rows, int) and 0 < cols <= 1_000 and 0 < rows <= 1_000:
        with contextlib.suppress(OSError):
            fcntl.ioctl(handle, termios.TIOCSWINSZ, struct.pack("HHHH", rows, cols, 0, 0))


async def _say(socket: WebSocket, op: str, **fields: Any) -> None:
    await socket.send_text(text.encode({"op": op, **fields}))
