"""The seven processes of Slipway itself: how each is run, and when it is ready."""

from __future__ import annotations

import hashlib
import http.client
import json
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from deploy.local.console import Console
from deploy.local.control import ProgramState, Supervisor, wait_until
from deploy.local.failures import NotReady
from deploy.local.layout import REPOSITORY, Layout
from deploy.local.program import Program

_READY_WITHIN_S = 90.0
_HEARTBEAT_S = 30.0
# A program that has died this often since we began to look is broken, not slow.
_DEATHS = 3


@dataclass(frozen=True, slots=True)
class Service:
    """One of our processes. `port` and `heartbeat` say how its readiness is seen; neither: that it runs."""

    name: str
    module: str
    port: str | None = None
    heartbeat: str | None = None


SERVICES = (
    Service("api", "services.api.serve", port="SLIPWAY_API_PORT"),
    Service("realtime", "services.realtime.serve", port="SLIPWAY_REALTIME_PORT"),
    Service("gateway", "services.mcp_gateway.serve", port="SLIPWAY_GATEWAY_PORT"),
    Service("worker", "services.worker.serve", heartbeat="worker.beat"),
    Service("relay", "services.worker.relay", heartbeat="relay.beat"),
    Service("beat", "services.worker.beat"),
    Service("listen", "services.worker.listen", heartbeat="listen.beat"),
)


# Roles that own tables or more: known to `manage.py provision`, never to a process that strangers talk to.
PROVISIONING_ONLY = (
    "SLIPWAY_ADMIN_DATABASE_URL",
    "SLIPWAY_OWNER_DATABASE_URL",
    "SLIPWAY_PLANE_OWNER_DATABASE_URL",
)


def digest(settings: Mapping[str, str]) -> str:
    """Return a short text that changes when any setting does."""
    return hashlib.sha256(json.dumps(dict(settings), sort_keys=True).encode()).hexdigest()[:16]


def programs(layout: Layout, settings: Mapping[str, str]) -> list[Program]:
    """Return the programs of all services. A changed setting changes their digest, and so restarts them."""
    launcher = str(Path(__file__).with_name("launch.py"))
    without = [f"--without={name}" for name in PROVISIONING_ONLY]
    prefix = (sys.executable, "-I", "-S", launcher, "--settings", str(layout.services_env), *without, "--")
    return [
        Program(
            name=service.name,
            command=(*prefix, sys.executable, "-m", service.module),
            environment={"PYTHONUNBUFFERED": "1", "SLIPWAY_SETTINGS_DIGEST": digest(settings)},
            folder=REPOSITORY,
            stop_wait_s=15,
            priority=200,
            is_started_at_once=False,
        )
        for service in SERVICES
    ]


def find_fault(service: Service, state: ProgramState | None, settings: Mapping[str, str]) -> str | None:
    """Return why the service is not ready, or None."""
    if state is None or not state.is_running:
        return "it does not run" if state is None else f"it is {state.state.lower()}"
    if service.port is not None:
        return _ask_ready(int(settings[service.port]))
    if service.heartbeat is not None:
        return _find_stale(Path(settings["SLIPWAY_RUN_DIR"]) / service.heartbeat, state.started)
    return None


def _ask_ready(port: int) -> str | None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/ready", headers={"Host": f"127.0.0.1:{port}"})
        answer = connection.getresponse()
        body = answer.read(2000).decode("utf-8", "replace")
    except (OSError, http.client.HTTPException) as error:
        return f"/ready does not answer: {error}"
    finally:
        connection.close()
    return None if answer.status == 200 else f"/ready answers {answer.status}: {body}"


def _find_stale(heartbeat: Path, started: int) -> str | None:
    try:
        beaten = heartbeat.stat().st_mtime
    except OSError:
        return f"{heartbeat} was not written"
    if beaten < started or time.time() - beaten > _HEARTBEAT_S:
        return f"{heartbeat} is {time.time() - beaten:.0f} s old"
    return None


class _Watch:
    """Looks at one service until it is ready, and notices when it dies over and over."""

    def __init__(self, service: Service, supervisor: Supervisor, settings: Mapping[str, str]) -> None:
        self._service = service
        self._supervisor = supervisor
        self._settings = settings
        self._deaths: set[int] = set()
        self.fault: str | None = None

    @property
    def is_broken(self) -> bool:
        return len(self._deaths) >= _DEATHS

    def is_over(self) -> bool:
        """Say whether there is nothing more to wait for: ready, or broken."""
        state = self._supervisor.states().get(self._service.name)
        if state is not None and state.state in {"BACKOFF", "FATAL"}:
            self._deaths.add(state.started)
        self.fault = find_fault(self._service, state, self._settings)
        return self.fault is None or self.is_broken


def wait_ready(supervisor: Supervisor, settings: Mapping[str, str], console: Console) -> None:
    """Wait until every service is ready. Raises: NotReady with the name of the first that is not."""
    for service in SERVICES:
        with console.step(service.name) as step:
            watch = _Watch(service, supervisor, settings)
            wait_until(watch.is_over, within_s=_READY_WITHIN_S, every_s=0.1)
            if watch.fault is not None:
                supervisor.stop(service.name)
                raise NotReady(service.name, "it keeps ending" if watch.is_broken else watch.fault)
            step.note = f"http://127.0.0.1:{settings[service.port]}" if service.port else ""
