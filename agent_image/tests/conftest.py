"""A runner in the test's own loop, and the fake gateway that it is linked to."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from agent_image.providers import open_provider
from agent_image.runner.journal import Journal
from agent_image.runner.runner import Runner, RunnerSettings
from tests.fakes.gateway_link import FakeGateway, serve_gateway

StartRunner = Callable[..., Runner]


@pytest.fixture
def socket_folder() -> Iterator[Path]:
    """A folder with a short name: a Unix socket's path may have 107 bytes."""
    folder = Path(tempfile.mkdtemp(prefix="slipway-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that the shell provider takes for /workspace."""
    monkeypatch.setenv("SLIPWAY_WORKSPACE", str(tmp_path))
    return tmp_path


@pytest.fixture
async def gateway(socket_folder: Path) -> AsyncIterator[FakeGateway]:
    async with serve_gateway(socket_folder / "gw.sock", FakeGateway()) as served:
        yield served


@pytest.fixture
async def start_runner(socket_folder: Path, workspace: Path) -> AsyncIterator[StartRunner]:
    """Start runners on the socket; they are stopped at the end of the test."""
    async with contextlib.AsyncExitStack() as stack:

        def start(*, journal: Journal | None = None, silence_s: float = 30.0) -> Runner:
            settings = RunnerSettings(
                socket_path=str(socket_folder / "gw.sock"), forward_port=0, egress_port=0, silence_s=silence_s
            )
            runner = Runner(settings, open_provider, journal=journal)
            linking = asyncio.create_task(runner.run())

            async def stop() -> None:
                await runner.stop(flush_s=0)
                linking.cancel()
                await asyncio.wait({linking})

            stack.push_async_callback(stop)
            return runner

        yield start


@pytest.fixture
async def runner(start_runner: StartRunner, gateway: FakeGateway) -> Runner:
    """A runner that is linked to the gateway."""
    started = start_runner()
    await gateway.wait_until(lambda: gateway.socket is not None, "connection")
    return started
