"""A second stack of the session, which is traced and talks to programs of others in place of our own local servers."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.local.stack import Stack
from tests.conftest import MODEL_KEY
from tests.fakes.anthropic_server import AnthropicServer
from tests.fakes.otlp_server import OtlpServer
from tests.fakes.serving import LocalServer
from tests.fakes.telegram_server import FakeTelegram
from tests.stack.peers import Peers
from tests.stack.running import RunningStack


@pytest.fixture(scope="session")
def collector() -> Iterator[OtlpServer]:
    """Run a local receiver of traces; its address is in `url`."""
    fake = OtlpServer()
    with LocalServer(fake.app) as server:
        fake.url = server.url
        yield fake


@pytest.fixture(scope="session")
def peers() -> Iterator[Peers]:
    """Give the places of the peers."""
    with Peers() as there:
        yield there


@pytest.fixture(scope="session")
def second_stack(
    collector: OtlpServer, peers: Peers, telegram: FakeTelegram, model_server: AnthropicServer
) -> Iterator[RunningStack]:
    """Run a stack that traces, may reach local MCP servers and push services, and finds the peers."""
    environ = {
        name: value for name, value in os.environ.items() if not name.startswith(("SLIPWAY_", "DJANGO_"))
    }
    environ |= {name: os.environ[name] for name in ("SLIPWAY_BASE_IMAGE",) if name in os.environ}
    extra = {
        "SLIPWAY_SANDBOX_SLOTS": "8",
        "SLIPWAY_OTLP_ENDPOINT": collector.url,
        "SLIPWAY_UPSTREAM_INTERNAL_HOSTS": "127.0.0.1,localhost",
        "TELEGRAM_API_BASE": telegram.url,
        "ANTHROPIC_BASE_URL": model_server.url,
        "ANTHROPIC_API_KEY": MODEL_KEY,
        **peers.settings(),
    }
    folder = Path(tempfile.mkdtemp(prefix="slipway-second-"))
    running = RunningStack(Stack(folder, environ=environ, extra=extra, driver="docker", is_bound=True))
    running.start()
    yield running
    running.stop()
