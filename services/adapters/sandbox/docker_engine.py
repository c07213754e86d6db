"""The driver for the Docker engine, and for what speaks its API."""

from __future__ import annotations

import logging
import math
import socket
import threading
import time
from typing import Any
from uuid import UUID

import docker

from services.adapters.sandbox.engine_failures import ContainerGone, EngineConflict, mapped_failures
from services.adapters.sandbox.hardening import (
    AGENT_UID,
    ALL_PROMISES,
    WORKSPACE,
    host_options,
    promises_of,
    volume_name,
)
from services.domain.errors import EngineAway, SandboxRefused, SlipwayError, StillInUse
from services.domain.ports.sandbox import (
    EngineReport,
    Promise,
    SandboxReport,
    SandboxSpec,
    SandboxStatus,
)

logger = logging.getLogger(__name__)

INSTALLATION_LABEL = "slipway.installation"
SANDBOX_LABEL = "slipway.sandbox"
DEFAULT_HOST = "unix:///var/run/docker.sock"
TIMEOUT_S = 30
POOL_SIZE = 32  # twice the threads of a worker: a connection in use is not shared
SETTLE_S = 10.0
POLL_S = 0.02

_STATUS = {
    "running": SandboxStatus.RUNNING,
    "restarting": SandboxStatus.RUNNING,
    "paused": SandboxStatus.PAUSED,
}


class DockerDriver:
    """Hardened containers without a network. Keeps nothing but its client: the engine is asked each time."""

    kind = "docker"

    def __init__(self, installation: str, *, host: str | None = None, timeout_s: int = TIMEOUT_S) -> None:
        self._installation = installation
        self._host = host
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._client: docker.APIClient | None = None
        self.promises: frozenset[Promise] = ALL_PROMISES

    def close(self) -> None:
        """Let go of the connections to the engine."""
        with self._lock:
            if self._client is not None:
                self._client.close()
            self._client = None

    def check(self) -> EngineReport:
        try:
            with mapped_failures("asking the engine what it is"):
                engine = self._api().info()
        except SlipwayError as exc:
            return EngineReport(is_up=False, version="", note=exc.message)
        except (ContainerGone, EngineConflict):
            return EngineReport(is_up=False, version="", note="The container engine answers something else.")
        self.promises = promises_of(engine)
        lacking = ", ".join(sorted(ALL_PROMISES - self.promises))
        note = f"This engine cannot promise: {lacking}." if lacking else "Every promise is kept."
        return EngineReport(is_up=True, version=str(engine.get("ServerVersion", "")), note=note)

    def start(self, spec: SandboxSpec) -> None:
        if spec.installation != self._installation:
            raise SandboxRefused("The sandbox belongs to another installation.")
        name = self._name(spec.sandbox_id)
        deadline = time.monotonic() + SETTLE_S
        while True:
            try:
                self._create_if_missing(spec, name)
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
        self._change_state(
            sandbox_id, "stopping", lambda api, name: api.stop(name, timeout=math.ceil(grace_s))
        )

    def destroy(self, sandbox_id: UUID) -> None:
        name = self._name(sandbox_id)
        try:
            with mapped_failures("removing a sandbox"):
                self._api().remove_container(name, force=True, v=True)
        except ContainerGone:
            return
        except EngineConflict:
            logger.info("the removal of %s is already under way", name)
        self._wait_for_removal(name)

    def remove_volume(self, volume: str) -> None:
        try:
            with mapped_failures("removing a volume"):
                self._api().remove_volume(volume_name(self._installation, volume))
        except ContainerGone:
            return
        except EngineConflict as exc:
            raise StillInUse("A sandbox still uses these files.") from exc

    def inspect(self, sandbox_id: UUID) -> SandboxReport:
        state = self._find_state(self._name(sandbox_id))
        return _report(sandbox_id, state) if state else SandboxReport(sandbox_id, SandboxStatus.GONE)

    def list_sandboxes(self) -> list[SandboxReport]:
        with mapped_failures("listing the sandboxes"):
            containers = self._api().containers(
                all=True, filters={"label": [f"{INSTALLATION_LABEL}={self._installation}", SANDBOX_LABEL]}
            )
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
                _knock(self._host or DEFAULT_HOST)
                self._client = docker.APIClient(
                    base_url=self._host or DEFAULT_HOST,
                    version="auto",
                    timeout=self._timeout_s,
                    max_pool_size=POOL_SIZE,
                )
            return self._client

    def _name(self, sandbox_id: UUID) -> str:
        return f"slipway-{self._installation}-{sandbox_id}"

    def _find_state(self, name: str) -> dict[str, Any] | None:
        try:
            with mapped_failures("inspecting a sandbox"):
                state: dict[str, Any] = self._api().inspect_container(name)["State"]
        except ContainerGone:
            return None
        return state

    def _create_if_missing(self, spec: SandboxSpec, name: str) -> None:
        """Create the container unless one of this name exists. Raises: EngineConflict in a race."""
        if self._find_state(name) is not None:
            return
        api = self._api()
        labels = {INSTALLATION_LABEL: self._installation, SANDBOX_LABEL: str(spec.sandbox_id)}
        with mapped_failures("creating a sandbox"):
            if spec.volume is not None:
                # An empty volume takes over the owner and the mode of the image's /workspace.
                api.create_volume(
                    volume_name(self._installation, spec.volume),
                    labels={INSTALLATION_LABEL: self._installation},
                )
            answer = api.create_container(
                image=spec.image,
                name=name,
                hostname="sandbox",
                user=f"{AGENT_UID}:{AGENT_UID}",
                working_dir=WORKSPACE,
                labels=labels,
                host_config=api.create_host_config(**host_options(spec)),
            )
        self._refuse_weakened(answer)

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
    if status is not SandboxStatus.STOPPED:
        return SandboxReport(sandbox_id, status)
    return SandboxReport(
        sandbox_id, status, exit_code=state.get("ExitCode"), is_out_of_memory=bool(state.get("OOMKilled"))
    )
