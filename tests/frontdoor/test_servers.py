"""The real servers: up together, private, back after a kill."""

from __future__ import annotations

import os
import signal
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from deploy.local import postgres, rabbitmq, redis
from deploy.local.control import wait_until
from deploy.local.infra import Infra

pytestmark = pytest.mark.stack


@pytest.fixture(scope="module")
def infra() -> Iterator[Infra]:
    folder = Path(tempfile.mkdtemp(prefix="slipway-frontdoor-"))
    servers = Infra(folder)
    try:
        yield servers.start()
    finally:
        servers.purge()
        assert not folder.exists()


def _fault(infra: Infra, name: str) -> str | None:
    if name == "postgres":
        return postgres.find_fault(infra.urls["SLIPWAY_ADMIN_DATABASE_URL"])
    if name == "redis":
        return redis.find_fault(infra.urls["SLIPWAY_REDIS_URL"])
    return rabbitmq.find_fault(infra.urls["SLIPWAY_BROKER_URL"])


@pytest.mark.parametrize("name", ["postgres", "redis", "rabbitmq"])
def test_a_killed_server_comes_back_by_itself(infra: Infra, name: str) -> None:
    killed = infra.pids()[name]
    os.kill(killed, signal.SIGKILL)
    assert wait_until(lambda: infra.pids().get(name, killed) != killed, within_s=60)
    assert wait_until(lambda: _fault(infra, name) is None, within_s=30), _fault(infra, name)


def test_the_listed_pid_is_the_server_itself(infra: Infra) -> None:
    names = {name: Path(f"/proc/{pid}/comm").read_text().strip() for name, pid in infra.pids().items()}
    assert names == {"epmd": "epmd", "postgres": "postgres", "redis": "redis-server", "rabbitmq": "beam.smp"}


def test_commits_are_flushed_and_wrong_passwords_refused(infra: Infra) -> None:
    url = infra.urls["SLIPWAY_ADMIN_DATABASE_URL"]
    with psycopg.connect(url) as connection:
        assert connection.execute("SHOW fsync").fetchone() == ("on",)
    secret = url.split(":")[2].split("@")[0]
    assert "password authentication failed" in (postgres.find_fault(url.replace(secret, "wrong")) or "")


def test_the_broker_keeps_long_jobs(infra: Infra) -> None:
    assert "86400000" in infra.rabbitmqctl("eval", "application:get_env(rabbit, consumer_timeout).")


def _listening_addresses(pids: set[int]) -> set[str]:
    """Return the addresses on which these processes listen, from the kernel's tables."""
    inodes = set()
    for pid in pids:
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            try:
                target = str(descriptor.readlink())
            except FileNotFoundError:
                continue
            if target.startswith("socket:["):
                inodes.add(target[8:-1])
    found = set()
    for table, family in (("tcp", socket.AF_INET), ("tcp6", socket.AF_INET6)):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in inodes:
                raw = bytes.fromhex(fields[1].split(":")[0])
                words = b"".join(raw[start : start + 4][::-1] for start in range(0, len(raw), 4))
                found.add(socket.inet_ntop(family, words))
    return found


def test_every_server_listens_on_loopback_only(infra: Infra) -> None:
    assert _listening_addresses(set(infra.pids().values())) <= {"127.0.0.1", "::1"}


def test_servers_never_run_as_root(infra: Infra) -> None:
    owners = {Path(f"/proc/{pid}").stat().st_uid for pid in infra.pids().values()}
    assert 0 not in owners


def test_data_survives_a_stop(infra: Infra) -> None:
    url = infra.urls["SLIPWAY_ADMIN_DATABASE_URL"]
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 7 AS value")
    infra.stop()
    assert infra.pids() == {}
    infra.start()
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT value FROM kept").fetchone() == (7,)
