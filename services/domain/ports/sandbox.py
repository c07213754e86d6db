"""The port that every sandbox driver implements: docker, bubblewrap, kubernetes, null.

A driver starts and stops isolated runners on this host. It knows no database row and no tenant: it is told
what to start, by values. Every method may be called twice for the same sandbox and is idempotent.
"""

from __future__ import annotations

import enum
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Protocol
from uuid import UUID

from services.domain.errors import ConfigInvalid


class Promise(enum.StrEnum):
    """What a driver can promise of a sandbox's isolation; an operator is shown what is missing."""

    NO_NETWORK = "no_network"
    READ_ONLY_ROOT = "read_only_root"
    NON_ROOT = "non_root"
    NO_CAPABILITIES = "no_capabilities"
    NO_NEW_PRIVILEGES = "no_new_privileges"
    SYSCALL_FILTER = "syscall_filter"
    MEMORY_LIMIT = "memory_limit"
    CPU_LIMIT = "cpu_limit"
    PIDS_LIMIT = "pids_limit"
    DISK_LIMIT = "disk_limit"
    OWN_FILESYSTEM = "own_filesystem"


def read_gaps(text: str) -> frozenset[Promise]:
    """Read SLIPWAY_ACCEPTED_GAPS: promises that this host may break, with commas in between. Raises: ConfigInvalid."""
    names = {name.strip() for name in text.split(",") if name.strip()}
    unknown = names - set(Promise)
    if unknown:
        raise ConfigInvalid(
            f"SLIPWAY_ACCEPTED_GAPS names no promise: {', '.join(sorted(unknown))}; there are {', '.join(Promise)}."
        )
    return frozenset(Promise(name) for name in names)


class SandboxStatus(enum.StrEnum):
    RUNNING = "running"
    PAUSED = "paused"
    STOPPED = "stopped"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class SandboxLimits:
    """Ceilings of one sandbox. Units are in the names; `cpus` is a share of cores."""

    memory_bytes: int = 1024**3
    cpus: float = 1.0
    pids: int = 256
    tmp_bytes: int = 256 * 1024**2
    disk_bytes: int = 2 * 1024**3


@dataclass(frozen=True, slots=True)
class SandboxSpec:
    """What to start. Nothing in it is secret: the engine's inspection shows all of it.

    `socket_dir` is a folder on the host that is mounted read-only at `/run/slipway`; the gateway serves
    `gw.sock` in it. `volume` names the volume for `/workspace`, made with room for `limits.disk_bytes` when it is
    not there; None gives a tmpfs that dies with the sandbox. `runtime` is the engine's runtime class (`runsc`, a Kata
    class); None is the engine's own. A promise in `accepted_gaps` may be broken; any other is
    kept, or the start is refused.
    """

    sandbox_id: UUID
    installation: str
    image: str
    socket_dir: Path
    volume: str | None = None
    limits: SandboxLimits = field(default_factory=SandboxLimits)
    runtime: str | None = None
    accepted_gaps: frozenset[Promise] = frozenset()


@dataclass(frozen=True, slots=True)
class SandboxUsage:
    """What one sandbox has used since it was started, and holds now. It has no network but its socket."""

    cpu_ms: int
    memory_bytes: int
    disk_bytes: int


@dataclass(frozen=True, slots=True)
class HostResources:
    """What the engine's machine has: memory in bytes, the runtime classes and images that a start may name."""

    memory_bytes: int
    memory_free_bytes: int
    runtimes: frozenset[str] = frozenset()
    images: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class SandboxReport:
    """What the engine says of one sandbox. `exit_code` and `is_out_of_memory` are set once it has run and stopped."""

    sandbox_id: UUID
    status: SandboxStatus
    exit_code: int | None = None
    is_out_of_memory: bool = False


@dataclass(frozen=True, slots=True)
class EngineReport:
    """Whether the engine answers, and what it is; `note` is a sentence for an operator."""

    is_up: bool
    version: str
    note: str = ""


class SandboxDriver(Protocol):
    """One kind of engine on this host.

    Raises: EngineAway when the engine does not answer, ImageMissing, SandboxRefused, PromiseBroken.
    """

    kind: str
    can_pause: bool
    promises: frozenset[Promise]

    def check(self) -> EngineReport:
        """Ask the engine whether it is there. Never raises."""
        ...

    def start(self, spec: SandboxSpec) -> None:
        """Create and start the sandbox, or start it again when it exists and is stopped."""
        ...

    def pause(self, sandbox_id: UUID) -> None: ...

    def unpause(self, sandbox_id: UUID) -> None: ...

    def stop(self, sandbox_id: UUID, *, grace_s: float = 2.0) -> None:
        """Stop its processes; volume and container stay."""
        ...

    def destroy(self, sandbox_id: UUID) -> None:
        """Remove the container, whatever state it is in. The volume stays."""
        ...

    def measure_host(self) -> HostResources:
        """Say what the machine has. Raises: EngineAway."""
        ...

    def resolve_image(self, image: str) -> str:
        """Return the content digest that a tag names now, to start from that and nothing else. Raises: ImageMissing."""
        ...

    def read_usage(self, sandbox_id: UUID) -> SandboxUsage | None:
        """Return what a sandbox uses, or None when there is none that runs."""
        ...

    def watch_ends(self, stop: threading.Event) -> Iterator[UUID]:
        """Yield each sandbox that ends by itself, at once, until `stop` is set. Raises: EngineAway."""
        ...

    def list_volumes(self) -> frozenset[str]:
        """Name the volumes of this installation on this host."""
        ...

    def save_volume(self, volume: str, target: BinaryIO) -> None:
        """Write a volume's files as an uncompressed tar, whether a sandbox uses it or not. Raises: VolumeMissing."""
        ...

    def load_volume(self, volume: str, source: BinaryIO, *, disk_bytes: int) -> None:
        """Make a volume from such a tar, owned by the agent's user; one of that name is replaced. Twice is fine.

        Raises: StillInUse; VolumeFull when the files need more room.
        """
        ...

    def remove_volume(self, volume: str) -> None: ...

    def inspect(self, sandbox_id: UUID) -> SandboxReport:
        """Report one sandbox; an unknown one has status GONE."""
        ...

    def list_sandboxes(self) -> list[SandboxReport]:
        """List all that carry this driver's installation label, running or not."""
        ...

    def read_log(self, sandbox_id: UUID, *, max_bytes: int = 16_384) -> str:
        """Return the tail of what the runner wrote to its output, for an operator. Empty when unknown."""
        ...
