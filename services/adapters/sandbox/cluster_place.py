"""Where in a Kubernetes cluster a Slipway host is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ClusterPlace:
    """One node of a cluster as a Slipway host: its worker and its gateway run on that node, as a DaemonSet's pods do.

    `api_url` None means the service account of the worker's own pod; a URL is a proxy that adds the credentials.
    `tool_image` has `tar` in it, for saving and loading volumes.
    """

    node: str
    namespace: str = "slipway"
    api_url: str | None = None
    storage_class: str | None = None
    tool_image: str = "slipway-agent:latest"
