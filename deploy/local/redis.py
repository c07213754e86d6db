"""A private Redis: its program and its readiness. It keeps nothing: what is in it may be lost."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import redis

from deploy.local.accounts import give, server_account
from deploy.local.envfile import write_private
from deploy.local.failures import ToolMissing
from deploy.local.program import Program

_ACCOUNT = "redis"


def prepare(folder: Path, kept: Mapping[str, str]) -> None:
    """Write its configuration; the password stands in the file and not on the command line."""
    if shutil.which("redis-server") is None:
        raise ToolMissing("redis-server", "redis-server")
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    account = server_account(_ACCOUNT)
    give(folder, account)
    path = folder / "redis.conf"
    write_private(
        path,
        f"""\
bind 127.0.0.1
port {kept["LOCAL_REDIS_PORT"]}
requirepass {kept["LOCAL_REDIS_PASSWORD"]}
dir "{folder}"
daemonize no
save ""
appendonly no
maxmemory 256mb
maxmemory-policy noeviction
""",
    )
    give(path, account)


def program(folder: Path) -> Program:
    """Return how it is run."""
    return Program(
        name="redis",
        command=(shutil.which("redis-server") or "redis-server", str(folder / "redis.conf")),
        account=server_account(_ACCOUNT),
        priority=10,
        is_group_stopped=False,
    )


def find_fault(url: str) -> str | None:
    """Return why it is not ready, or None."""
    try:
        with redis.Redis.from_url(url, socket_timeout=3, socket_connect_timeout=3) as client:
            client.ping()
    except redis.RedisError as error:
        return str(error)
    return None
