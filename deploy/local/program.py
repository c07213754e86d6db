"""One program under the supervisor, and how its configuration is written."""

from __future__ import annotations

import configparser
import io
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

# A restart comes at once when the program has lived this long; sooner deaths wait one second more each time.
_LIVES_S = 1
_RETRIES = 1_000_000


@dataclass(frozen=True, slots=True)
class Program:
    """A process that the supervisor keeps alive.

    `account` is the user it runs as (None: ours). `is_group_stopped` sends the stop signal to its children
    too: right for the services, wrong for PostgreSQL, which tells its children itself.
    """

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    folder: Path = Path("/")
    account: str | None = None
    stop_signal: str = "TERM"
    stop_wait_s: int = 10
    priority: int = 100
    is_started_at_once: bool = True
    is_group_stopped: bool = True


def _literal(text: str) -> str:
    return text.replace("%", "%%")


def _environment(values: Mapping[str, str]) -> str:
    for key, value in values.items():
        if '"' in value or "\n" in value:
            raise ValueError(f"{key}: quotes and line breaks cannot be written for the supervisor")
    return _literal(",".join(f'{key}="{value}"' for key, value in sorted(values.items())))


def _program_section(program: Program, logs: Path) -> dict[str, str]:
    section = {
        "command": _literal(shlex.join(program.command)),
        "directory": _literal(str(program.folder)),
        "priority": str(program.priority),
        "autostart": "true" if program.is_started_at_once else "false",
        "autorestart": "true",
        "startsecs": str(_LIVES_S),
        "startretries": str(_RETRIES),
        "stopsignal": program.stop_signal,
        "stopwaitsecs": str(program.stop_wait_s),
        "stopasgroup": "true" if program.is_group_stopped else "false",
        "killasgroup": "true",
        "redirect_stderr": "true",
        "stdout_logfile": _literal(str(logs / f"{program.name}.log")),
        "stdout_logfile_maxbytes": "10MB",
        "stdout_logfile_backups": "2",
    }
    if program.environment:
        section["environment"] = _environment(program.environment)
    if program.account is not None:
        section["user"] = program.account
    return section


@dataclass(frozen=True, slots=True)
class SupervisorFiles:
    """Where the supervisor has its socket, its pid and its logs, and what keeps the pids in stack.json."""

    socket: Path
    pid: Path
    logs: Path
    listener: tuple[str, ...]
    listener_folder: Path
    account: str | None = None


def render_supervisord(files: SupervisorFiles, programs: Iterable[Program]) -> str:
    """Write the supervisor's whole configuration."""
    config = configparser.RawConfigParser()
    config["unix_http_server"] = {"file": str(files.socket), "chmod": "0700"}
    config["supervisord"] = {
        "nodaemon": "true",
        "silent": "true",
        "pidfile": _literal(str(files.pid)),
        "logfile": _literal(str(files.logs / "supervisord.log")),
        "logfile_maxbytes": "10MB",
        "logfile_backups": "2",
        "childlogdir": _literal(str(files.logs)),
        "identifier": "slipway",
        "minprocs": "200",
    }
    if files.account is not None:
        config["supervisord"]["user"] = files.account
    config["rpcinterface:supervisor"] = {
        "supervisor.rpcinterface_factory": "supervisor.rpcinterface:make_main_rpcinterface"
    }
    config["eventlistener:pids"] = {
        "command": _literal(shlex.join(files.listener)),
        "directory": _literal(str(files.listener_folder)),
        "events": "PROCESS_STATE",
        "buffer_size": "200",
        "autorestart": "true",
        "startretries": str(_RETRIES),
        "stdout_logfile": "NONE",
        "stderr_logfile": _literal(str(files.logs / "pids.log")),
        "stderr_logfile_maxbytes": "1MB",
        "stderr_logfile_backups": "1",
    }
    for program in programs:
        config[f"program:{program.name}"] = _program_section(program, files.logs)
    text = io.StringIO()
    config.write(text)
    return text.getvalue()
