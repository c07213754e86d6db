"""One bash at work: its script, its two pipes and its process group."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Self

READ_BYTES = 64 * 1024
_NOT_INHERITED = ("SLIPWAY_SOCKET", "SLIPWAY_FORWARD_PORT", "SLIPWAY_OWNS_PROCESS_SPACE")


class Bash:
    """The pipes are our own, not asyncio's: a process's `wait` there also waits for whoever else holds them."""

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        reader: asyncio.StreamReader,
        output: asyncio.ReadTransport,
        input_: asyncio.WriteTransport,
    ) -> None:
        self._process = process
        self._reader = reader
        self._output = output
        self._input = input_

    @classmethod
    async def start(cls, script: str, env: Mapping[str, str], cwd: Path) -> Self:
        loop = asyncio.get_running_loop()
        child_input, our_input = os.pipe()
        our_output, child_output = os.pipe()
        try:
            process = await _start_process(script, env, cwd, stdin=child_input, stdout=child_output)
        except BaseException:
            os.close(our_input)
            os.close(our_output)
            raise
        finally:
            os.close(child_input)
            os.close(child_output)
        reader = asyncio.StreamReader()
        output, _ = await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(our_output, "rb", buffering=0)
        )
        writer, _ = await loop.connect_write_pipe(asyncio.Protocol, os.fdopen(our_input, "wb", buffering=0))
        return cls(process, reader, output, writer)

    async def read(self) -> bytes:
        """Return what it printed, to both of its outputs; empty at the end."""
        return await self._reader.read(READ_BYTES)

    def write_line(self, text: str) -> None:
        """Add a line to its standard input. What it does not read is dropped when it ends."""
        self._input.write(text.encode("utf-8", "replace") + b"\n")

    async def wait(self) -> int:
        """Wait for bash itself, not for what it started. Below zero: the signal that ended it."""
        return await self._process.wait()

    def signal_group(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)

    def close(self) -> None:
        """End all of its group, and let go of the pipes, whoever else still holds them."""
        self.signal_group(signal.SIGKILL)
        self._output.close()
        self._input.close()


async def _start_process(
    script: str, env: Mapping[str, str], cwd: Path, *, stdin: int, stdout: int
) -> asyncio.subprocess.Process:
    """Start bash on the script. It goes in through a file in memory: one argument may have 128 KiB at most.

    Read by `eval`, errors are those of a person's own shell: "bash: line 2: foo: command not found".
    """
    handle = os.memfd_create("script")
    try:
        with os.fdopen(os.dup(handle), "wb") as file:
            file.write(script.encode("utf-8", "replace"))
        os.lseek(handle, 0, os.SEEK_SET)
        own = {name: value for name, value in os.environ.items() if name not in _NOT_INHERITED}
        return await asyncio.create_subprocess_exec(
            "bash",
            "--noprofile",
            "--norc",
            "-c",
            f'_script=$(cat <&{handle}); exec {handle}<&-; eval "unset _script; $_script"',
            "bash",
            stdin=stdin,
            stdout=stdout,
            stderr=asyncio.subprocess.STDOUT,
            cwd=cwd,
            env={**own, "TERM": "dumb", "PYTHONUNBUFFERED": "1", **env},
            pass_fds=(handle,),
            start_new_session=True,
        )
    finally:
        os.close(handle)
