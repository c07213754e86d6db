"""The running product, for tests of its processes: a stack of its own, with local peers in place of the platforms."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.local.stack import Stack
from services.kit import tracing
from services.kit.environment import environment
from tests.fakes.account_servers import AccountServers
from tests.fakes.anthropic_server import AnthropicServer
from tests.fakes.discord_server import FakeDiscord
from tests.fakes.openai_server import OpenaiServer
from tests.fakes.otlp_server import OtlpServer
from tests.fakes.serving import LocalServer
from tests.fakes.slack_server import FakeSlack
from tests.fakes.telegram_server import FakeTelegram
from tests.stack.running import RunningStack

MODEL_KEY = "sk-only-the-gateway-has-this"
# Long enough that a test sees it, short enough that one waits for its end.
HOLD_WAIT_S = 4


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[OtlpServer]:
    """Trace into a local receiver."""
    fake = OtlpServer()
    with LocalServer(fake.app) as server:
        monkeypatch.setattr(environment(), "otlp_endpoint", server.url)
        for made in (tracing._tracer, tracing._provider):
            made.cache_clear()
        yield fake
        tracing._provider().shutdown()
    monkeypatch.undo()
    for made in (tracing._tracer, tracing._provider):
        made.cache_clear()


@pytest.fixture(scope="session")
def telegram() -> Iterator[FakeTelegram]:
    """Run a local Bot API server."""
    with FakeTelegram() as server:
        yield server


@pytest.fixture(scope="session")
def slack() -> Iterator[FakeSlack]:
    """Run a local Slack Web API server."""
    with FakeSlack() as server:
        yield server


@pytest.fixture(scope="session")
def discord() -> Iterator[FakeDiscord]:
    """Run a local Discord, to which the product connects to hear what comes."""
    with FakeDiscord() as server:
        yield server


@pytest.fixture(scope="session")
def model_server() -> Iterator[AnthropicServer]:
    """Run a local model server that takes one key only; its address is in `url`."""
    fake = AnthropicServer(key=MODEL_KEY)
    with LocalServer(fake.app) as server:
        fake.url = server.url
        yield fake


@pytest.fixture(scope="session")
def openai_server() -> Iterator[OpenaiServer]:
    """Run a local model server of the other vendor, that takes one key only; its address is in `url`."""
    fake = OpenaiServer(key=MODEL_KEY)
    with LocalServer(fake.app) as server:
        fake.url = server.url
        yield fake


@pytest.fixture(scope="session")
def account_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AccountServers]:
    """Run a local server in place of each party at which people have accounts."""
    with AccountServers(tmp_path_factory.mktemp("accounts")) as servers:
        yield servers


@pytest.fixture(scope="session")
def stack(
    telegram: FakeTelegram,
    slack: FakeSlack,
    discord: FakeDiscord,
    model_server: AnthropicServer,
    openai_server: OpenaiServer,
    account_servers: AccountServers,
) -> Iterator[RunningStack]:
    """Run the whole product in a folder of its own: all its processes, three servers, a real engine."""
    folder = tempfile.mkdtemp(prefix="slipway-stack-")
    extra = {
        "SLIPWAY_SANDBOX_SLOTS": "8",
        "SLIPWAY_EGRESS_TEST_HOSTS": "allowed.test=127.0.0.1,asked.test=127.0.0.1",
        "SLIPWAY_UPSTREAM_INTERNAL_HOSTS": "127.0.0.1,localhost",
        "SLIPWAY_MCP_HOLD_WAIT_S": str(HOLD_WAIT_S),
        "TELEGRAM_API_BASE": telegram.url,
        "SLACK_API_BASE": slack.api_base,
        "DISCORD_API_BASE": discord.api_base,
        "ANTHROPIC_BASE_URL": model_server.url,
        "ANTHROPIC_API_KEY": MODEL_KEY,
        "OPENAI_BASE_URL": openai_server.url,
        "OPENAI_API_KEY": MODEL_KEY,
        **account_servers.settings(),
    }
    environ = {
        name: value for name, value in os.environ.items() if not name.startswith(("SLIPWAY_", "DJANGO_"))
    }
    # What the check built is used, not built again.
    environ |= {name: os.environ[name] for name in ("SLIPWAY_BASE_IMAGE",) if name in os.environ}
    running = RunningStack(Stack(Path(folder), environ=environ, extra=extra, driver="docker", is_bound=True))
    running.start()
    yield running
    running.stop()
