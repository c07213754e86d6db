"""The container engine: found, or started in the background and then stopped by the stack that started it."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from deploy.local.control import inherited_environment, wait_until
from deploy.local.failures import EngineMissing
from deploy.local.layout import Layout

_ANSWERS_WITHIN_S = 40.0
_RUNTIME_FOLDERS = Path("/run")
_CONTAINERD_PID = "docker/containerd/containerd.pid"


def docker(*arguments: str, timeout_s: float = 60.0) -> subprocess.CompletedProcess[str]:
    """Run the engine's client and return what it said; the exit code is the caller's to judge."""
    try:
        return subprocess.run(
            ["docker", *arguments], capture_output=True, text=True, check=False, timeout=timeout_s
        )
    except (FileNotFoundError, subprocess.TimeoutExpired) as error:
        return subprocess.CompletedProcess(["docker", *arguments], 127, "", str(error))


def find_version() -> str | None:
    """Return the version of the engine that answers, or None."""
    done = docker("version", "--format", "{{.Server.Version}}", timeout_s=15)
    return done.stdout.strip() or None if done.returncode == 0 else None


def ensure_engine(layout: Layout, environ: Mapping[str, str]) -> str:
    """Return the engine's version, starting one when none answers and we may. Raises: EngineMissing."""
    version = find_version()
    if version is not None:
        return version
    if shutil.which("docker") is None:
        raise EngineMissing("the docker client is not installed")
    daemon = shutil.which("dockerd", path=inherited_environment(environ)["PATH"])
    if daemon is None:
        raise EngineMissing("no engine answers and dockerd is not installed")
    if os.geteuid() != 0:
        raise EngineMissing("no engine answers to this user, and only root can start one")
    return _start(layout, daemon, environ)


def _start(layout: Layout, daemon: str, environ: Mapping[str, str]) -> str:
    _remove_stale_pids(_RUNTIME_FOLDERS)
    log = layout.logs / "dockerd.log"
    with log.open("ab") as output:
        process = subprocess.Popen(
            [daemon],
            cwd="/",
            env=inherited_environment(environ),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    layout.engine_pid.write_text(f"{process.pid}\n", encoding="utf-8")
    wait_until(
        lambda: find_version() is not None or process.poll() is not None,
        within_s=_ANSWERS_WITHIN_S,
        every_s=0.25,
    )
    version = find_version()
    if version is None:
        stop_own_engine(layout)
        raise EngineMissing(f"dockerd does not come up here; see {log}")
    # It outlives this process on purpose: nothing waits for it here any more.
    process.returncode = 0
    return version


def _living_pid(pid_file: Path, program: str) -> int | None:
    """Return the pid in a file if it is that of a living process of this program."""
    try:
        pid = int(pid_file.read_text(encoding="utf-8"))
        name, _, rest = (
            Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").partition("(")[2].rpartition(")")
        )
    except (OSError, ValueError):
        return None
    return pid if name == program and not rest.lstrip().startswith("Z") else None


def _remove_stale_pids(folder: Path) -> None:
    """Remove pid files of an engine that was killed: a reused pid would keep the next one from starting."""
    for pid_file, program in ((folder / "docker.pid", "dockerd"), (folder / _CONTAINERD_PID, "containerd")):
        if pid_file.exists() and _living_pid(pid_file, program) is None:
            pid_file.unlink()


def _own_engine_pid(layout: Layout) -> int | None:
    return _living_pid(layout.engine_pid, "dockerd")


def _other_stacks_run(runtime: Path) -> bool:
    """Say whether another stack of this machine has a living supervisor, which may need the engine."""
    return any(socket.parent != runtime for socket in _RUNTIME_FOLDERS.glob("slipway-*/supervisor.sock"))


def stop_own_engine(layout: Layout, runtime: Path | None = None) -> bool:
    """Stop the engine if this stack started it and nobody else uses it; return whether it was stopped."""
    pid = _own_engine_pid(layout)
    if pid is None:
        layout.engine_pid.unlink(missing_ok=True)
        return False
    if docker("ps", "--quiet").stdout.strip() or (runtime is not None and _other_stacks_run(runtime)):
        return False
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    wait_until(lambda: _own_engine_pid(layout) is None, within_s=30)
    layout.engine_pid.unlink(missing_ok=True)
    return True


def remove_sandboxes(installation: str) -> int:
    """Remove this installation's containers, whatever their state; volumes stay. Return their number."""
    label = f"label=slipway.installation={installation}"
    found = docker("ps", "--all", "--quiet", "--filter", label)
    containers: Sequence[str] = found.stdout.split() if found.returncode == 0 else []
    if containers:
        docker("rm", "--force", *containers, timeout_s=120)
    return len(containers)


def end_bubblewrap_sandboxes(runtime: Path) -> int:
    """End the bubblewrap processes whose command names a folder of this stack's; return their number."""
    ended = 0
    needle = f"{runtime}/".encode()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if words[0].endswith(b"bwrap") and any(needle in word for word in words):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(int(entry.name), signal.SIGKILL)
                ended += 1
    return ended
