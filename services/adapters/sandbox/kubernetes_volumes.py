"""Volumes as claims of a cluster. Their files are not this process's to see: a pod with `tar` hands them over.

It runs one script of ours as the agent's user, cut off as a sandbox is; the archive goes through a folder of the node
that only it and this worker have.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO
from uuid import uuid4

from services.adapters.sandbox import kubernetes_manifests as manifests
from services.adapters.sandbox.cluster_failures import ObjectExists, ObjectGone, mapped_answers
from services.adapters.sandbox.cluster_place import ClusterPlace
from services.adapters.sandbox.hardening import WORKSPACE
from services.adapters.sandbox.pod_states import OVER, exit_code, find_failure
from services.domain.errors import EngineAway, SandboxRefused, StillInUse, VolumeFull, VolumeMissing

TRANSFER_S = 1_800.0
SETTLE_S = 60.0
POLL_S = 0.1
_FULL = 75
_ARCHIVE = "volume.tar"
_SAVE = f"tar -C {WORKSPACE} --ignore-failed-read -cf {manifests.TRANSFER}/{_ARCHIVE} ."
_LOAD = (
    f"export LC_ALL=C; cd {manifests.TRANSFER}; "
    f"if tar -C {WORKSPACE} -xf {_ARCHIVE} 2>said; then exit 0; fi; "
    f"if grep -qE 'No space left|Wrote only|quota' said; then exit {_FULL}; fi; exit 1"
)


class ClaimStore:
    """The claims of one installation that belong to one node. `core` gives the client; it is made at the first need."""

    def __init__(
        self,
        core: Callable[[], Any],
        installation: str,
        place: ClusterPlace,
        run_dir: Path,
        *,
        timeout_s: int,
    ) -> None:
        self._core = core
        self._installation = installation
        self._place = place
        self._transfers = run_dir / "transfers"
        self._timeout_s = timeout_s

    def list_names(self) -> frozenset[str]:
        selector = (
            f"{manifests.INSTALLATION_LABEL}={self._installation},{manifests.NODE_LABEL}={self._place.node}"
        )
        with mapped_answers("listing the claims"):
            found = self._core().list_namespaced_persistent_volume_claim(
                self._place.namespace, label_selector=selector, _request_timeout=self._timeout_s
            )
        live = [item for item in found.items if item.metadata.deletion_timestamp is None]
        return frozenset(item.metadata.labels[manifests.VOLUME_LABEL] for item in live)

    def ensure(self, volume: str, disk_bytes: int) -> None:
        """Make a claim, or ask for more room for one that is smaller; whether it gets it is the storage class's."""
        body = manifests.claim(self._installation, self._place, volume, disk_bytes)
        with suppress(ObjectExists), mapped_answers("making a claim"):
            self._core().create_namespaced_persistent_volume_claim(
                self._place.namespace, body, _request_timeout=self._timeout_s
            )

    def remove(self, volume: str) -> None:
        """Remove a claim and wait until it is gone. Raises: StillInUse."""
        if self._users(volume):
            raise StillInUse("A sandbox still uses these files.")
        name = manifests.claim_name(self._installation, volume)
        with suppress(ObjectGone), mapped_answers("removing a claim"):
            self._core().delete_namespaced_persistent_volume_claim(
                name, self._place.namespace, _request_timeout=self._timeout_s
            )
        deadline = time.monotonic() + SETTLE_S
        while self._exists(name):
            if time.monotonic() > deadline:
                raise EngineAway("The cluster is slow to remove a volume.", retry_after_s=10.0)
            time.sleep(POLL_S)

    def save(self, volume: str, target: BinaryIO) -> None:
        if not self._exists(manifests.claim_name(self._installation, volume)):
            raise VolumeMissing("There are no files of this name on this host.")
        with self._transfer_folder() as folder:
            self._run(volume, folder, _SAVE)
            descriptor = os.open(folder / _ARCHIVE, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            with os.fdopen(descriptor, "rb") as source:
                shutil.copyfileobj(source, target, 1024**2)

    def load(self, volume: str, source: BinaryIO, *, disk_bytes: int) -> None:
        self.remove(volume)
        with self._transfer_folder() as folder:
            with (folder / _ARCHIVE).open("wb") as target:
                shutil.copyfileobj(source, target, 1024**2)
            self.ensure(volume, disk_bytes)
            try:
                self._run(volume, folder, _LOAD)
            except BaseException:
                self.remove(volume)
                raise

    # --- parts ---------------------------------------------------------------------------------------

    @contextmanager
    def _transfer_folder(self) -> Iterator[Path]:
        self._transfers.mkdir(parents=True, exist_ok=True)
        self._transfers.chmod(0o700)
        folder = Path(tempfile.mkdtemp(dir=self._transfers))
        folder.chmod(0o777)  # the agent's user writes there; nobody else comes through the folder above
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _run(self, volume: str, folder: Path, script: str) -> None:
        """Run a script in a pod that has the volume, and wait for its end. Raises: VolumeFull, SandboxRefused."""
        name = f"slipway-{self._installation}-transfer-{uuid4().hex[:12]}"
        body = manifests.transfer_pod(
            self._installation, self._place, name, volume=volume, folder=folder, script=script
        )
        core, namespace = self._core(), self._place.namespace
        with suppress(ObjectExists), mapped_answers("starting a transfer"):
            core.create_namespaced_pod(namespace, body, _request_timeout=self._timeout_s)
        try:
            code = self._wait_for_end(name)
        finally:
            with suppress(ObjectGone), mapped_answers("removing a transfer"):
                core.delete_namespaced_pod(
                    name, namespace, grace_period_seconds=0, _request_timeout=self._timeout_s
                )
        if code == _FULL:
            raise VolumeFull("The files need more room than the workspace has.")
        if code != 0:
            raise SandboxRefused("The files of the workspace could not be handed over.")

    def _wait_for_end(self, name: str) -> int | None:
        deadline = time.monotonic() + TRANSFER_S
        while True:
            try:
                with mapped_answers("looking at a transfer"):
                    pod = self._core().read_namespaced_pod(
                        name, self._place.namespace, _request_timeout=self._timeout_s
                    )
            except ObjectGone as exc:
                raise EngineAway("The cluster removed a transfer.", retry_after_s=5.0) from exc
            if pod.status.phase in OVER:
                return exit_code(pod)
            if failure := find_failure(pod):
                raise failure
            if time.monotonic() > deadline:
                raise EngineAway("The cluster is slow to hand over files.", retry_after_s=30.0)
            time.sleep(POLL_S)

    def _users(self, volume: str) -> bool:
        selector = ",".join(
            (
                f"{manifests.INSTALLATION_LABEL}={self._installation}",
                f"{manifests.VOLUME_LABEL}={volume}",
                manifests.SANDBOX_LABEL,
            )
        )
        with mapped_answers("listing the pods"):
            found = self._core().list_namespaced_pod(
                self._place.namespace, label_selector=selector, _request_timeout=self._timeout_s
            )
        return any(pod.status.phase not in OVER for pod in found.items)

    def _exists(self, name: str) -> bool:
        try:
            with mapped_answers("looking for a claim"):
                self._core().read_namespaced_persistent_volume_claim(
                    name, self._place.namespace, _request_timeout=self._timeout_s
                )
        except ObjectGone:
            return False
        return True
