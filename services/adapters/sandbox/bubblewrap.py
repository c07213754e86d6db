"""The driver for machines without a container engine: the same runner in namespaces made by bubblewrap.

Weaker than a container: the system's programs are the host's, and the system-call filter is shorter than an
engine's. Memory, processors and processes are limited by control groups where this process may make them, the disk
by the volume store; where not, its promises say so. Nothing is kept in this process: each sandbox has a folder that
says which process it is, so that a restarted worker finds it again.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, BinaryIO
from uuid import UUID

from services.adapters.sandbox import proc
from services.adapters.sandbox.bubblewrap_command import PYTHON, build_command, write_identity
from services.adapters.sandbox.cgroups import Group, kept_promises
from services.adapters.sandbox.end_watch import EndWatch
from services.adapters.sandbox.ended import OwnEnds
from services.adapters.sandbox.hardening import AGENT_UID, ALL_PROMISES, refuse_gaps
from services.adapters.sandbox.syscall_filter import build_filter, is_known_machine
from services.adapters.sandbox.volumes import Backend, VolumeStore
from services.domain.errors import EngineAway, RuntimeMissing, SandboxRefused, SlipwayError
from services.domain.ports.sandbox import (
    EngineReport,
    HostResources,
    Promise,
    SandboxReport,
    SandboxSpec,
    SandboxStatus,
    SandboxUsage,
)

logger = logging.getLogger(__name__)

START_S = 10.0
AGENT_IMAGE = Path(__file__).resolve().parents[3] / "agent_image"
PROGRAMS = ("bwrap", "setsid", "prlimit", "setpriv")
_LIMITS = frozenset({Promise.MEMORY_LIMIT, Promise.CPU_LIMIT, Promise.PIDS_LIMIT})
_KILLED = 137
_FREEZE_ROUNDS = 10
_POLL_S = 0.01


class BubblewrapDriver:
    """Process trees of this host, each in namespaces of its own."""

    kind = "bubblewrap"
    can_pause = True

    def __init__(
        self,
        installation: str,
        run_dir: Path,
        *,
        data_dir: Path,
        volume_backend: Backend = "auto",
        agent_image: Path = AGENT_IMAGE,
    ) -> None:
        self._installation = installation
        self._folder = run_dir / "bubblewrap"
        self._agent_image = agent_image
        self._own_ends = OwnEnds()
        self.promises: frozenset[Promise] = ALL_PROMISES
        self._volumes = VolumeStore(
            data_dir,
            installation,
            backend=volume_backend,
            list_used=self._list_used_volumes,
            owner=AGENT_UID if os.geteuid() == 0 else os.geteuid(),
        )

    def check(self) -> EngineReport:
        """Say what is installed; what a crash left mounted is unmounted by the way."""
        missing = _missing_programs()
        if missing:
            return EngineReport(is_up=False, version="", note=f"Not installed: {', '.join(missing)}.")
        try:
            self._learn()
            self._volumes.close_unused()
        except SlipwayError as exc:
            return EngineReport(is_up=False, version="", note=exc.message)
        answer = subprocess.run(["bwrap", "--version"], capture_output=True, text=True, check=False)
        lacking = ", ".join(sorted(ALL_PROMISES - self.promises))
        kept = f"It cannot promise: {lacking}." if lacking else "Every promise is kept."
        note = f"{kept} The system's programs are the host's. {self._volumes.note}"
        return EngineReport(is_up=True, version=answer.stdout.strip(), note=note)

    def measure_host(self) -> HostResources:
        return HostResources(proc.memory_bytes(), proc.free_memory_bytes())

    def resolve_image(self, image: str) -> str:
        """Return what was asked for: the programs are the host's, whatever an image is called."""
        return image

    def start(self, spec: SandboxSpec) -> None:
        if spec.installation != self._installation:
            raise SandboxRefused("The sandbox belongs to another installation.")
        if _missing_programs():
            raise EngineAway("Bubblewrap is not installed on this host.", retry_after_s=60.0)
        refuse_gaps(spec, self._learn())
        if spec.runtime is not None:
            raise RuntimeMissing("Bubblewrap has no runtime classes.")
        folder = self._folder_of(spec.sandbox_id)
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(folder):
            status = self.inspect(spec.sandbox_id).status
            if status is SandboxStatus.PAUSED:
                self.unpause(spec.sandbox_id)
            elif status is not SandboxStatus.RUNNING:
                self._own_ends.forget(spec.sandbox_id)
                with self._volumes.opened(spec.volume, spec.limits.disk_bytes) as workspace:
                    self._launch(spec, folder, workspace)

    def pause(self, sandbox_id: UUID) -> None:
        """Freeze the group; without one stop every process, again and again until no new one was forked meanwhile."""
        if (pid := self._alive_pid(sandbox_id)) is None:
            return
        group = self._group_of(sandbox_id)
        if group.exists:
            group.freeze()
            return
        for _ in range(_FREEZE_ROUNDS):
            running = [p for p in _tenants(pid) if p.state not in ("T", "Z", "X")]
            if not running:
                return
            for process in running:
                proc.send_signal(process.pid, signal.SIGSTOP)
            time.sleep(_POLL_S)

    def unpause(self, sandbox_id: UUID) -> None:
        if (pid := self._alive_pid(sandbox_id)) is None:
            return
        group = self._group_of(sandbox_id)
        if group.exists:
            group.thaw()
            return
        for process in _tenants(pid):
            proc.send_signal(process.pid, signal.SIGCONT)

    def stop(self, sandbox_id: UUID, *, grace_s: float = 2.0) -> None:
        """Tell the runner to end; after the grace kill the namespace's first process, and with it all others."""
        self._own_ends.add(sandbox_id)
        if (pid := self._alive_pid(sandbox_id)) is not None:
            self.unpause(sandbox_id)
            for process in _tenants(pid):
                if process.parent == pid:
                    proc.send_signal(process.pid, signal.SIGTERM)
            if not _wait_until(lambda: self._alive_pid(sandbox_id) is None, grace_s):
                self._kill(sandbox_id, pid)
        self._close_volume(sandbox_id)

    def destroy(self, sandbox_id: UUID) -> None:
        self._own_ends.add(sandbox_id)
        if (pid := self._alive_pid(sandbox_id)) is not None:
            self.unpause(sandbox_id)  # a frozen process does not even die
            self._kill(sandbox_id, pid)
        self._close_volume(sandbox_id)
        self._group_of(sandbox_id).remove()
        shutil.rmtree(self._folder_of(sandbox_id), ignore_errors=True)

    def read_usage(self, sandbox_id: UUID) -> SandboxUsage | None:
        if (pid := self._alive_pid(sandbox_id)) is None:
            return None
        group = self._group_of(sandbox_id)
        cpu_ms, memory_bytes = group.used() if group.exists else proc.used_in_namespace_of(pid)
        volume = self._read_state(sandbox_id).get("volume")
        disk_bytes = self._volumes.count_used(volume) if volume else 0
        return SandboxUsage(cpu_ms=cpu_ms, memory_bytes=memory_bytes, disk_bytes=disk_bytes)

    def watch_ends(self, stop: threading.Event) -> Iterator[UUID]:
        """Yield each sandbox that ends by itself: those that run at the call, and those started since."""
        return EndWatch(self._known_processes, self._own_ends).read(stop)

    def list_volumes(self) -> frozenset[str]:
        return self._volumes.list_names()

    def save_volume(self, volume: str, target: BinaryIO) -> None:
        self._volumes.save(volume, target)

    def load_volume(self, volume: str, source: BinaryIO, *, disk_bytes: int) -> None:
        self._volumes.load(volume, source, disk_bytes=disk_bytes)

    def remove_volume(self, volume: str) -> None:
        self._volumes.remove(volume)

    def inspect(self, sandbox_id: UUID) -> SandboxReport:
        if not self._read_state(sandbox_id):
            return SandboxReport(sandbox_id, SandboxStatus.GONE)
        pid = self._alive_pid(sandbox_id)
        if pid is None:
            code = self._exit_code(sandbox_id)
            is_out_of_memory = code == _KILLED and self._group_of(sandbox_id).was_out_of_memory()
            return SandboxReport(sandbox_id, SandboxStatus.STOPPED, code, is_out_of_memory)
        group = self._group_of(sandbox_id)
        is_paused = group.is_frozen() if group.exists else proc.are_stopped(_tenants(pid))
        return SandboxReport(sandbox_id, SandboxStatus.PAUSED if is_paused else SandboxStatus.RUNNING)

    def list_sandboxes(self) -> list[SandboxReport]:
        reports = [self.inspect(sandbox_id) for sandbox_id in self._known()]
        return [report for report in reports if report.status is not SandboxStatus.GONE]

    def read_log(self, sandbox_id: UUID, *, max_bytes: int = 16_384) -> str:
        try:
            with (self._folder_of(sandbox_id) / "log").open("rb") as log:
                log.seek(max(0, log.seek(0, os.SEEK_END) - max_bytes))
                return log.read().decode("utf-8", "replace")
        except OSError:
            return ""

    # --- parts ---------------------------------------------------------------------------------------

    def _folder_of(self, sandbox_id: UUID) -> Path:
        return self._folder / f"{self._installation}-{sandbox_id}"

    def _group_of(self, sandbox_id: UUID) -> Group:
        return Group(f"{self._installation}-{sandbox_id}")

    def _learn(self) -> frozenset[Promise]:
        """Find out what can be kept here, and keep it."""
        lacking = _LIMITS - kept_promises()
        if not is_known_machine():
            lacking |= {Promise.SYSCALL_FILTER}
        if not self._volumes.is_limited:
            lacking |= {Promise.DISK_LIMIT}
        self.promises = ALL_PROMISES - lacking
        return self.promises

    def _list_used_volumes(self, volume: str | None) -> frozenset[str]:
        volumes = {sandbox_id: self._read_state(sandbox_id).get("volume") for sandbox_id in self._known()}
        return frozenset(
            used
            for sandbox_id, used in volumes.items()
            if used and volume in (None, used) and self._alive_pid(sandbox_id) is not None
        )

    def _close_volume(self, sandbox_id: UUID) -> None:
        if volume := self._read_state(sandbox_id).get("volume"):
            self._volumes.close(volume)

    def _kill(self, sandbox_id: UUID, pid: int) -> None:
        proc.send_signal(pid, signal.SIGKILL)
        _wait_until(lambda: self._alive_pid(sandbox_id) is None, START_S)

    def _known_processes(self) -> list[tuple[UUID, int, int]]:
        """List the first process of each sandbox that was ever started, with its start time."""
        states = ((sandbox_id, self._read_state(sandbox_id)) for sandbox_id in self._known())
        return [(sandbox_id, state["pid"], state["started"]) for sandbox_id, state in states if state]

    def _known(self) -> list[UUID]:
        prefix = f"{self._installation}-"
        return [UUID(folder.name.removeprefix(prefix)) for folder in self._folder.glob(f"{prefix}*")]

    def _read_state(self, sandbox_id: UUID) -> dict[str, Any]:
        try:
            state: dict[str, Any] = json.loads((self._folder_of(sandbox_id) / "state.json").read_text())
        except (OSError, ValueError):
            return {}
        return state

    def _alive_pid(self, sandbox_id: UUID) -> int | None:
        """Return the host's number of the namespace's first process, if it is still that very process."""
        state = self._read_state(sandbox_id)
        if state and proc.is_alive(state["pid"], state["started"]):
            return int(state["pid"])
        return None

    def _exit_code(self, sandbox_id: UUID) -> int | None:
        return _read_status(self._folder_of(sandbox_id) / "status").get("exit-code")

    def _launch(self, spec: SandboxSpec, folder: Path, workspace: Path | None) -> None:
        group = self._group_of(spec.sandbox_id)
        entering = []
        if kept_promises():
            try:
                group.make(spec.limits)
            except OSError as exc:
                logger.warning("no control group for %s: %s", spec.sandbox_id, exc)
                raise SandboxRefused("This host cannot keep the limits that were asked for.") from exc
            entering = group.entering()
        write_identity(folder)
        status = folder / "status"
        with contextlib.ExitStack() as stack:
            log = stack.enter_context((folder / "log").open("wb"))
            status_fd = stack.enter_context(status.open("wb")).fileno()
            filter_fd = stack.enter_context(_open_filter(folder)).fileno() if is_known_machine() else None
            command = build_command(
                spec,
                folder=folder,
                agent_image=self._agent_image,
                workspace=workspace,
                status_fd=status_fd,
                filter_fd=filter_fd,
            )
            passed = (status_fd,) if filter_fd is None else (status_fd, filter_fd)
            # setsid forks and returns: the sandbox is nobody's child, and outlives a worker.
            subprocess.run(
                [*entering, *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=passed,
                check=True,
            )
        _wait_until(
            lambda: "child-pid" in _read_status(status) or "exit-code" in _read_status(status), START_S
        )
        pid = _read_status(status).get("child-pid")
        process = proc.read_stat(pid) if pid else None
        if process is None:
            logger.error("bubblewrap did not start: %s", self.read_log(spec.sandbox_id))
            raise SandboxRefused("Bubblewrap refused to start the sandbox as it was asked for.")
        state = {"pid": pid, "started": process.started, "volume": spec.volume}
        new = folder / "state.json.new"
        new.write_text(json.dumps(state))
        new.replace(folder / "state.json")


def _missing_programs() -> list[str]:
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    return missing if Path(PYTHON).exists() else [*missing, PYTHON]


def _open_filter(folder: Path) -> IO[bytes]:
    """Write the seccomp filter, and open it for bwrap to read."""
    path = folder / "filter"
    path.write_bytes(build_filter())
    return path.open("rb")


def _tenants(pid: int) -> list[proc.ProcessStat]:
    """List the sandbox's processes but for the first, which only waits for the others."""
    return [process for process in proc.processes_in_namespace_of(pid) if process.pid != pid]


def _read_status(path: Path) -> dict[str, Any]:
    """Merge the JSON documents that bwrap wrote: the child's number at first, its exit code at the end."""
    merged: dict[str, Any] = {}
    with contextlib.suppress(OSError):
        for line in path.read_text().splitlines():
            with contextlib.suppress(ValueError):
                merged.update(json.loads(line))
    return merged


def _wait_until(condition: Callable[[], bool], timeout_s: float) -> bool:
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_S)
    return True


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the folder's lock: two starts of one sandbox at once must not make two."""
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
