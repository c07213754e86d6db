"""An engine in memory, by the whole of the sandbox driver's port."""

from __future__ import annotations

import io
import tarfile
import threading
import uuid
from collections.abc import Callable, Iterator
from typing import BinaryIO

from services.domain.errors import StillInUse, VolumeMissing
from services.domain.ports.sandbox import (
    EngineReport,
    HostResources,
    Promise,
    SandboxReport,
    SandboxSpec,
    SandboxStatus,
    SandboxUsage,
)

GIB = 1024**3


class FakeDriver:
    """Keeps what it was told in dictionaries; a test may make it fail, or let a sandbox end by itself."""

    kind = "fake"
    can_pause = True
    promises = frozenset(Promise) - {Promise.MEMORY_LIMIT}

    def __init__(self) -> None:
        self.running: dict[uuid.UUID, SandboxStatus] = {}
        self.specs: list[SandboxSpec] = []
        self.volumes: dict[str, dict[str, bytes]] = {}
        self.used: dict[uuid.UUID, str] = {}
        self.volumes_removed: list[str] = []
        self.calls: list[tuple[str, uuid.UUID]] = []
        self.ends: list[uuid.UUID] = []
        self.exit_code: int | None = None
        self.is_out_of_memory = False
        self.is_up = True
        self.failure: Exception | None = None
        self.on_start: Callable[[SandboxSpec], None] | None = None

    def check(self) -> EngineReport:
        """Say whether the test lets it be up."""
        return EngineReport(is_up=self.is_up, version="fake 1")

    def start(self, spec: SandboxSpec) -> None:
        """Note what to start, or fail as the test wants."""
        if self.failure is not None:
            raise self.failure
        if self.on_start is not None:
            self.on_start(spec)
        self.specs.append(spec)
        if spec.volume:
            self.volumes.setdefault(spec.volume, {})
            self.used[spec.sandbox_id] = spec.volume
        self.running[spec.sandbox_id] = SandboxStatus.RUNNING

    def pause(self, sandbox_id: uuid.UUID) -> None:
        """Freeze what runs."""
        self._move(sandbox_id, "pause", SandboxStatus.RUNNING, SandboxStatus.PAUSED)

    def unpause(self, sandbox_id: uuid.UUID) -> None:
        """Let go on what is frozen."""
        self._move(sandbox_id, "unpause", SandboxStatus.PAUSED, SandboxStatus.RUNNING)

    def stop(self, sandbox_id: uuid.UUID, *, grace_s: float = 2.0) -> None:
        """Stop what is there."""
        if sandbox_id in self.running:
            self.running[sandbox_id] = SandboxStatus.STOPPED

    def destroy(self, sandbox_id: uuid.UUID) -> None:
        """Forget a sandbox; its volume stays."""
        self.calls.append(("destroy", sandbox_id))
        self.running.pop(sandbox_id, None)
        self.used.pop(sandbox_id, None)

    def end(self, sandbox_id: uuid.UUID, *, exit_code: int = 1, is_out_of_memory: bool = False) -> None:
        """Let a sandbox end by itself; whoever watches hears of it."""
        self.running[sandbox_id] = SandboxStatus.STOPPED
        self.exit_code, self.is_out_of_memory = exit_code, is_out_of_memory
        self.ends.append(sandbox_id)

    def measure_host(self) -> HostResources:
        """Report a machine with plenty."""
        return HostResources(16 * GIB, 8 * GIB, images=frozenset({"image:1"}))

    def resolve_image(self, image: str) -> str:
        """Take every image for its own digest."""
        return image

    def read_usage(self, sandbox_id: uuid.UUID) -> SandboxUsage | None:
        """Report the same for all that run."""
        return SandboxUsage(10, 1024**2, 0) if sandbox_id in self.running else None

    def watch_ends(self, stop: threading.Event) -> Iterator[uuid.UUID]:
        """Yield the ends so far, then until told to stop wait for nothing more."""
        while self.ends:
            yield self.ends.pop(0)
        stop.set()

    def list_volumes(self) -> frozenset[str]:
        """Name the volumes that were made."""
        return frozenset(self.volumes)

    def save_volume(self, volume: str, target: BinaryIO) -> None:
        """Write its files as a tar."""
        if volume not in self.volumes:
            raise VolumeMissing("There is no such volume.")
        with tarfile.open(fileobj=target, mode="w|") as archive:
            for name, content in sorted(self.volumes[volume].items()):
                member = tarfile.TarInfo(name)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))

    def load_volume(self, volume: str, source: BinaryIO, *, disk_bytes: int) -> None:
        """Read its files from a tar."""
        self._refuse_used(volume)
        files = {}
        with tarfile.open(fileobj=source, mode="r|") as archive:
            for member in archive:
                content = archive.extractfile(member)
                if content is not None:
                    files[member.name] = content.read()
        self.volumes[volume] = files

    def remove_volume(self, volume: str) -> None:
        """Forget a volume that no sandbox has."""
        self._refuse_used(volume)
        if self.volumes.pop(volume, None) is not None:
            self.volumes_removed.append(volume)

    def inspect(self, sandbox_id: uuid.UUID) -> SandboxReport:
        """Report one sandbox."""
        status = self.running.get(sandbox_id, SandboxStatus.GONE)
        return SandboxReport(
            sandbox_id, status, exit_code=self.exit_code, is_out_of_memory=self.is_out_of_memory
        )

    def list_sandboxes(self) -> list[SandboxReport]:
        """Report all."""
        return [self.inspect(sandbox_id) for sandbox_id in list(self.running)]

    def read_log(self, sandbox_id: uuid.UUID, *, max_bytes: int = 16_384) -> str:
        """Return the same last words for all."""
        return "last words"

    def _refuse_used(self, volume: str) -> None:
        if volume in self.used.values():
            raise StillInUse("A sandbox has the volume.")

    def _move(self, sandbox_id: uuid.UUID, name: str, source: SandboxStatus, target: SandboxStatus) -> None:
        self.calls.append((name, sandbox_id))
        if self.running.get(sandbox_id) == source:
            self.running[sandbox_id] = target
