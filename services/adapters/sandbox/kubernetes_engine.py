"""The driver for one node of a Kubernetes cluster: a pod for each sandbox, a claim for each volume.

The worker and the gateway of the node run beside the sandboxes, as a DaemonSet's pods do; the link's folder is a host
path, so that a pod needs no network at all and a policy forbids it all. What a cluster does not tell is not promised:
whether its network enforces policies, whether its storage keeps a claim's size, and how many processes a pod may have.

A pod cannot be frozen, nor stopped and kept: stopping deletes it, and the claim stays.
"""

from __future__ import annotations

import contextlib
import json
import math
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO
from uuid import UUID

import urllib3
from kubernetes import client, config, watch
from kubernetes.utils.quantity import parse_quantity

from services.adapters.sandbox import kubernetes_manifests as manifests
from services.adapters.sandbox import node_stats
from services.adapters.sandbox.cluster_failures import ObjectExists, ObjectGone, mapped_answers
from services.adapters.sandbox.cluster_place import ClusterPlace
from services.adapters.sandbox.ended import OwnEnds
from services.adapters.sandbox.hardening import ALL_PROMISES, refuse_gaps
from services.adapters.sandbox.kubernetes_volumes import ClaimStore
from services.adapters.sandbox.pod_states import OVER, find_failure, report_of
from services.domain.errors import (
    EngineAway,
    ImageMissing,
    PauseUnsupported,
    RuntimeMissing,
    SandboxRefused,
    SlipwayError,
)
from services.domain.ports.sandbox import (
    EngineReport,
    HostResources,
    Promise,
    SandboxReport,
    SandboxSpec,
    SandboxStatus,
    SandboxUsage,
)

TIMEOUT_S = 30
START_S = 120.0
SETTLE_S = 30.0
POLL_S = 0.1
WATCH_S = 2
# A kept connection may be closed just as it is used. Every request may be sent twice: objects have names of ours.
_AGAIN = urllib3.Retry(
    total=3, backoff_factor=0.1, allowed_methods=None, respect_retry_after_header=False, raise_on_status=False
)
UNTOLD = frozenset({Promise.NO_NETWORK, Promise.PIDS_LIMIT, Promise.DISK_LIMIT})


class KubernetesDriver:
    """Pods on one node. Keeps nothing but its client: the cluster is asked each time."""

    kind = "kubernetes"
    can_pause = False

    def __init__(self, installation: str, run_dir: Path, place: ClusterPlace) -> None:
        self._installation = installation
        self._place = place
        self._lock = threading.Lock()
        self._client: client.ApiClient | None = None
        self._own_ends = OwnEnds()
        self._claims = ClaimStore(self._core, installation, place, run_dir, timeout_s=TIMEOUT_S)
        self.promises: frozenset[Promise] = ALL_PROMISES - UNTOLD

    def close(self) -> None:
        """Let go of the connections to the cluster."""
        with self._lock:
            if self._client is not None:
                self._client.close()  # type: ignore[no-untyped-call]
            self._client = None

    def check(self) -> EngineReport:
        try:
            with self._mapped("asking the cluster what it is"):
                version = client.VersionApi(self._api()).get_code(_request_timeout=TIMEOUT_S)
        except SlipwayError as exc:
            return EngineReport(is_up=False, version="", note=exc.message)
        lacking = ", ".join(sorted(ALL_PROMISES - self.promises))
        note = f"A cluster does not tell whether it keeps: {lacking}. It cannot pause a sandbox."
        return EngineReport(is_up=True, version=str(version.git_version), note=note)

    def measure_host(self) -> HostResources:
        node = self._read_node()
        images = {name for image in node.status.images or () for name in image.names or ()}
        return HostResources(
            memory_bytes=int(parse_quantity(node.status.capacity["memory"])),  # type: ignore[no-untyped-call]
            memory_free_bytes=node_stats.free_memory_bytes(self._summary()),
            runtimes=self._runtimes(),
            images=frozenset(images),
        )

    def resolve_image(self, image: str) -> str:
        """Return the digest that the node has for a name. An image that is not there is named by its digest."""
        if "@sha256:" in image:
            return image
        for known in self._read_node().status.images or ():
            names = known.names or ()
            digests = [name for name in names if "@sha256:" in name]
            if image in names and digests:
                return str(digests[0])
        raise ImageMissing("The sandbox image is not on this node, and only a digest names it for sure.")

    def start(self, spec: SandboxSpec) -> None:
        if spec.installation != self._installation:
            raise SandboxRefused("The sandbox belongs to another installation.")
        refuse_gaps(spec, self.promises)
        if spec.runtime is not None and spec.runtime not in self._runtimes():
            raise RuntimeMissing("The cluster has no such runtime class.")
        self._own_ends.forget(spec.sandbox_id)
        self._ensure_policy()
        if spec.volume is not None:
            self._claims.ensure(spec.volume, spec.limits.disk_bytes)
        name = self._name(spec.sandbox_id)
        found = self._find(name)
        if found is not None and (found.status.phase in OVER or found.metadata.deletion_timestamp):
            self._delete(name, grace_s=0)
        with contextlib.suppress(ObjectExists), mapped_answers("making a pod"):
            self._core().create_namespaced_pod(
                self._place.namespace, manifests.pod(spec, self._place, name), _request_timeout=TIMEOUT_S
            )
        self._wait_for_start(name)

    def pause(self, sandbox_id: UUID) -> None:
        """Refuse: a cluster has no way to freeze a pod. Raises: PauseUnsupported."""
        if self.inspect(sandbox_id).status is SandboxStatus.RUNNING:
            raise PauseUnsupported("A cluster cannot pause a sandbox.")

    def unpause(self, sandbox_id: UUID) -> None:
        """Do nothing: none is ever paused."""

    def stop(self, sandbox_id: UUID, *, grace_s: float = 2.0) -> None:
        """Delete the pod; the claim stays."""
        self._own_ends.add(sandbox_id)
        self._delete(self._name(sandbox_id), grace_s=math.ceil(grace_s))

    def destroy(self, sandbox_id: UUID) -> None:
        self._own_ends.add(sandbox_id)
        self._delete(self._name(sandbox_id), grace_s=0)

    def read_usage(self, sandbox_id: UUID) -> SandboxUsage | None:
        if self.inspect(sandbox_id).status is not SandboxStatus.RUNNING:
            return None
        return node_stats.find_usage(self._summary(), self._name(sandbox_id))

    def watch_ends(self, stop: threading.Event) -> Iterator[UUID]:
        """Yield each sandbox that ends by itself, or is evicted, from the call on."""
        with self._mapped("listing the pods"):
            version = self._list().metadata.resource_version
        return self._ends(version, stop)

    def list_volumes(self) -> frozenset[str]:
        return self._claims.list_names()

    def save_volume(self, volume: str, target: BinaryIO) -> None:
        self._ensure_policy()
        self._claims.save(volume, target)

    def load_volume(self, volume: str, source: BinaryIO, *, disk_bytes: int) -> None:
        self._ensure_policy()
        self._claims.load(volume, source, disk_bytes=disk_bytes)

    def remove_volume(self, volume: str) -> None:
        self._claims.remove(volume)

    def inspect(self, sandbox_id: UUID) -> SandboxReport:
        pod = self._find(self._name(sandbox_id))
        return report_of(sandbox_id, pod) if pod else SandboxReport(sandbox_id, SandboxStatus.GONE)

    def list_sandboxes(self) -> list[SandboxReport]:
        with self._mapped("listing the pods"):
            pods = self._list().items
        return [report_of(UUID(pod.metadata.labels[manifests.SANDBOX_LABEL]), pod) for pod in pods]

    def read_log(self, sandbox_id: UUID, *, max_bytes: int = 16_384) -> str:
        try:
            with mapped_answers("reading a pod's log"):
                log = self._core().read_namespaced_pod_log(
                    self._name(sandbox_id),
                    self._place.namespace,
                    tail_lines=1_000,
                    _request_timeout=TIMEOUT_S,
                )
        except (ObjectGone, SandboxRefused):  # refused: there is a pod, but it never began
            return ""
        return str(log or "").encode()[-max_bytes:].decode("utf-8", "replace")

    # --- the cluster ---------------------------------------------------------------------------------

    def _api(self) -> client.ApiClient:
        with self._lock:
            if self._client is None:
                settings = client.Configuration()
                if self._place.api_url is not None:
                    settings.host = self._place.api_url
                else:
                    _load_account(settings)
                settings.retries = _AGAIN
                self._client = client.ApiClient(settings)
            return self._client

    def _core(self) -> Any:
        """Return the core API. Untyped: manifests are plain JSON here, and every field of an answer may be None."""
        return client.CoreV1Api(self._api())

    @contextlib.contextmanager
    def _mapped(self, doing: str) -> Iterator[None]:
        try:
            with mapped_answers(doing):
                yield
        except (ObjectGone, ObjectExists) as exc:
            raise EngineAway("The cluster answers something else.", retry_after_s=5.0) from exc

    def _name(self, sandbox_id: UUID) -> str:
        return manifests.pod_name(self._installation, str(sandbox_id))

    def _read_node(self) -> Any:
        with self._mapped("looking at the node"):
            return self._core().read_node(self._place.node, _request_timeout=TIMEOUT_S)

    def _find(self, name: str) -> Any:
        try:
            with mapped_answers("looking for a pod"):
                return self._core().read_namespaced_pod(
                    name, self._place.namespace, _request_timeout=TIMEOUT_S
                )
        except ObjectGone:
            return None

    def _selector(self) -> str:
        labels = {manifests.INSTALLATION_LABEL: self._installation, manifests.NODE_LABEL: self._place.node}
        return ",".join([*(f"{name}={value}" for name, value in labels.items()), manifests.SANDBOX_LABEL])

    def _list(self) -> Any:
        return self._core().list_namespaced_pod(
            self._place.namespace, label_selector=self._selector(), _request_timeout=TIMEOUT_S
        )

    def _ensure_policy(self) -> None:
        """Cut off the pods of this installation before the first of them is made."""
        network: Any = client.NetworkingV1Api(self._api())
        with contextlib.suppress(ObjectExists), mapped_answers("making the network policy"):
            network.create_namespaced_network_policy(
                self._place.namespace, manifests.policy(self._installation), _request_timeout=TIMEOUT_S
            )

    def _runtimes(self) -> frozenset[str]:
        with self._mapped("listing the runtime classes"):
            node: Any = client.NodeV1Api(self._api())
            found = node.list_runtime_class(_request_timeout=TIMEOUT_S)
        return frozenset(item.metadata.name for item in found.items)

    def _summary(self) -> dict[str, Any]:
        with self._mapped("reading the node's statistics"):
            answer = self._core().connect_get_node_proxy_with_path(
                self._place.node, "stats/summary", _preload_content=False, _request_timeout=TIMEOUT_S
            )
            summary: dict[str, Any] = json.loads(answer.data)
        return summary

    def _wait_for_start(self, name: str) -> None:
        deadline = time.monotonic() + START_S
        while True:
            pod = self._find(name)
            if pod is None:
                raise EngineAway("The cluster removed the sandbox while it started.", retry_after_s=2.0)
            if pod.status.phase in (*OVER, "Running"):
                return
            if failure := find_failure(pod):
                self._delete(name, grace_s=0)
                raise failure
            if time.monotonic() > deadline:
                raise EngineAway("The cluster is slow to start a sandbox.", retry_after_s=10.0)
            time.sleep(POLL_S)

    def _delete(self, name: str, *, grace_s: int) -> None:
        with contextlib.suppress(ObjectGone), mapped_answers("deleting a pod"):
            self._core().delete_namespaced_pod(
                name, self._place.namespace, grace_period_seconds=grace_s, _request_timeout=TIMEOUT_S
            )
        deadline = time.monotonic() + SETTLE_S + grace_s
        while self._find(name) is not None:
            if time.monotonic() > deadline:
                raise EngineAway("The cluster is slow to delete a sandbox.", retry_after_s=5.0)
            time.sleep(POLL_S)

    def _ends(self, version: str, stop: threading.Event) -> Iterator[UUID]:
        """Watch in short turns, so that `stop` is heard; each goes on where the last one was."""
        watcher = watch.Watch()  # type: ignore[no-untyped-call]
        watcher.resource_version = version
        seen: set[UUID] = set()
        while not stop.is_set():
            with self._mapped("watching the pods"):
                events = list(self._watch_once(watcher))
            for kind, pod in events:
                sandbox_id = UUID(pod.metadata.labels[manifests.SANDBOX_LABEL])
                is_over = kind == "DELETED" or pod.status.phase in OVER
                if not is_over:
                    seen.discard(sandbox_id)
                elif sandbox_id not in seen:
                    seen.add(sandbox_id)
                    if not stop.is_set() and not self._own_ends.take(sandbox_id):
                        yield sandbox_id
                if kind == "DELETED":
                    seen.discard(sandbox_id)

    def _watch_once(self, watcher: Any) -> Iterator[tuple[str, Any]]:
        for event in watcher.stream(
            self._core().list_namespaced_pod,
            self._place.namespace,
            label_selector=self._selector(),
            resource_version=watcher.resource_version,
            timeout_seconds=WATCH_S,
            _request_timeout=TIMEOUT_S,
        ):
            yield event["type"], event["object"]
            if event["type"] == "DELETED" or event["object"].status.phase in OVER:
                watcher.stop()  # what has ended is told at once


def _load_account(settings: client.Configuration) -> None:
    """Use the service account of the worker's own pod. Raises: EngineAway."""
    try:
        config.load_incluster_config(client_configuration=settings)  # type: ignore[no-untyped-call]
    except config.ConfigException as exc:
        raise EngineAway("This worker does not run in a cluster.", retry_after_s=60.0) from exc
