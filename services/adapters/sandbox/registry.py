"""Which driver serves this host."""

from __future__ import annotations

from pathlib import Path

from services.domain.errors import ConfigInvalid
from services.domain.ports.sandbox import SandboxDriver

KINDS = ("docker", "bubblewrap", "null")


def make_driver(
    kind: str,
    installation: str,
    run_dir: Path,
    *,
    data_dir: Path | None = None,
    docker_host: str | None = None,
    environment: str | None = None,
) -> SandboxDriver:
    """Make the driver of a kind; what it needs is loaded only then. Raises: ConfigInvalid.

    `data_dir` is where bubblewrap keeps workspaces; `environment` is SLIPWAY_ENV, which the null driver heeds.
    """
    if kind == "docker":
        from services.adapters.sandbox.docker_engine import DockerDriver

        return DockerDriver(installation, host=docker_host)
    if kind == "bubblewrap":
        from services.adapters.sandbox.bubblewrap import BubblewrapDriver

        return BubblewrapDriver(installation, run_dir, data_dir=data_dir)
    if kind == "null":
        from services.adapters.sandbox.null_driver import NullDriver

        return NullDriver(installation, environment=environment)
    raise ConfigInvalid(f"There is no sandbox driver {kind!r}; there are {', '.join(KINDS)}.")
