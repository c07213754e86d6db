"""Ending what a turn left running, and sparing what is kept: commands and terminals outlive turns."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Awaitable, Callable, Mapping

_ROUNDS = 40
_ROUND_S = 0.01


class Kept:
    """The keepers at work. Whoever starts one holds `starting`: it must not be taken for a stray before it is known."""

    def __init__(self, environment: Callable[[], Awaitable[Mapping[str, str]]]) -> None:
        self.environment = environment
        """Gives the variables that whatever is started finds, such as the way to the egress proxy."""
        self.keepers: set[int] = set()
        self.starting = asyncio.Lock()

    async def end_strays(self) -> bool:
        """End every process of the sandbox that is not below a keeper. False when that took all of them, kept ones too.

        All are stopped before any is killed: what is stopped starts no more. What still outruns this, a fork bomb,
        is ended by one signal to everybody. Source: kill(2): -1 spares process 1 of the PID namespace and the caller.
        """
        async with self.starting:
            for _ in range(_ROUNDS if self.keepers else 0):
                strays, is_sure = _find_strays(frozenset(self.keepers))
                if is_sure and not strays:
                    return True
                fresh = [pid for pid, state in strays if state not in "Tt"]
                for pid in fresh or [pid for pid, _ in strays]:
                    with contextlib.suppress(ProcessLookupError, PermissionError):
                        os.kill(pid, signal.SIGSTOP if fresh else signal.SIGKILL)
                await asyncio.sleep(_ROUND_S)
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(-1, signal.SIGKILL)
            return not self.keepers


def _find_strays(keepers: frozenset[int]) -> tuple[list[tuple[int, str]], bool]:
    """Return the strays with their states, and whether every process could be placed."""
    strays, is_sure = [], True
    for name in os.listdir("/proc"):  # noqa: PTH208 (pathlib costs memory here)
        found = _read(int(name)) if name.isdigit() else None
        if found is None or found[0] in "ZX":
            continue
        is_stray = _is_stray(int(name), keepers)
        if is_stray is None:
            is_sure = False
        elif is_stray:
            strays.append((int(name), found[0]))
    return strays, is_sure


def _is_stray(pid: int, keepers: frozenset[int]) -> bool | None:
    """Walk up from a process to a keeper, or past all of them. None when a parent ended on the way: look again."""
    own = os.getpid()
    if pid in (1, own, os.getppid()):
        return False
    while pid not in (0, 1, own):
        if pid in keepers:
            return False
        found = _read(pid)
        if found is None:
            return None
        pid = found[1]
    return True


def _read(pid: int) -> tuple[str, int] | None:
    """Return a process's state and parent. Its name may hold anything, so they are read from the last bracket on."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123 (pathlib costs memory here)
            state, parent = file.read().rpartition(b")")[2].split()[:2]
    except (OSError, ValueError):
        return None
    return state.decode(), int(parent)
