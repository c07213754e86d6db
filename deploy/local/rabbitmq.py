"""A private RabbitMQ: a node of its own with its own name, ports, cookie and port mapper (epmd)."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import amqp

from deploy.local.accounts import give, server_account
from deploy.local.envfile import write_private
from deploy.local.failures import ToolMissing
from deploy.local.program import Program

_ACCOUNT = "rabbitmq"
# The wrapper in /usr/sbin changes folder and user by itself; this one does what it is told.
_SERVER = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
_CONTROL = Path("/usr/lib/rabbitmq/bin/rabbitmqctl")
# Two idle cores are worth more than the microseconds that busy-waiting schedulers save.
_QUIET_SCHEDULERS = "+sbwt none +sbwtdcpu none +sbwtdio none"


def _write(path: Path, text: str, account: str | None) -> None:
    write_private(path, text)
    give(path, account)


def prepare(folder: Path, kept: Mapping[str, str]) -> None:
    """Write its configuration, cookie and empty plug-in list."""
    if not _SERVER.exists():
        raise ToolMissing("rabbitmq-server", "rabbitmq-server")
    account = server_account(_ACCOUNT)
    for part in (folder, folder / "mnesia", folder / "log"):
        part.mkdir(parents=True, exist_ok=True)
        part.chmod(0o700)
        give(part, account)
    # consumer_timeout: a job may hold its message for a day before the broker takes it for dead.
    _write(
        folder / "rabbitmq.conf",
        f"""\
listeners.tcp.1 = 127.0.0.1:{kept["LOCAL_RABBITMQ_PORT"]}
default_user = slipway
default_pass = {kept["LOCAL_RABBITMQ_PASSWORD"]}
consumer_timeout = 86400000
disk_free_limit.absolute = 50MB
log.console = true
log.console.level = warning
log.file = false
""",
        account,
    )
    _write(folder / "enabled_plugins", "[].\n", account)
    _write(folder / "rabbitmq-env.conf", "", account)
    cookie = folder / ".erlang.cookie"
    if not cookie.exists() or cookie.read_text(encoding="utf-8") != kept["LOCAL_ERLANG_COOKIE"]:
        _write(cookie, kept["LOCAL_ERLANG_COOKIE"], account)
        cookie.chmod(0o400)


def _environment(folder: Path, kept: Mapping[str, str]) -> dict[str, str]:
    return {
        "HOME": str(folder),
        "LANG": "C.UTF-8",
        "RABBITMQ_NODENAME": f"slipway-{kept['SLIPWAY_INSTALLATION']}@localhost",
        "RABBITMQ_NODE_PORT": kept["LOCAL_RABBITMQ_PORT"],
        "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
        "RABBITMQ_DIST_PORT": kept["LOCAL_RABBITMQ_DIST_PORT"],
        "ERL_EPMD_PORT": kept["LOCAL_EPMD_PORT"],
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
        "RABBITMQ_LOG_BASE": str(folder / "log"),
        "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
        "RABBITMQ_ADVANCED_CONFIG_FILE": str(folder / "advanced.config"),
        "RABBITMQ_CONF_ENV_FILE": str(folder / "rabbitmq-env.conf"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
        "RABBITMQ_PID_FILE": str(folder / "rabbitmq.pid"),
    }


def programs(folder: Path, kept: Mapping[str, str]) -> list[Program]:
    """Return how it is run: epmd as a program of its own, so that no stray daemon outlives the stack."""
    account = server_account(_ACCOUNT)
    environment = _environment(folder, kept)
    epmd = Program(
        name="epmd",
        command=(shutil.which("epmd") or "epmd", "-address", "127.0.0.1", "-port", kept["LOCAL_EPMD_PORT"]),
        environment={"HOME": str(folder)},
        account=account,
        priority=5,
    )
    server = Program(
        name="rabbitmq",
        command=(str(_SERVER),),
        environment={
            **environment,
            # Makes the script become the Erlang machine instead of waiting beside it: a kill hits the server.
            "RUNNING_UNDER_SYSTEMD": "true",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": (
                f"{_QUIET_SCHEDULERS} -start_epmd false -kernel inet_dist_use_interface {{127,0,0,1}}"
            ),
        },
        account=account,
        stop_wait_s=30,
        priority=20,
        is_group_stopped=False,
    )
    return [epmd, server]


def control(folder: Path, kept: Mapping[str, str], *arguments: str) -> str:
    """Run `rabbitmqctl` against this node and return what it prints."""
    environ = {"PATH": os.environ.get("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"), **_environment(folder, kept)}
    return subprocess.run(
        [str(_CONTROL), *arguments], env=environ, check=True, capture_output=True, text=True, timeout=60
    ).stdout


def find_fault(url: str) -> str | None:
    """Return why it is not ready, or None."""
    address = url.removeprefix("amqp://").rstrip("/")
    credentials, _, host = address.rpartition("@")
    user, _, password = credentials.partition(":")
    try:
        connection = amqp.Connection(host, userid=user, password=password, connect_timeout=3, read_timeout=3)
        connection.connect()
        connection.close()
    except (OSError, amqp.AMQPError) as error:
        return str(error) or type(error).__name__
    return None
