"""What /proc tells of host processes: who is whose child, when it was started, in which PID namespace it lives."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class ProcessStat:
    """One process. `started` in clock ticks since boot: with the pid it names a process for ever."""

    pid: int
    parent: int
    state: str
    started: int


def read_stat(pid: int) -> ProcessStat | None:
    """Read one process; None when there is none."""
    try:
        content = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    # The command's name is in brackets and may hold anything, brackets too.
    fields = content[content.rindex(")") + 2 :].split()
    return ProcessStat(pid=pid, parent=int(fields[1]), state=fields[0], started=int(fields[19]))


def is_alive(pid: int, started: int) -> bool:
    """Say whether this very process still runs; a zombie does not."""
    stat = read_stat(pid)
    return stat is not None and stat.started == started and stat.state not in ("Z", "X")


def list_processes() -> Iterator[ProcessStat]:
    for entry in os.scandir("/proc"):
        if entry.name.isdigit() and (stat := read_stat(int(entry.name))):
            yield stat


def pid_namespace(pid: int) -> str | None:
    """Name the PID namespace of a process; None when it is gone or not ours to see."""
    try:
        return str(Path(f"/proc/{pid}/ns/pid").readlink())
    except OSError:
        return None


def processes_in_namespace_of(pid: int) -> list[ProcessStat]:
    """List the processes in the PID namespace of `pid`, itself too. Empty when that is our own namespace."""
    namespace = pid_namespace(pid)
    if namespace is None or namespace == pid_namespace(os.getpid()):
        return []
    return [stat for stat in list_processes() if pid_namespace(stat.pid) == namespace]
