"""A private PostgreSQL: its data folder, its program, its readiness."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path

import psycopg

from deploy.local.accounts import give, run_as, server_account
from deploy.local.failures import StartFailed, ToolMissing
from deploy.local.program import Program

_ACCOUNT = "postgres"


def binaries() -> Path:
    """Return the folder of the newest installed server's programs. Raises: ToolMissing."""
    found: dict[int, Path] = {}
    for initdb in Path("/usr/lib/postgresql").glob("*/bin/initdb"):
        version = initdb.parent.parent.name
        if version.isdigit():
            found[int(version)] = initdb.parent
    if not found:
        raise ToolMissing("PostgreSQL's initdb", "postgresql")
    return found[max(found)]


def _own_binaries(folder: Path) -> Path:
    """Return the programs of the version that wrote this data folder."""
    version_file = folder / "PG_VERSION"
    if not version_file.exists():
        return binaries()
    version = version_file.read_text(encoding="utf-8").strip()
    own = Path(f"/usr/lib/postgresql/{version}/bin")
    if not (own / "postgres").exists():
        raise StartFailed(
            f"{folder} was written by PostgreSQL {version}, which is not installed (postgresql-{version})"
        )
    return own


def prepare(folder: Path, kept: Mapping[str, str]) -> None:
    """Make the data folder once: UTF-8, checksums, passwords by SCRAM, a superuser `postgres`."""
    if (folder / "PG_VERSION").exists():
        return
    account = server_account(_ACCOUNT)
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    give(folder, account)
    with tempfile.NamedTemporaryFile("w", prefix="slipway-pw-", encoding="utf-8") as password:
        password.write(kept["LOCAL_PASSWORD_ADMIN"])
        password.flush()
        give(Path(password.name), account)
        run_as(
            account,
            [
                str(binaries() / "initdb"),
                *("--pgdata", str(folder), "--username", "postgres", "--pwfile", password.name),
                *("--auth", "scram-sha-256", "--encoding", "UTF8", "--locale", "C.UTF-8", "--data-checksums"),
            ],
            {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LANG": "C.UTF-8"},
        )


def program(folder: Path, kept: Mapping[str, str]) -> Program:
    """Return how it is run: TCP on loopback only, no shared socket folder, commits flushed but in tests."""
    settings = {
        "port": kept["LOCAL_POSTGRES_PORT"],
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": "",
        "fsync": kept.get("LOCAL_POSTGRES_FSYNC", "on"),
        "max_connections": "400",
        "shared_buffers": "128MB",
        "log_line_prefix": "%m [%p] %u@%d ",
        "log_timezone": "UTC",
        "timezone": "UTC",
    }
    options = [word for key, value in settings.items() for word in ("-c", f"{key}={value}")]
    return Program(
        name="postgres",
        command=(str(_own_binaries(folder) / "postgres"), "-D", str(folder), *options),
        account=server_account(_ACCOUNT),
        stop_signal="INT",
        stop_wait_s=20,
        priority=10,
        is_group_stopped=False,
    )


def find_fault(admin_url: str) -> str | None:
    """Return why it is not ready, or None."""
    try:
        with psycopg.connect(admin_url, connect_timeout=3) as connection:
            connection.execute("SELECT 1")
    except psycopg.Error as error:
        return re.sub(r"\s+", " ", str(error)).strip()
    return None
