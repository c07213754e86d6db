"""One bash at work: its script, the pipe of its output, and its processes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Self

READ_BYTES = 64 * 1024
_NOT_INHERITED = (
    "SLIPWAY_SOCKET",
    "SLIPWAY_FORWARD_PORT",
    "SLIPWAY_EGRESS_PORT",
    "SLIPWAY_OWNS_PROCESS_SPACE",
)


class Bash:
    """Its standard input is empty. The pipe is our own, not asyncio's: a process's `wait` there also waits for others
    who hold it.

    A kept one has a keeper, and outlives the turn that is at work when it starts.
    """

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        reader: asyncio.StreamReader,
        output: asyncio.ReadTransport,
        *,
        is_kept: bool,
    ) -> None:
        self._process = process
        self._reader = reader
        self._output = output
        self._is_kept = is_kept

    @classmethod
    async def start(cls, script: str, env: Mapping[str, str], cwd: Path, *, is_kept: bool = False) -> Self:
        """Start bash on a script. Raises: OSError, also when the sandbox has no room for a process."""
        our_output, child_output = os.pipe()
        try:
            process = await _start_process(script, env, cwd, stdout=child_output, is_kept=is_kept)
        except BaseException:
            os.close(our_output)
            raise
        finally:
            os.close(child_output)
        reader = asyncio.StreamReader()
        output, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(our_output, "rb", buffering=0)
        )
        return cls(process, reader, output, is_kept=is_kept)

    @property
    def pid(self) -> int:
        """The keeper's, for a kept one."""
        return self._process.pid

    async def read(self) -> bytes:
        """Return what it printed, to both of its outputs; empty at the end."""
        return await self._reader.read(READ_BYTES)

    async def wait(self) -> int:
        """Wait for bash itself, not for what it started. Below zero: the signal that ended it."""
        return await self._process.wait()

    def interrupt(self) -> None:
        """Interrupt its process group, as Ctrl-C does."""
        self._signal(signal.SIGUSR1 if self._is_kept else signal.SIGINT)

    def kill(self) -> None:
        """End its process group; of a kept one, every process that it ever started."""
        self._signal(signal.SIGTERM if self._is_kept else signal.SIGKILL)

    def close(self) -> None:
        """End its processes, and let go of the pipe, whoever else still holds it."""
        self.kill()
        self._output.close()

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            if not self._is_kept:
                os.killpg(self._process.pid, number)
            elif self._process.returncode is None:
                os.kill(self._process.pid, number)


def keeper_command(kind: str) -> list[str]:
    """Return the beginning of the command line of what a keeper keeps; `kind` is `pipe` or `tty`."""
    return [sys.executable or "python3", "-I", "-S", str(Path(__file__).with_name("keeper.py")), kind]


def process_environment(**own: str) -> dict[str, str]:
    """Return the environment of a process of the tenant: the sandbox's, without what is the runner's."""
    kept = {name: value for name, value in os.environ.items() if name not in _NOT_INHERITED}
    return {**kept, **own}


async def _start_process(
    script: str, env: Mapping[str, str], cwd: Path, *, stdout: int, is_kept: bool
) -> asyncio.subprocess.Process:
    """Start bash on the script. It goes in through a file in memory: one argument may have 128 KiB at most.

    Read by `eval`, errors are those of a person's own shell: "bash: line 2: foo: command not found".
    """
    handle = os.memfd_create("script")
    try:
        with os.fdopen(os.dup(handle), "wb") as file:
            file.write(script.encode("utf-8", "replace"))
        os.lseek(handle, 0, os.SEEK_SET)
        return await asyncio.create_subprocess_exec(
            *(keeper_command("pipe") if is_kept else ()),
            "bash",
            "--noprofile",
            "--norc",
            "-c",
            f'_script=$(cat <&{handle}); exec {handle}<&-; eval "unset _script; $_script"',
            "bash",
            stdin=asyncio.subprocess.DEVNULL,
            stdout=stdout,
            stderr=asyncio.subprocess.STDOUT,
            cwd=cwd,
            env=process_environment(TERM="dumb", PYTHONUNBUFFERED="1") | dict(env),
            pass_fds=(handle,),
            start_new_session=True,
        )
    finally:
        os.close(handle)
