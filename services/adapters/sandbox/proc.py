"""What /proc tells of host processes: who is whose child, when it was started, in which PID namespace it lives."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class ProcessStat:
    """One process. `started` in clock ticks since boot: with the pid it names a process for ever.

    Units: `cpu_ticks` and `reaped_ticks` (of its children that have ended) in clock ticks.
    """

    pid: int
    parent: int
    state: str
    started: int
    cpu_ticks: int
    reaped_ticks: int
    resident_pages: int


def read_stat(pid: int) -> ProcessStat | None:
    """Read one process; None when there is none."""
    try:
        content = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    # The command's name is in brackets and may hold anything, brackets too.
    fields = content[content.rindex(")") + 2 :].split()
    numbers = [int(field) for field in fields[1:22]]
    return ProcessStat(
        pid=pid,
        parent=numbers[0],
        state=fields[0],
        started=numbers[18],
        cpu_ticks=numbers[10] + numbers[11],
        reaped_ticks=numbers[12] + numbers[13],
        resident_pages=numbers[20],
    )


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


def are_stopped(tenants: list[ProcessStat]) -> bool:
    """Say whether all that lives of a sandbox is stopped; one of which nothing lives is ending, not paused."""
    living = [process for process in tenants if process.state not in ("Z", "X")]
    return bool(living) and all(process.state == "T" for process in living)


def send_signal(pid: int, number: signal.Signals) -> None:
    """Send a signal; to one that has gone it is none."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def used_in_namespace_of(pid: int) -> tuple[int, int]:
    """Return milliseconds of processor time and bytes of memory that the processes beside `pid` have used."""
    found = processes_in_namespace_of(pid)
    ticks = sum(stat.cpu_ticks + stat.reaped_ticks for stat in found)
    memory = sum(stat.resident_pages for stat in found) * os.sysconf("SC_PAGE_SIZE")
    return ticks * 1000 // os.sysconf("SC_CLK_TCK"), memory


def free_memory_bytes() -> int:
    """Return how much memory this machine could give to new processes without swapping."""
    return _meminfo("MemAvailable")


def memory_bytes() -> int:
    return _meminfo("MemTotal")


def _meminfo(name: str) -> int:
    for line in Path("/proc/meminfo").read_text().splitlines():
        key, _, value = line.partition(":")
        if key == name:
            return int(value.split()[0]) * 1024
    return 0
