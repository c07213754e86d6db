"""Talking to the supervisor of a stack: its programs, their states, starting and stopping them."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import subprocess
import sys
import time
import xmlrpc.client
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from supervisor.xmlrpc import SupervisorTransport

from deploy.local.envfile import write_private
from deploy.local.failures import StartFailed
from deploy.local.layout import REPOSITORY, Layout
from deploy.local.program import Program, SupervisorFiles, render_supervisord

_LISTENER = "pids"
_AWAY = (OSError, http.client.HTTPException, xmlrpc.client.ProtocolError)
_UP = frozenset({"RUNNING", "STARTING", "BACKOFF"})
_INHERITED = frozenset(
    {"PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "TZ", "PYTHONDONTWRITEBYTECODE", "DOCKER_HOST"}
    | {"PIP_INDEX_URL", "NPM_CONFIG_REGISTRY"}
)
_SYSTEM_FOLDERS = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
_INHERITED_ENDINGS = ("_CA_BUNDLE", "_CERT_FILE", "_CERT_DIR", "_PROXY", "_proxy")


@dataclass(frozen=True, slots=True)
class ProgramState:
    """What the supervisor says of one program. `started` is a Unix time, 0 when it never ran."""

    name: str
    state: str
    pid: int
    started: int

    @property
    def is_running(self) -> bool:
        return self.state == "RUNNING"


def inherited_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return what programs inherit from the shell: paths, language, certificates, proxies; no settings."""
    kept = {
        key: value for key, value in environ.items() if key in _INHERITED or key.endswith(_INHERITED_ENDINGS)
    }
    # Servers lie in the sbin folders, which a plain user's PATH may lack.
    folders = [*kept.get("PATH", "").split(":"), *_SYSTEM_FOLDERS]
    kept["PATH"] = ":".join(dict.fromkeys(folder for folder in folders if folder))
    return kept


def wait_until(is_true: Callable[[], bool], *, within_s: float, every_s: float = 0.05) -> bool:
    """Ask again and again until it is true or the time is over."""
    deadline = time.monotonic() + within_s
    while not is_true():
        if time.monotonic() > deadline:
            return False
        time.sleep(every_s)
    return True


class Supervisor:
    """The supervisor of one stack, reached over its socket in the stack's runtime folder."""

    def __init__(self, layout: Layout, runtime: Path) -> None:
        self._layout = layout
        self._socket = runtime / "supervisor.sock"
        self._process: subprocess.Popen[bytes] | None = None

    def _call(self, method: str, *arguments: Any) -> Any:
        transport = SupervisorTransport(None, None, f"unix://{self._socket}")
        proxy = xmlrpc.client.ServerProxy("http://localhost", transport=transport)
        try:
            return getattr(proxy.supervisor, method)(*arguments)
        finally:
            transport.close()

    def is_running(self) -> bool:
        """Say whether the supervisor answers."""
        try:
            return bool(self._call("getState")["statename"] == "RUNNING")
        except _AWAY:
            return False

    def states(self) -> dict[str, ProgramState]:
        """Return the state of every program by name; empty when the supervisor is away."""
        try:
            rows = self._call("getAllProcessInfo")
        except _AWAY:
            return {}
        return {
            row["name"]: ProgramState(row["name"], row["statename"], row["pid"], row["start"])
            for row in rows
            if row["name"] != _LISTENER
        }

    def pids(self) -> dict[str, int]:
        """Return the pid of every program that runs."""
        return {name: state.pid for name, state in sorted(self.states().items()) if state.pid}

    def apply(
        self, programs: Iterable[Program], environ: Mapping[str, str], *, is_bound: bool = False
    ) -> None:
        """Make these the programs: start the supervisor if it is away, else replace what changed.

        `is_bound` ends the stack when the calling process dies: for tests.
        """
        self._write(programs)
        if not self.is_running():
            self._start(environ, is_bound=is_bound)
            return
        added, changed, removed = self._call("reloadConfig")[0]
        for name in [*changed, *removed]:
            self._call("stopProcessGroup", name)
            self._call("removeProcessGroup", name)
        for name in [*added, *changed]:
            self._call("addProcessGroup", name)
        for name, state in self.states().items():
            if state.state in {"FATAL", "STOPPED", "EXITED"} and name in self._at_once(programs):
                self.start(name)

    @staticmethod
    def _at_once(programs: Iterable[Program]) -> set[str]:
        return {program.name for program in programs if program.is_started_at_once}

    def _write(self, programs: Iterable[Program]) -> None:
        files = SupervisorFiles(
            socket=self._socket,
            pid=self._layout.supervisord_pid,
            logs=self._layout.logs,
            listener=(
                sys.executable,
                "-m",
                "deploy.local.pids",
                str(self._layout.root),
                str(self._socket.parent),
            ),
            listener_folder=REPOSITORY,
            account="root" if os.geteuid() == 0 else None,
        )
        write_private(self._layout.supervisord_conf, render_supervisord(files, programs))

    def _start(self, environ: Mapping[str, str], *, is_bound: bool) -> None:
        self._end_unreachable()
        command = [sys.executable, "-m", "supervisor.supervisord", "-c", str(self._layout.supervisord_conf)]
        if is_bound:
            launcher = str(Path(__file__).with_name("launch.py"))
            command = [sys.executable, "-I", "-S", launcher, "--die-with", str(os.getpid()), "--", *command]
        with (self._layout.logs / "supervisord.out").open("ab") as output:
            self._process = subprocess.Popen(
                command,
                cwd=REPOSITORY,
                env=inherited_environment(environ),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        if not wait_until(self.is_running, within_s=15):
            raise StartFailed(f"the supervisor does not start; see {self._layout.logs}/supervisord.log")

    def _end_unreachable(self) -> None:
        """End a supervisor of this stack whose socket is gone, e.g. because /tmp was cleaned."""
        pid = self._kept_pid()
        if pid is not None:
            os.kill(pid, signal.SIGTERM)
            wait_until(lambda: self._kept_pid() is None, within_s=30)
        self._socket.unlink(missing_ok=True)

    def _kept_pid(self) -> int | None:
        try:
            pid = int(self._layout.supervisord_pid.read_text(encoding="utf-8"))
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
        except (OSError, ValueError):
            return None
        return pid if str(self._layout.supervisord_conf).encode() in command else None

    def start(self, name: str) -> None:
        """Start a program unless it runs or is about to."""
        state = self.states().get(name)
        if state is not None and state.state in _UP:
            return
        with contextlib.suppress(xmlrpc.client.Fault):  # started in between, or failing: its readiness tells
            self._call("startProcess", name, False)

    def stop(self, name: str) -> None:
        """Stop one program; it stays stopped until it is started again."""
        with contextlib.suppress(xmlrpc.client.Fault):  # not running
            self._call("stopProcess", name)

    def restart(self, name: str) -> None:
        """Stop one program and start it again."""
        self.stop(name)
        self.start(name)

    def shutdown(self, *, within_s: float = 60) -> None:
        """End every program and the supervisor itself; nothing happens when it is away."""
        pid = self._kept_pid()
        with contextlib.suppress(*_AWAY, xmlrpc.client.Fault):
            self._call("shutdown")
        if pid is not None and not wait_until(lambda: self._ended(pid), within_s=within_s):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if self._process is not None:
            self._process.wait(timeout=10)
            self._process = None
        self._socket.unlink(missing_ok=True)
        self._layout.supervisord_pid.unlink(missing_ok=True)

    def _ended(self, pid: int) -> bool:
        if self._process is not None:
            return self._process.poll() is not None
        return self._kept_pid() != pid
