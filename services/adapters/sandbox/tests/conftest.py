"""Real sandboxes for the tests: the images, a driver of each kind, and a fake gateway for each sandbox."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from starlette.types import ASGIApp

from services.adapters.sandbox.cluster_place import ClusterPlace
from services.adapters.sandbox.docker_engine import DockerDriver
from services.adapters.sandbox.registry import make_driver
from services.domain.ports.sandbox import Promise, SandboxDriver, SandboxLimits, SandboxSpec
from tests.fakes.gateway_link import FakeGateway, serve_gateway
from tests.fakes.kubernetes_server import IMAGE, NODE, FakeCluster

REPOSITORY = Path(__file__).resolve().parents[4]
LIMITS = SandboxLimits(memory_bytes=512 * 1024**2, pids=128, tmp_bytes=32 * 1024**2, disk_bytes=64 * 1024**2)


def open_folder(prefix: str) -> Path:
    """Make a folder with a short name that the agent's user may pass through."""
    folder = Path(tempfile.mkdtemp(prefix=prefix))
    folder.chmod(0o755)
    return folder


@dataclass(frozen=True)
class AgentImages:
    shell: str
    claude: str


@pytest.fixture(scope="session")
def agent_images() -> AgentImages:
    """Name the images that the environment gives, or build them."""
    shell, claude = (os.environ.get(f"SLIPWAY_AGENT_IMAGE{part}") for part in ("", "_CLAUDE"))
    if not shell or not claude:
        base = os.environ.get("SLIPWAY_BASE_IMAGE", "slipway-base:bookworm")
        command = [str(REPOSITORY / "agent_image" / "build.sh"), "--base", base, "--quiet"]
        output = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
        tags = dict(line.split("=", 1) for line in output.splitlines())
        shell, claude = tags["image"], tags["image_claude"]
    return AgentImages(shell, claude)


@dataclass
class Sandbox:
    """One sandbox, its spec and its gateway."""

    driver: SandboxDriver
    spec: SandboxSpec
    gateway: FakeGateway

    @property
    def id(self) -> uuid.UUID:
        return self.spec.sandbox_id

    async def start(self) -> None:
        """Start it and wait until a runner that was not there before is linked."""
        known = len(self.gateway.hellos)
        await asyncio.to_thread(self.driver.start, self.spec)
        await self.gateway.wait_until(lambda: len(self.gateway.hellos) > known, "runner")

    async def run(self, script: str, **fields: Any) -> str:
        """Run a script that must succeed; return its output."""
        done = await self.gateway.run_turn("shell", script, **fields)
        assert done["status"] == "succeeded", done
        return str(done["text"])

    async def stop(self) -> None:
        await asyncio.to_thread(self.driver.stop, self.id)

    async def destroy(self) -> None:
        await asyncio.to_thread(self.driver.destroy, self.id)


@dataclass
class Host:
    """One host with a driver; `make` adds a sandbox with a gateway of its own, not started yet."""

    driver: SandboxDriver
    again: Callable[
        ..., SandboxDriver
    ]  # the same driver in a worker that was restarted, or with other settings
    installation: str
    image: str
    image_claude: str
    stack: contextlib.AsyncExitStack

    async def make(
        self,
        *,
        volume: str | None = None,
        limits: SandboxLimits = LIMITS,
        image: str | None = None,
        mounts: Mapping[str, ASGIApp] | None = None,
        runtime: str | None = None,
    ) -> Sandbox:
        folder = open_folder("slipway-")
        self.stack.callback(shutil.rmtree, folder, ignore_errors=True)
        gateway = await self.stack.enter_async_context(
            serve_gateway(folder / "gw.sock", FakeGateway(), mounts)
        )
        spec = SandboxSpec(
            uuid.uuid4(),
            self.installation,
            image or self.image,
            folder,
            volume=volume,
            limits=limits,
            runtime=runtime,
            accepted_gaps=frozenset(Promise) - self.driver.promises,
        )
        return Sandbox(self.driver, spec, gateway)


_CLUSTERS: dict[Path, FakeCluster] = {}


@contextlib.contextmanager
def cluster_in(run_dir: Path) -> Iterator[FakeCluster]:
    """Serve the cluster of a folder: one for all who ask while the first of them has it."""
    if run_dir in _CLUSTERS:
        yield _CLUSTERS[run_dir]
        return
    with FakeCluster(run_dir) as cluster:
        _CLUSTERS[run_dir] = cluster
        try:
            yield cluster
        finally:
            del _CLUSTERS[run_dir]


@contextlib.asynccontextmanager
async def host_with(kind: str, images: AgentImages, run_dir: Path) -> AsyncIterator[Host]:
    """Make a host with an installation of its own; everything of it is removed at the end."""
    installation = f"t{secrets.token_hex(4)}"
    async with contextlib.AsyncExitStack() as stack:
        place = None
        if kind == "kubernetes":
            cluster = stack.enter_context(cluster_in(run_dir))
            images = AgentImages(IMAGE, IMAGE)
            place = ClusterPlace(NODE, api_url=cluster.url, tool_image=IMAGE)

        def make(**settings: Any) -> SandboxDriver:
            return make_driver(
                kind,
                installation,
                run_dir,
                cluster=place,
                docker_host=os.environ.get("SLIPWAY_DOCKER_HOST"),
                environment="test",
                **settings,
            )

        driver = make()
        engine = await asyncio.to_thread(driver.check)
        assert engine.is_up, engine.note
        async with contextlib.AsyncExitStack() as gateways:
            try:
                yield Host(driver, make, installation, images.shell, images.claude, gateways)
            finally:
                await asyncio.to_thread(_remove_all, driver)


def _remove_all(driver: SandboxDriver) -> None:
    for report in driver.list_sandboxes():
        driver.destroy(report.sandbox_id)
    for volume in driver.list_volumes():
        driver.remove_volume(volume)
    close = getattr(driver, "close", None)
    if close is not None:
        close()


@pytest.fixture
def run_dir() -> Iterator[Path]:
    """A folder that the agent's user may pass through, as the platform's run folder must be."""
    folder = open_folder("slipway-run-")
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
async def docker_host(agent_images: AgentImages, run_dir: Path) -> AsyncIterator[Host]:
    async with host_with("docker", agent_images, run_dir) as host:
        yield host


@pytest.fixture
def unlinked_docker(run_dir: Path) -> Iterator[DockerDriver]:
    """A driver for tests that start no runner."""
    driver = DockerDriver(f"t{secrets.token_hex(4)}", data_dir=run_dir)
    yield driver
    driver.close()
