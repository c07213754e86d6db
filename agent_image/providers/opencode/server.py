"""The CLI's process: its server, and the import of a session before that."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Self

STDERR_LINES = 20
_LISTENING = re.compile(rb"listening on http://127\.0\.0\.1:(\d+)")


class OpencodeFailed(Exception):
    """The CLI ended, or did not do what it was started for."""


class OpencodeServer:
    """One process on a loopback port that it chose."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        if process.stdout is None or process.stderr is None:
            raise ValueError("the process has been started without pipes")
        self._process = process
        self._output, self._errors = process.stdout, process.stderr
        self._stderr: deque[str] = deque(maxlen=STDERR_LINES)
        self._reading = [asyncio.create_task(self._read_errors())]
        self.port = 0

    @classmethod
    async def start(cls, binary: Path, env: Mapping[str, str], cwd: Path) -> Self:
        """Start it, and wait until it listens. Raises: OpencodeFailed."""
        process = await asyncio.create_subprocess_exec(
            *(str(binary), "serve", "--hostname", "127.0.0.1", "--port", "0", "--pure"),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=dict(env),
            cwd=cwd,
            start_new_session=True,
        )
        server = cls(process)
        try:
            await server._wait_until_listening()
        except BaseException:
            server.kill()
            raise
        return server

    async def _wait_until_listening(self) -> None:
        while line := await self._output.readline():
            if found := _LISTENING.search(line):
                self.port = int(found[1])
                self._reading.append(asyncio.create_task(self._drain_output()))
                return
        raise OpencodeFailed(await self.last_words())

    async def last_words(self) -> str:
        """Return how it ended, or that it has not."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1):
                await self._process.wait()
        code = self._process.returncode
        return "\n".join([f"opencode ended with {code}" if code is not None else "", *self._stderr]).strip()

    def kill(self) -> None:
        """End the process and its group. It does not listen to a polite signal while a stream is open."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        for task in self._reading:
            task.cancel()

    async def wait(self) -> None:
        """Wait until it has ended."""
        await self._process.wait()

    async def _drain_output(self) -> None:
        while await self._output.read(64 * 1024):
            pass

    async def _read_errors(self) -> None:
        with contextlib.suppress(ValueError):
            while line := await self._errors.readline():
                self._stderr.append(line.decode("utf-8", "replace").rstrip()[:500])


async def import_session(binary: Path, env: Mapping[str, str], cwd: Path, file: Path) -> None:
    """Put an exported session into the CLI's database. Raises: OpencodeFailed."""
    process = await asyncio.create_subprocess_exec(
        *(str(binary), "import", str(file), "--pure"),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=dict(env),
        cwd=cwd,
        start_new_session=True,
    )
    try:
        output, _ = await process.communicate()
    except asyncio.CancelledError:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        raise
    if process.returncode != 0:
        words = output.decode("utf-8", "replace").strip()[-1_000:]
        raise OpencodeFailed(f"the session could not be resumed: {words}")
