"""The servers under a stack: PostgreSQL, Redis and RabbitMQ, prepared and awaited as one."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from deploy.local import identity, postgres, rabbitmq, redis
from deploy.local.accounts import can_reach, server_account
from deploy.local.console import Console
from deploy.local.control import Supervisor, wait_until
from deploy.local.failures import NotReady
from deploy.local.layout import Layout, shown
from deploy.local.ports import is_free
from deploy.local.program import Program
from deploy.local.settings_env import SERVER_PORTS, SERVICE_PORTS

_READY_WITHIN_S = 60.0
_PORT_OF = {
    "LOCAL_POSTGRES_PORT": "postgres",
    "LOCAL_REDIS_PORT": "redis",
    "LOCAL_RABBITMQ_PORT": "rabbitmq",
    "LOCAL_RABBITMQ_DIST_PORT": "rabbitmq",
    "LOCAL_EPMD_PORT": "epmd",
    "SLIPWAY_API_PORT": "api",
    "SLIPWAY_REALTIME_PORT": "realtime",
    "SLIPWAY_GATEWAY_PORT": "gateway",
    identity.PORT: identity.NAME,
}


def place_data(layout: Layout, installation: str) -> None:
    """Make the data folder; elsewhere, behind a link, when the servers' users cannot get to it (in /root)."""
    if layout.data.exists():
        return
    accounts = [server_account(name) for name in ("postgres", "redis", "rabbitmq")]
    if all(can_reach(layout.data, account) for account in accounts):
        layout.data.mkdir(mode=0o711)
        layout.data.chmod(0o711)
        return
    elsewhere = Path("/var/lib/slipway") / installation
    elsewhere.mkdir(parents=True, exist_ok=True)
    elsewhere.chmod(0o711)
    if layout.data.is_symlink():
        layout.data.unlink()
    layout.data.symlink_to(elsewhere)


def busy_ports(kept: Mapping[str, str], supervisor: Supervisor) -> list[str]:
    """Name the port settings that something else occupies: not free, and our program does not run."""
    running = supervisor.states()
    busy = []
    for name in SERVER_PORTS + SERVICE_PORTS:
        state = running.get(_PORT_OF[name])
        if (state is None or not state.pid) and not is_free(int(kept[name])):
            busy.append(name)
    return busy


def prepare(layout: Layout, kept: Mapping[str, str]) -> list[Program]:
    """Make what the servers need on disk and return their programs."""
    place_data(layout, kept["SLIPWAY_INSTALLATION"])
    data = layout.data.resolve()
    postgres.prepare(data / "postgres", kept)
    redis.prepare(data / "redis", kept)
    rabbitmq.prepare(data / "rabbitmq", kept)
    return [
        postgres.program(data / "postgres", kept),
        redis.program(data / "redis"),
        *rabbitmq.programs(data / "rabbitmq", kept),
    ]


def _is_well(find_fault: Callable[[], str | None]) -> bool:
    return find_fault() is None


def wait_ready(urls: Mapping[str, str], console: Console) -> None:
    """Wait until all three answer. Raises: NotReady."""
    probes: list[tuple[str, Callable[[], str | None]]] = [
        ("postgres", lambda: postgres.find_fault(urls["SLIPWAY_ADMIN_DATABASE_URL"])),
        ("redis", lambda: redis.find_fault(urls["SLIPWAY_REDIS_URL"])),
        ("rabbitmq", lambda: rabbitmq.find_fault(urls["SLIPWAY_BROKER_URL"])),
    ]
    for name, find_fault in probes:
        with console.step(name) as step:
            if not wait_until(functools.partial(_is_well, find_fault), within_s=_READY_WITHIN_S, every_s=0.1):
                raise NotReady(name, find_fault() or "it answered too late")
            step.note = urls[_URL_OF[name]].rpartition("@")[2]


_URL_OF = {
    "postgres": "SLIPWAY_ADMIN_DATABASE_URL",
    "redis": "SLIPWAY_REDIS_URL",
    "rabbitmq": "SLIPWAY_BROKER_URL",
}


def last_words(layout: Layout, program: str, lines: int = 20) -> str:
    """Return the end of a program's log, with its place above it."""
    path = layout.logs / f"{program}.log"
    if not path.exists():
        return f"({shown(path)} was not written)"
    with path.open("rb") as stream:
        stream.seek(0, os.SEEK_END)
        stream.seek(max(0, stream.tell() - 65_536))
        tail = stream.read().decode("utf-8", "replace").splitlines()[-lines:]
    return "\n".join([f"the end of {shown(path)}:", *(f"    {line}" for line in tail)])
