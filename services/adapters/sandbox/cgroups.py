"""Limits on a tree of processes by control groups, version 1 or 2, whichever this machine has mounted.

A group is a folder for each controller, `slipway/<name>` beneath the controller's root. Only root may make one, and
in a container often not even root: then there are no limits, and the driver does not promise them.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import time
import uuid
from collections.abc import Mapping
from pathlib import Path

from services.domain.ports.sandbox import Promise, SandboxLimits

logger = logging.getLogger(__name__)

_PARENT = "slipway"
_PERIOD_US = 100_000
_SETTLE_S = 10.0
_POLL_S = 0.005
_PROMISES = {
    "memory": Promise.MEMORY_LIMIT,
    "cpu": Promise.CPU_LIMIT,
    "pids": Promise.PIDS_LIMIT,
}
_VERSION_1 = ("memory", "cpu", "cpuacct", "pids", "freezer")
_VERSION_2 = ("memory", "cpu", "pids")


@functools.cache
def kept_promises() -> frozenset[Promise]:
    """Return the limits that can be kept here: a group is made, limited and removed once, for real."""
    roots = _roots()
    if os.geteuid() != 0 or not roots:
        return frozenset()
    probe = Group(f"probe-{uuid.uuid4().hex}")
    try:
        probe.make(SandboxLimits())
    except OSError as exc:
        logger.info("control groups cannot be used here: %s", exc)
        return frozenset()
    finally:
        probe.remove()
    return frozenset(promise for controller, promise in _PROMISES.items() if controller in roots)


class Group:
    """The group of one sandbox, by its name. Nothing is kept here: a restarted worker finds it again."""

    def __init__(self, name: str, *, folders: Mapping[str, Path] | None = None) -> None:
        if folders is None:
            folders = {controller: root / _PARENT / name for controller, root in _roots().items()}
        self._folders = folders

    @property
    def exists(self) -> bool:
        return bool(self._folders) and all(folder.is_dir() for folder in self._folders.values())

    def make(self, limits: SandboxLimits) -> None:
        """Make the group with its limits, anew when there is one without processes. Raises: OSError."""
        self.remove()
        for controller, folder in self._folders.items():
            folder.parent.mkdir(exist_ok=True)
            if controller in _VERSION_2 and _is_unified(folder.parent):
                for parent in (folder.parent.parent, folder.parent):
                    _write(parent / "cgroup.subtree_control", "+memory +cpu +pids")
            folder.mkdir(exist_ok=True)
        quota = max(1_000, round(limits.cpus * _PERIOD_US))
        self._set("pids", "pids.max", str(limits.pids))
        if self._is_unified():
            self._set("memory", "memory.max", str(limits.memory_bytes))
            self._set("memory", "memory.swap.max", "0", is_optional=True)
            self._set("cpu", "cpu.max", f"{quota} {_PERIOD_US}")
        else:
            self._set("memory", "memory.limit_in_bytes", str(limits.memory_bytes))
            self._set("memory", "memory.memsw.limit_in_bytes", str(limits.memory_bytes), is_optional=True)
            self._set("cpu", "cpu.cfs_period_us", str(_PERIOD_US))
            self._set("cpu", "cpu.cfs_quota_us", str(quota))

    def entering(self) -> list[str]:
        """Return the beginning of a command that enters the group and then becomes the rest of the command."""
        files = sorted({str(folder / "cgroup.procs") for folder in self._folders.values()})
        count = str(len(files))
        script = 'n=$1; shift; while [ "$n" -gt 0 ]; do echo $$ >"$1" || exit 125; shift; n=$((n-1)); done; exec "$@"'
        return ["sh", "-c", script, "sh", count, *files]

    def freeze(self) -> bool:
        """Stop all of it at once; False when it could not be within the time."""
        if self._is_unified():
            return self._switch("memory", "cgroup.freeze", "1", "cgroup.events", "frozen 1")
        return self._switch("freezer", "freezer.state", "FROZEN", "freezer.state", "FROZEN")

    def thaw(self) -> bool:
        if self._is_unified():
            return self._switch("memory", "cgroup.freeze", "0", "cgroup.events", "frozen 0")
        return self._switch("freezer", "freezer.state", "THAWED", "freezer.state", "THAWED")

    def is_frozen(self) -> bool:
        if self._is_unified():
            return self._read("memory", "cgroup.freeze") == "1"
        return self._read("freezer", "freezer.state") in ("FROZEN", "FREEZING")

    def was_out_of_memory(self) -> bool:
        """Say whether the kernel killed something of it for want of memory."""
        counted = self._numbers("memory", "memory.events" if self._is_unified() else "memory.oom_control")
        return counted.get("oom_kill", 0) > 0

    def used(self) -> tuple[int, int]:
        """Return milliseconds of processor time and bytes of memory, without the kernel's spare copies of files."""
        details = self._numbers("memory", "memory.stat")
        if self._is_unified():
            cpu_ms = self._numbers("cpu", "cpu.stat").get("usage_usec", 0) // 1_000
            memory = int(self._read("memory", "memory.current") or 0) - details.get("inactive_file", 0)
        else:
            cpu_ms = int(self._read("cpuacct", "cpuacct.usage") or 0) // 1_000_000
            held = int(self._read("memory", "memory.usage_in_bytes") or 0)
            memory = held - details.get("total_inactive_file", 0)
        return cpu_ms, max(0, memory)

    def remove(self) -> None:
        """Remove the group once its processes have gone; one that still has some stays."""
        deadline = time.monotonic() + _SETTLE_S
        for folder in self._folders.values():
            while folder.is_dir():
                try:
                    folder.rmdir()
                except FileNotFoundError:
                    break
                except OSError:
                    if time.monotonic() > deadline:
                        logger.warning("%s still has processes", folder)
                        break
                    time.sleep(_POLL_S)

    # --- files ---------------------------------------------------------------------------------------

    def _is_unified(self) -> bool:
        return "freezer" not in self._folders

    def _set(self, controller: str, name: str, value: str, *, is_optional: bool = False) -> None:
        folder = self._folders.get(controller)
        if folder is not None and not (is_optional and not (folder / name).exists()):
            _write(folder / name, value)

    def _read(self, controller: str, name: str) -> str:
        try:
            return (self._folders[controller] / name).read_text().strip()
        except (OSError, KeyError):
            return ""

    def _numbers(self, controller: str, name: str) -> Mapping[str, int]:
        pairs = (line.split() for line in self._read(controller, name).splitlines())
        return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdigit()}

    def _switch(self, controller: str, name: str, value: str, shown_in: str, shown: str) -> bool:
        deadline = time.monotonic() + _SETTLE_S
        with contextlib.suppress(OSError):
            self._set(controller, name, value)
        while shown not in self._read(controller, shown_in).splitlines():
            if time.monotonic() > deadline or not self.exists:
                return False
            time.sleep(_POLL_S)
        return True


def find_group(pid: int, name: str) -> Group | None:
    """Return the group that an engine made for one of its processes; None where this machine does not show it.

    `name` is a part of the group's path: a number that is somebody else's by now, or here, has another.
    Source: cgroups(7), /proc/[pid]/cgroup.
    """
    try:
        lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    except OSError:
        return None
    paths = {
        controller: path.lstrip("/")
        for _, controllers, path in (line.split(":", 2) for line in lines)
        for controller in controllers.split(",")
        if name in path
    }
    folders = {
        controller: root / paths.get(controller, paths.get("", "-")) for controller, root in _roots().items()
    }
    group = Group(name, folders=folders)
    return group if group.exists else None


@functools.cache
def _roots() -> Mapping[str, Path]:
    """Return the root folder of each controller that is mounted; of version 2 all are one."""
    found: dict[str, Path] = {}
    unified: Path | None = None
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        words = line.split(" ")
        kind, _, options = words[words.index("-") + 1 :][:3]
        if kind == "cgroup":
            found.update({name: Path(words[4]) for name in options.split(",") if name in _VERSION_1})
        elif kind == "cgroup2":
            unified = Path(words[4])
    if set(found) == set(_VERSION_1):
        return found
    if unified is not None and not found:
        with contextlib.suppress(OSError):
            if set(_VERSION_2) <= set((unified / "cgroup.controllers").read_text().split()):
                return dict.fromkeys(_VERSION_2, unified)
    return {}


def _is_unified(folder: Path) -> bool:
    return (folder / "cgroup.subtree_control").exists()


def _write(file: Path, value: str) -> None:
    with file.open("w") as stream:  # one write: the kernel reads each as a whole
        stream.write(value)
