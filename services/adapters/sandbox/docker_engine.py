"""The driver for the Docker engine, and for what speaks its API."""

from __future__ import annotations

import contextlib
import logging
import math
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO
from uuid import UUID

import docker

from services.adapters.sandbox import cgroups, docker_facts, loop_mounts, proc
from services.adapters.sandbox.docker_events import read_ends
from services.adapters.sandbox.docker_facts import EngineFacts, read_facts
from services.adapters.sandbox.ended import OwnEnds
from services.adapters.sandbox.engine_failures import ContainerGone, EngineConflict, mapped_failures
from services.adapters.sandbox.hardening import AGENT_UID, ALL_PROMISES, WORKSPACE, host_options, refuse_gaps
from services.adapters.sandbox.volumes import Backend, Opening, VolumeStore
from services.domain.errors import EngineAway, RuntimeMissing, SandboxRefused, SlipwayError
from services.domain.ports.sandbox import (
    EngineReport,
    HostResources,
    Promise,
    SandboxReport,
    SandboxSpec,
    SandboxStatus,
    SandboxUsage,
)

logger = logging.getLogger(__name__)

INSTALLATION_LABEL = "slipway.installation"
SANDBOX_LABEL = "slipway.sandbox"
VOLUME_LABEL = "slipway.volume"
DEFAULT_HOST = "unix:///var/run/docker.sock"
TIMEOUT_S = 30
POOL_SIZE = 32  # twice the threads of a worker: a connection in use is not shared
SETTLE_S = 10.0
POLL_S = 0.02
KILLED = 137

_STATUS = {
    "running": SandboxStatus.RUNNING,
    "restarting": SandboxStatus.RUNNING,
    "paused": SandboxStatus.PAUSED,
}


class DockerDriver:
    """Hardened containers without a network. Keeps nothing but its client: the engine is asked each time."""

    kind = "docker"
    can_pause = True

    def __init__(
        self,
        installation: str,
        *,
        data_dir: Path,
        host: str | None = None,
        volume_backend: Backend = "auto",
        timeout_s: int = TIMEOUT_S,
    ) -> None:
        self._installation = installation
        self._host = host or DEFAULT_HOST
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._client: docker.APIClient | None = None
        self._facts: EngineFacts | None = None
        self._own_ends = OwnEnds()
        self._volumes = VolumeStore(
            data_dir,
            installation,
            backend=volume_backend,
            list_used=self._list_used_volumes,
            owner=AGENT_UID,
            loop_refusal=self._why_mounts_are_not_seen,
        )
        self.promises: frozenset[Promise] = ALL_PROMISES

    def close(self) -> None:
        """Let go of the connections to the engine."""
        with self._lock:
            if self._client is not None:
                self._client.close()
            self._client = None

    def check(self) -> EngineReport:
        """Ask the engine what it is; what a crash left mounted is unmounted by the way."""
        try:
            facts = self._learn()
            self._volumes.close_unused()
        except SlipwayError as exc:
            return EngineReport(is_up=False, version="", note=exc.message)
        return EngineReport(is_up=True, version=facts.version, note=facts.note(self._volumes.note))

    def measure_host(self) -> HostResources:
        facts = self._learn()
        with self._mapped("listing the images"):
            images = self._api().images()
        names = {
            name for image in images for key in ("RepoTags", "RepoDigests") for name in image.get(key) or ()
        }
        return HostResources(
            memory_bytes=facts.memory_bytes,
            memory_free_bytes=proc.free_memory_bytes(),
            runtimes=facts.runtimes,
            images=frozenset(names | {image["Id"] for image in images}),
        )

    def resolve_image(self, image: str) -> str:
        with self._mapped("looking for an image"):
            return str(self._api().inspect_image(image)["Id"])  # type: ignore[no-untyped-call]

    def start(self, spec: SandboxSpec) -> None:
        if spec.installation != self._installation:
            raise SandboxRefused("The sandbox belongs to another installation.")
        facts = self._learn_once()
        refuse_gaps(spec, facts.promises)
        if spec.runtime is not None and spec.runtime not in facts.runtimes | self._learn().runtimes:
            raise RuntimeMissing("The container engine of this host has no such runtime class.")
        with self._volumes.opening(spec.volume, spec.limits.disk_bytes) as workspace:
            self._create_and_run(spec, workspace)

    def _create_and_run(self, spec: SandboxSpec, workspace: Opening) -> None:
        name = self._name(spec.sandbox_id)
        self._own_ends.forget(spec.sandbox_id)
        deadline = time.monotonic() + SETTLE_S
        while True:
            try:
                is_new = self._create(spec, workspace.place, name)
                workspace.wait()  # the files are mounted while the engine creates; it looks at them when it starts
                if is_new:
                    with mapped_failures("starting a sandbox"):
                        self._api().start(name)
                else:
                    self._run(name)
            except (ContainerGone, EngineConflict) as exc:
                # Somebody else creates, starts or removes it at this moment: while the engine creates it, the
                # name is taken and yet nothing is there. Look again.
                if time.monotonic() > deadline:
                    raise EngineAway("The engine is slow to make this sandbox.", retry_after_s=2.0) from exc
                self._wait_for_removal(name)
                time.sleep(POLL_S)
            else:
                return

    def pause(self, sandbox_id: UUID) -> None:
        if self.inspect(sandbox_id).status is SandboxStatus.RUNNING:
            self._change_state(sandbox_id, "pausing", lambda api, name: api.pause(name))

    def unpause(self, sandbox_id: UUID) -> None:
        if self.inspect(sandbox_id).status is SandboxStatus.PAUSED:
            self._change_state(sandbox_id, "unpausing", lambda api, name: api.unpause(name))

    def stop(self, sandbox_id: UUID, *, grace_s: float = 2.0) -> None:
        self.unpause(sandbox_id)  # a frozen process cannot hear that it should end
        volume = self._find_volume(sandbox_id)
        self._own_ends.add(sandbox_id)
        self._change_state(
            sandbox_id, "stopping", lambda api, name: api.stop(name, timeout=math.ceil(grace_s))
        )
        if volume:
            self._volumes.close(volume)

    def destroy(self, sandbox_id: UUID) -> None:
        name = self._name(sandbox_id)
        volume = self._find_volume(sandbox_id)
        self._own_ends.add(sandbox_id)
        try:
            with mapped_failures("removing a sandbox"):
                self._api().remove_container(name, force=True, v=True)
            self._wait_for_removal(name)
        except ContainerGone:
            logger.debug("%s is gone already", name)
        except EngineConflict:
            logger.info("the removal of %s is already under way", name)
            self._wait_for_removal(name)
        if volume:
            self._volumes.close(volume)

    def read_usage(self, sandbox_id: UUID) -> SandboxUsage | None:
        try:
            with mapped_failures("reading what a sandbox uses"):
                container = self._api().inspect_container(self._name(sandbox_id))
                if not container["State"]["Running"]:
                    return None
                used = self._read_used(container)
        except (ContainerGone, EngineConflict):
            return None
        if used is None:
            return None
        volume = container["Config"]["Labels"].get(VOLUME_LABEL)
        disk_bytes = self._volumes.count_used(volume) if volume else 0
        return SandboxUsage(cpu_ms=used[0], memory_bytes=used[1], disk_bytes=disk_bytes)

    def _read_used(self, container: dict[str, Any]) -> tuple[int, int] | None:
        """Read a container's group where this machine has it: the engine collects its figures once a second."""
        group = cgroups.find_group(container["State"]["Pid"], container["Id"])
        if group is not None:
            return group.used()
        return docker_facts.read_usage(self._api().stats(container["Id"], stream=False, one_shot=True))

    def watch_ends(self, stop: threading.Event) -> Iterator[UUID]:
        """Yield each sandbox that ends by itself. It listens from the call on, not from the first step."""
        filters = {"type": "container", "event": "die", "label": self._label_filters()}
        with self._mapped("listening to the engine"):
            events = self._api().events(filters=filters, since=int(time.time()))
        return read_ends(events, stop, self._own_ends, sandbox_label=SANDBOX_LABEL)

    def list_volumes(self) -> frozenset[str]:
        return self._volumes.list_names()

    def save_volume(self, volume: str, target: BinaryIO) -> None:
        self._learn_once()
        self._volumes.save(volume, target)

    def load_volume(self, volume: str, source: BinaryIO, *, disk_bytes: int) -> None:
        self._learn_once()
        self._volumes.load(volume, source, disk_bytes=disk_bytes)

    def remove_volume(self, volume: str) -> None:
        self._volumes.remove(volume)

    def inspect(self, sandbox_id: UUID) -> SandboxReport:
        state = self._find_state(self._name(sandbox_id))
        return _report(sandbox_id, state) if state else SandboxReport(sandbox_id, SandboxStatus.GONE)

    def list_sandboxes(self) -> list[SandboxReport]:
        with mapped_failures("listing the sandboxes"):
            containers = self._api().containers(all=True, filters={"label": self._label_filters()})
        reports = []
        for container in containers:
            sandbox_id = UUID(container["Labels"][SANDBOX_LABEL])
            status = _STATUS.get(container["State"], SandboxStatus.STOPPED)
            # Only an inspection tells how a stopped one ended.
            is_stopped = status is SandboxStatus.STOPPED
            reports.append(self.inspect(sandbox_id) if is_stopped else SandboxReport(sandbox_id, status))
        return [report for report in reports if report.status is not SandboxStatus.GONE]

    def read_log(self, sandbox_id: UUID, *, max_bytes: int = 16_384) -> str:
        try:
            with mapped_failures("reading a sandbox's log"):
                log: bytes = self._api().logs(self._name(sandbox_id), stdout=True, stderr=True, tail=1_000)
        except (ContainerGone, EngineConflict):
            return ""
        return log[-max_bytes:].decode("utf-8", "replace")

    # --- the engine ----------------------------------------------------------------------------------

    def _api(self) -> docker.APIClient:
        """Return the client, made at the first need: making it asks the engine for its version."""
        with self._lock:
            if self._client is None:
                _knock(self._host)
                self._client = docker.APIClient(
                    base_url=self._host,
                    version="auto",
                    timeout=self._timeout_s,
                    max_pool_size=POOL_SIZE,
                )
            return self._client

    @contextlib.contextmanager
    def _mapped(self, doing: str) -> Iterator[None]:
        """Map failures where no container is spoken of: what makes no sense there is an engine that is ill."""
        try:
            with mapped_failures(doing):
                yield
        except (ContainerGone, EngineConflict) as exc:
            raise EngineAway("The container engine answers something else.", retry_after_s=5.0) from exc

    def _learn(self) -> EngineFacts:
        """Ask the engine what it is, and keep it. Raises: EngineAway."""
        with self._mapped("asking the engine what it is"):
            engine = self._api().info()
        facts = read_facts(engine, is_disk_limited=self._volumes.is_limited)
        self._facts, self.promises, self._volumes.owner = facts, facts.promises, facts.owner
        return facts

    def _learn_once(self) -> EngineFacts:
        return self._facts or self._learn()

    def _why_mounts_are_not_seen(self) -> str | None:
        is_seen = self._host.startswith("unix://") and loop_mounts.shares_mounts_with(
            Path(self._host.removeprefix("unix://"))
        )
        return None if is_seen else "the engine does not share this worker's view of mounts"

    def _label_filters(self) -> list[str]:
        return [f"{INSTALLATION_LABEL}={self._installation}", SANDBOX_LABEL]

    def _find_volume(self, sandbox_id: UUID) -> str | None:
        """Return the volume of a sandbox that has one."""
        try:
            with mapped_failures("inspecting a sandbox"):
                container = self._api().inspect_container(self._name(sandbox_id))
        except ContainerGone:
            return None
        volume: str | None = container["Config"]["Labels"].get(VOLUME_LABEL)
        return volume

    def _list_used_volumes(self, volume: str | None) -> frozenset[str]:
        wanted = VOLUME_LABEL if volume is None else f"{VOLUME_LABEL}={volume}"
        filters = {"label": [*self._label_filters(), wanted], "status": ["running", "paused", "restarting"]}
        with self._mapped("listing the sandboxes"):
            containers = self._api().containers(filters=filters)
        return frozenset(container["Labels"][VOLUME_LABEL] for container in containers)

    def _name(self, sandbox_id: UUID) -> str:
        return f"slipway-{self._installation}-{sandbox_id}"

    def _find_state(self, name: str) -> dict[str, Any] | None:
        try:
            with mapped_failures("inspecting a sandbox"):
                state: dict[str, Any] = self._api().inspect_container(name)["State"]
        except ContainerGone:
            return None
        return state

    def _create(self, spec: SandboxSpec, workspace: Path | None, name: str) -> bool:
        """Create the container; False when one of this name exists."""
        api = self._api()
        labels = {INSTALLATION_LABEL: self._installation, SANDBOX_LABEL: str(spec.sandbox_id)}
        if spec.volume is not None:
            labels[VOLUME_LABEL] = spec.volume
        # By its content: a tag may be moved between here and the start.
        image = spec.image if spec.image.startswith("sha256:") else self.resolve_image(spec.image)
        try:
            with mapped_failures("creating a sandbox"):
                answer = api.create_container(
                    image=image,
                    name=name,
                    hostname="sandbox",
                    user=f"{AGENT_UID}:{AGENT_UID}",
                    working_dir=WORKSPACE,
                    labels=labels,
                    host_config=api.create_host_config(**host_options(spec, workspace)),
                )
        except EngineConflict:
            return False
        self._refuse_weakened(answer)
        return True

    def _refuse_weakened(self, answer: dict[str, Any]) -> None:
        """Remove a container that the engine created without a limit that was asked for."""
        weakened = [warning for warning in answer.get("Warnings") or () if "discarded" in warning.lower()]
        if not weakened:
            return
        logger.error("the engine drops limits: %s", "; ".join(weakened))
        with mapped_failures("removing a weakened sandbox"):
            self._api().remove_container(answer["Id"], force=True, v=True)
        raise SandboxRefused("The container engine cannot keep the limits that were asked for.")

    def _run(self, name: str) -> None:
        state = self._find_state(name)
        if state is None or state["Status"] in ("removing", "dead"):
            raise ContainerGone(name)
        with mapped_failures("starting a sandbox"):
            if state["Status"] == "paused":
                self._api().unpause(name)
            else:
                self._api().start(name)

    def _change_state(self, sandbox_id: UUID, doing: str, change: Any) -> None:
        """Do one thing to a container; one that is gone, or in the wanted state already, is well."""
        try:
            with mapped_failures(f"{doing} a sandbox"):
                change(self._api(), self._name(sandbox_id))
        except (ContainerGone, EngineConflict) as exc:
            logger.info("%s %s was not needed: %s", doing, sandbox_id, exc)

    def _wait_for_removal(self, name: str) -> None:
        """Wait while the engine removes a container; one in any other state is not waited for."""
        deadline = time.monotonic() + SETTLE_S
        while (state := self._find_state(name)) and state["Status"] in ("removing", "dead"):
            if time.monotonic() > deadline:
                raise EngineAway("The container engine is slow to remove a sandbox.", retry_after_s=5.0)
            if state["Status"] == "dead":
                try:
                    with mapped_failures("removing a dead sandbox"):
                        self._api().remove_container(name, force=True, v=True)
                except (ContainerGone, EngineConflict):
                    pass
            time.sleep(POLL_S)


def _knock(host: str) -> None:
    """Connect and hang up: the SDK leaks a socket for each connection that is refused. Raises: OSError."""
    if host.startswith("unix://"):
        with socket.socket(socket.AF_UNIX) as knocking:
            knocking.settimeout(TIMEOUT_S)
            knocking.connect(host.removeprefix("unix://"))


def _report(sandbox_id: UUID, state: dict[str, Any]) -> SandboxReport:
    status = _STATUS.get(state["Status"], SandboxStatus.STOPPED)
    # One that was created and never started has no end, although the engine gives it an exit code.
    if status is not SandboxStatus.STOPPED or state["Status"] == "created":
        return SandboxReport(sandbox_id, status)
    # The engine says so of any process that was killed; only the end of the runner is the sandbox's.
    code = state.get("ExitCode")
    return SandboxReport(sandbox_id, status, code, bool(state.get("OOMKilled")) and code == KILLED)
