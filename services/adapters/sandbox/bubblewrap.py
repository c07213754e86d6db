"""The driver for machines without a container engine: the same runner in namespaces made by bubblewrap.

Weaker than a container, and it says so by its promises: there is no limit on the memory, CPU or processes of
one sandbox. The system's programs are the host's, and the system-call filter is shorter than an engine's.
Nothing is kept in this process: each sandbox has a folder that says which process it is, so that a restarted
worker finds it again.
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
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any
from uuid import UUID

from services.adapters.sandbox import proc
from services.adapters.sandbox.bubblewrap_command import PYTHON, build_command, write_identity
from services.adapters.sandbox.hardening import AGENT_UID, volume_name
from services.adapters.sandbox.syscall_filter import build_filter, is_known_machine
from services.domain.errors import EngineAway, SandboxRefused, StillInUse
from services.domain.ports.sandbox import EngineReport, Promise, SandboxReport, SandboxSpec, SandboxStatus

logger = logging.getLogger(__name__)

START_S = 10.0
AGENT_IMAGE = Path(__file__).resolve().parents[3] / "agent_image"
PROGRAMS = ("bwrap", "setsid", "prlimit", "setpriv")
# One file system of its own: yes, but for the programs of the host's /usr, which it may read and run.
LACKING = frozenset({Promise.MEMORY_LIMIT, Promise.CPU_LIMIT, Promise.PIDS_LIMIT}) | (
    frozenset() if is_known_machine() else frozenset({Promise.SYSCALL_FILTER})
)
_FREEZE_ROUNDS = 10
_POLL_S = 0.01


class BubblewrapDriver:
    """Process trees of this host, each in namespaces of its own."""

    kind = "bubblewrap"
    promises: frozenset[Promise] = frozenset(Promise) - LACKING

    def __init__(
        self,
        installation: str,
        run_dir: Path,
        *,
        data_dir: Path | None = None,
        agent_image: Path = AGENT_IMAGE,
    ) -> None:
        self._installation = installation
        self._folder = run_dir / "bubblewrap"
        self._volumes = (data_dir or run_dir) / "volumes"
        self._agent_image = agent_image

    def check(self) -> EngineReport:
        missing = [program for program in PROGRAMS if shutil.which(program) is None]
        if not Path(PYTHON).exists():
            missing.append(PYTHON)
        if missing:
            return EngineReport(is_up=False, version="", note=f"Not installed: {', '.join(missing)}.")
        answer = subprocess.run(["bwrap", "--version"], capture_output=True, text=True, check=False)
        lacking = ", ".join(sorted(LACKING))
        return EngineReport(is_up=True, version=answer.stdout.strip(), note=f"It cannot promise: {lacking}.")

    def start(self, spec: SandboxSpec) -> None:
        if spec.installation != self._installation:
            raise SandboxRefused("The sandbox belongs to another installation.")
        if not self.check().is_up:
            raise EngineAway("Bubblewrap is not installed on this host.", retry_after_s=60.0)
        folder = self._folder_of(spec.sandbox_id)
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(folder):
            status = self.inspect(spec.sandbox_id).status
            if status is SandboxStatus.PAUSED:
                self.unpause(spec.sandbox_id)
            elif status is not SandboxStatus.RUNNING:
                self._launch(spec, folder)

    def pause(self, sandbox_id: UUID) -> None:
        """Stop every process of the sandbox. New ones may be forked meanwhile, so it is repeated until none is."""
        if (pid := self._alive_pid(sandbox_id)) is None:
            return
        for _ in range(_FREEZE_ROUNDS):
            running = [p for p in _tenants(pid) if p.state not in ("T", "Z", "X")]
            if not running:
                return
            for process in running:
                _signal(process.pid, signal.SIGSTOP)
            time.sleep(_POLL_S)

    def unpause(self, sandbox_id: UUID) -> None:
        if (pid := self._alive_pid(sandbox_id)) is not None:
            for process in _tenants(pid):
                _signal(process.pid, signal.SIGCONT)

    def stop(self, sandbox_id: UUID, *, grace_s: float = 2.0) -> None:
        """Tell the runner to end; after the grace kill the namespace's first process, and with it all others."""
        if (pid := self._alive_pid(sandbox_id)) is None:
            return
        self.unpause(sandbox_id)
        for process in _tenants(pid):
            if process.parent == pid:
                _signal(process.pid, signal.SIGTERM)
        if not _wait_until(lambda: self._alive_pid(sandbox_id) is None, grace_s):
            _signal(pid, signal.SIGKILL)
            _wait_until(lambda: self._alive_pid(sandbox_id) is None, START_S)

    def destroy(self, sandbox_id: UUID) -> None:
        if (pid := self._alive_pid(sandbox_id)) is not None:
            _signal(pid, signal.SIGKILL)
            _wait_until(lambda: self._alive_pid(sandbox_id) is None, START_S)
        shutil.rmtree(self._folder_of(sandbox_id), ignore_errors=True)

    def remove_volume(self, volume: str) -> None:
        folder = self._volume_folder(volume)
        for sandbox_id in self._known():
            if self._alive_pid(sandbox_id) is not None and self._read_state(sandbox_id).get("volume") == str(
                folder
            ):
                raise StillInUse("A sandbox still uses these files.")
        shutil.rmtree(folder, ignore_errors=True)

    def inspect(self, sandbox_id: UUID) -> SandboxReport:
        if not self._read_state(sandbox_id):
            return SandboxReport(sandbox_id, SandboxStatus.GONE)
        pid = self._alive_pid(sandbox_id)
        if pid is None:
            return SandboxReport(sandbox_id, SandboxStatus.STOPPED, exit_code=self._exit_code(sandbox_id))
        tenants = _tenants(pid)
        is_paused = bool(tenants) and all(process.state in ("T", "Z", "X") for process in tenants)
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

    def _volume_folder(self, volume: str) -> Path:
        return self._volumes / volume_name(self._installation, volume)

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

    def _launch(self, spec: SandboxSpec, folder: Path) -> None:
        workspace = None
        if spec.volume is not None:
            workspace = self._volume_folder(spec.volume)
            workspace.mkdir(parents=True, exist_ok=True)
            if os.geteuid() == 0:
                os.chown(workspace, AGENT_UID, AGENT_UID)
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
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=passed, check=True
            )
        _wait_until(
            lambda: "child-pid" in _read_status(status) or "exit-code" in _read_status(status), START_S
        )
        pid = _read_status(status).get("child-pid")
        process = proc.read_stat(pid) if pid else None
        if process is None:
            logger.error("bubblewrap did not start: %s", self.read_log(spec.sandbox_id))
            raise SandboxRefused("Bubblewrap refused to start the sandbox as it was asked for.")
        state = {"pid": pid, "started": process.started, "volume": str(workspace) if workspace else None}
        new = folder / "state.json.new"
        new.write_text(json.dumps(state))
        new.replace(folder / "state.json")


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


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


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
