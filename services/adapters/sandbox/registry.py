"""Which driver serves this host."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Literal

from services.adapters.sandbox.cluster_place import ClusterPlace
from services.domain.errors import ConfigInvalid
from services.domain.ports.sandbox import SandboxDriver
from services.kit.environment import Environment

KINDS = ("docker", "bubblewrap", "kubernetes", "null")


def make_driver(
    kind: str,
    installation: str,
    run_dir: Path,
    *,
    data_dir: Path | None = None,
    docker_host: str | None = None,
    volume_backend: Literal["auto", "loop", "folder"] = "auto",
    cluster: ClusterPlace | None = None,
    environment: str | None = None,
) -> SandboxDriver:
    """Make the driver of a kind; what it needs is loaded only then. Raises: ConfigInvalid.

    Beneath `data_dir` lie the files of workspaces, as `volume_backend` says; `environment` is SLIPWAY_ENV, which the
    null driver heeds.
    """
    if kind == "docker":
        from services.adapters.sandbox.docker_engine import DockerDriver

        return DockerDriver(
            installation, data_dir=data_dir or run_dir, host=docker_host, volume_backend=volume_backend
        )
    if kind == "bubblewrap":
        from services.adapters.sandbox.bubblewrap import BubblewrapDriver

        return BubblewrapDriver(
            installation, run_dir, data_dir=data_dir or run_dir, volume_backend=volume_backend
        )
    if kind == "kubernetes":
        from services.adapters.sandbox.kubernetes_engine import KubernetesDriver

        return KubernetesDriver(installation, run_dir, cluster or ClusterPlace(node=platform.node()))
    if kind == "null":
        from services.adapters.sandbox.null_driver import NullDriver

        return NullDriver(installation, environment=environment)
    raise ConfigInvalid(f"There is no sandbox driver {kind!r}; there are {', '.join(KINDS)}.")


def make_host_driver(env: Environment) -> SandboxDriver:
    """Make the driver that the settings of this host name. Raises: ConfigInvalid."""
    return make_driver(
        env.sandbox_driver,
        env.installation,
        env.run_dir,
        data_dir=env.data_dir,
        docker_host=env.docker_host,
        volume_backend=env.volume_backend,
        cluster=place_in_cluster(env),
        environment=env.env,
    )


def place_in_cluster(env: Environment) -> ClusterPlace:
    """Return the node that this host is, should it be one of a cluster."""
    return ClusterPlace(
        node=env.kubernetes_node or env.host_name,
        namespace=env.kubernetes_namespace,
        api_url=env.kubernetes_api,
        storage_class=env.kubernetes_storage_class,
        tool_image=env.agent_image,
    )
