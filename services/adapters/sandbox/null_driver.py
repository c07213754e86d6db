"""The driver without isolation and without processes: runners on a thread of this process that end every turn at once.

For benchmarks of the platform itself. What it runs is the real runner, with a provider that answers with the prompt.
"""

from __future__ import annotations

import asyncio
import io
import os
import tarfile
import threading
from collections.abc import Coroutine, Iterator
from concurrent.futures import Future
from typing import Any, BinaryIO
from uuid import UUID

from agent_image.runner.runner import Runner, RunnerSettings
from agent_image.runner.turn import Outcome, Turn, TurnEvents, Usage
from services.adapters.sandbox import proc
from services.domain.errors import (
    ConfigInvalid,
    PromiseBroken,
    RuntimeMissing,
    SandboxRefused,
    StillInUse,
    VolumeFull,
    VolumeMissing,
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

CALL_S = 10.0


class _EchoProvider:
    async def run(self, turn: Turn, events: TurnEvents) -> Outcome:
        await events.message_created(turn.prompt)
        return Outcome(text=turn.prompt, usage=Usage())

    async def interrupt(self, grace_s: float) -> None:
        """Do nothing: the turn is over before it could be interrupted."""


class _Sandbox:
    """A runner and its task on the driver's loop."""

    def __init__(self, spec: SandboxSpec) -> None:
        self.spec = spec
        self.is_paused = False
        self.task: asyncio.Task[None] | None = None
        self.runner: Runner | None = None

    async def start(self) -> None:
        settings = RunnerSettings(socket_path=str(self.spec.socket_dir / "gw.sock"), forward_port=0)
        self.runner = Runner(settings, lambda _name: _EchoProvider())
        self.task = asyncio.create_task(self.runner.run())

    async def stop(self, flush_s: float) -> None:
        if self.runner is not None and self.task is not None:
            await self.runner.stop(flush_s)
            self.task.cancel()
            await asyncio.wait({self.task})
        self.runner, self.task = None, None


class NullDriver:
    """Sandboxes that are tasks of one thread. They die with the process."""

    kind = "null"
    can_pause = True
    promises: frozenset[Promise] = frozenset()

    def __init__(self, installation: str, *, environment: str | None = None) -> None:
        if (environment or os.environ.get("SLIPWAY_ENV", "development")) == "production":
            raise ConfigInvalid("The null sandbox driver isolates nothing, and does not run in production.")
        self._installation = installation
        self._sandboxes: dict[UUID, _Sandbox] = {}
        self._volumes: dict[str, bytes] = {}
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def check(self) -> EngineReport:
        return EngineReport(is_up=True, version="null", note="It isolates nothing and promises nothing.")

    def start(self, spec: SandboxSpec) -> None:
        if spec.installation != self._installation:
            raise SandboxRefused("The sandbox belongs to another installation.")
        broken = frozenset(Promise) - spec.accepted_gaps
        if broken:
            raise PromiseBroken(f"The null driver keeps nothing: {', '.join(sorted(broken))}.")
        if spec.runtime is not None:
            raise RuntimeMissing("The null driver has no runtime classes.")
        with self._lock:
            if spec.volume is not None:
                self._volumes.setdefault(spec.volume, _empty_archive())
            sandbox = self._sandboxes.setdefault(spec.sandbox_id, _Sandbox(spec))
            sandbox.is_paused = False
            if sandbox.task is None:
                self._call(sandbox.start())

    def pause(self, sandbox_id: UUID) -> None:
        """Only note it: a runner without work does nothing anyway."""
        self._set_paused(sandbox_id, is_paused=True)

    def unpause(self, sandbox_id: UUID) -> None:
        self._set_paused(sandbox_id, is_paused=False)

    def stop(self, sandbox_id: UUID, *, grace_s: float = 2.0) -> None:
        with self._lock:
            sandbox = self._sandboxes.get(sandbox_id)
            if sandbox is not None and sandbox.task is not None:
                self._call(sandbox.stop(grace_s))

    def destroy(self, sandbox_id: UUID) -> None:
        self.stop(sandbox_id, grace_s=0.0)
        with self._lock:
            self._sandboxes.pop(sandbox_id, None)

    def measure_host(self) -> HostResources:
        return HostResources(proc.memory_bytes(), proc.free_memory_bytes())

    def resolve_image(self, image: str) -> str:
        """Return what was asked for: nothing is started from it."""
        return image

    def read_usage(self, sandbox_id: UUID) -> SandboxUsage | None:
        """Return zeros for one that runs: it shares this process."""
        sandbox = self._sandboxes.get(sandbox_id)
        return SandboxUsage(0, 0, 0) if sandbox is not None and sandbox.task is not None else None

    def watch_ends(self, stop: threading.Event) -> Iterator[UUID]:
        """Yield nothing until `stop` is set: these sandboxes end with the process only."""
        stop.wait()
        return iter(())

    def list_volumes(self) -> frozenset[str]:
        return frozenset(self._volumes)

    def save_volume(self, volume: str, target: BinaryIO) -> None:
        """Write back what was loaded: no sandbox of this driver ever writes a file."""
        if volume not in self._volumes:
            raise VolumeMissing("There are no files of this name on this host.")
        target.write(self._volumes[volume])

    def load_volume(self, volume: str, source: BinaryIO, *, disk_bytes: int) -> None:
        self._refuse_in_use(volume)
        content = source.read()
        with tarfile.open(fileobj=io.BytesIO(content)) as tar:
            if sum(member.size for member in tar) > disk_bytes:
                raise VolumeFull("The files need more room than the workspace has.")
        self._volumes[volume] = content

    def remove_volume(self, volume: str) -> None:
        self._refuse_in_use(volume)
        self._volumes.pop(volume, None)

    def inspect(self, sandbox_id: UUID) -> SandboxReport:
        sandbox = self._sandboxes.get(sandbox_id)
        if sandbox is None:
            return SandboxReport(sandbox_id, SandboxStatus.GONE)
        if sandbox.task is None:
            return SandboxReport(sandbox_id, SandboxStatus.STOPPED, exit_code=0)
        return SandboxReport(sandbox_id, SandboxStatus.PAUSED if sandbox.is_paused else SandboxStatus.RUNNING)

    def list_sandboxes(self) -> list[SandboxReport]:
        return [self.inspect(sandbox_id) for sandbox_id in list(self._sandboxes)]

    def read_log(self, sandbox_id: UUID, *, max_bytes: int = 16_384) -> str:
        return ""

    def close(self) -> None:
        """Stop every sandbox and the thread."""
        for sandbox_id in list(self._sandboxes):
            self.destroy(sandbox_id)
        with self._lock:
            loop, thread, self._loop, self._thread = self._loop, self._thread, None, None
        if loop is not None and thread is not None:
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()

    def _refuse_in_use(self, volume: str) -> None:
        if any(s.spec.volume == volume and s.task is not None for s in list(self._sandboxes.values())):
            raise StillInUse("A sandbox still uses these files.")

    def _set_paused(self, sandbox_id: UUID, *, is_paused: bool) -> None:
        sandbox = self._sandboxes.get(sandbox_id)
        if sandbox is not None and sandbox.task is not None:
            sandbox.is_paused = is_paused

    def _call(self, work: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine on the driver's loop, which is started at the first need."""
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(target=self._loop.run_forever, name="null-sandboxes", daemon=True)
            self._thread.start()
        future: Future[None] = asyncio.run_coroutine_threadsafe(work, self._loop)
        future.result(timeout=CALL_S)


def _empty_archive() -> bytes:
    content = io.BytesIO()
    tarfile.open(fileobj=content, mode="w").close()
    return content.getvalue()
