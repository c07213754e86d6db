"""A client of the CLI's app server: JSON-RPC on its standard input and output, a message a line.

Source: the schemas that `codex app-server generate-json-schema` of version 0.163 writes.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

MAX_LINE_BYTES = 64 * 1024 * 1024  # a line may hold an image, or all of a resumed thread
STDERR_LINES = 20
EXIT_S = 2.0
_METHOD_NOT_FOUND = -32601


class AppServerGone(Exception):
    """The process ended, or closed its output."""


class RequestRefused(Exception):
    """The app server answered a request with an error."""


class AppServer:
    """One process. What it says by itself waits in order, for `next_notification`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        if process.stdin is None or process.stdout is None or process.stderr is None:
            raise ValueError("the process has been started without pipes")
        self._process = process
        self._input, self._output, self._errors = process.stdin, process.stdout, process.stderr
        self._requests = 0
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._notifications: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        self._stderr: deque[str] = deque(maxlen=STDERR_LINES)
        self._reading = [asyncio.create_task(self._read()), asyncio.create_task(self._read_stderr())]

    @classmethod
    async def start(cls, binary: Path, env: Mapping[str, str], cwd: Path) -> Self:
        """Start the process, in a group of its own."""
        process = await asyncio.create_subprocess_exec(
            str(binary),
            "app-server",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=dict(env),
            cwd=cwd,
            limit=MAX_LINE_BYTES,
            start_new_session=True,
        )
        return cls(process)

    async def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Make a request and return its result. Raises: RequestRefused, AppServerGone."""
        self._requests += 1
        number = self._requests
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        try:
            await self._send({"id": number, "method": method, "params": params})
            frame = await answer
        finally:
            self._waiting.pop(number, None)
        if "error" in frame:
            raise RequestRefused(str((frame["error"] or {}).get("message") or "refused"))
        result = frame.get("result")
        return result if isinstance(result, dict) else {}

    async def notify(self, method: str) -> None:
        """Say something that has no answer. Raises: AppServerGone."""
        await self._send({"method": method})

    async def next_notification(self) -> tuple[str, dict[str, Any]]:
        """Return the next method and its parameters. Raises: AppServerGone."""
        frame = await self._notifications.get()
        if frame is None:
            self._notifications.put_nowait(None)
            raise AppServerGone(self._last_words())
        params = frame.get("params")
        return str(frame["method"]), params if isinstance(params, dict) else {}

    async def close(self) -> None:
        """Let it end by itself, which writes what it holds; kill it when that takes too long."""
        self._input.close()
        try:
            async with asyncio.timeout(EXIT_S):
                await self._process.wait()
        except TimeoutError:
            pass
        finally:
            self.kill()
            for task in self._reading:
                task.cancel()

    def kill(self) -> None:
        """End the process and its group now."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)

    async def _send(self, frame: Mapping[str, Any]) -> None:
        if self._input.is_closing():
            raise AppServerGone(self._last_words())
        try:
            self._input.write(json.dumps(frame).encode() + b"\n")
            await self._input.drain()
        except OSError as exc:
            raise AppServerGone(self._last_words()) from exc

    async def _read(self) -> None:
        try:
            while line := await self._output.readline():
                await self._take(_parse(line))
        except (OSError, ValueError):
            pass  # a line beyond the limit: what follows it cannot be understood
        finally:
            self._notifications.put_nowait(None)
            for answer in self._waiting.values():
                if not answer.done():
                    answer.set_exception(AppServerGone(self._last_words()))

    async def _take(self, frame: dict[str, Any]) -> None:
        if "method" not in frame:
            answer = self._waiting.get(frame.get("id", 0))
            if answer is not None and not answer.done():
                answer.set_result(frame)
        elif "id" in frame:
            # It asks for an approval or for a person's answer; there is neither in a sandbox.
            error = {"code": _METHOD_NOT_FOUND, "message": "nobody is here to answer this"}
            with contextlib.suppress(AppServerGone):
                await self._send({"id": frame["id"], "error": error})
        else:
            self._notifications.put_nowait(frame)

    async def _read_stderr(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            while line := await self._errors.readline():
                self._stderr.append(line.decode("utf-8", "replace").rstrip()[:500])

    def _last_words(self) -> str:
        code = self._process.returncode
        ended = "closed its output" if code is None else f"ended with {code}"
        return "\n".join([f"codex {ended}", *self._stderr])


def _parse(line: bytes) -> dict[str, Any]:
    """Read one line; what is not a JSON object reads as an answer to nothing."""
    try:
        frame = json.loads(line)
    except ValueError:
        return {}
    return frame if isinstance(frame, dict) else {}
