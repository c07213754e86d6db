"""The gateway's HTTP, a model server behind it, and an agent that may call both."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pydantic import SecretStr

from conftest import Tenant
from services.domain.agents.actions import AgentFields, create_agent
from services.domain.agents.models import Agent
from services.kit.environment import environment
from services.mcp_gateway.http import AgentHttp
from services.mcp_gateway.llm.vendor import Vendor
from tests.fakes.anthropic_server import AnthropicServer
from tests.fakes.mcp_upstream import McpUpstream
from tests.fakes.serving import LocalServer
from tests.gateway.serving import Working, at_work, served

KEY = "sk-ant-real-key-for-tests"


@pytest.fixture
def model_server() -> Iterator[AnthropicServer]:
    """Run a local model server that takes one key only."""
    fake = AnthropicServer(key=KEY)
    with LocalServer(fake.app) as server:
        fake.url = server.url
        yield fake


@pytest.fixture
def gateway(database, model_server: AnthropicServer) -> Iterator[str]:
    """Serve MCP servers and the model proxy; gives the address."""
    with served(AgentHttp(Vendor(model_server.url, SecretStr(KEY)))) as url:
        yield url


@pytest.fixture
def claude(acme: Tenant) -> Agent:
    """Give acme an agent that calls a model."""
    return create_agent(acme.owner, AgentFields(name="Claude", provider="claude", model="claude-sonnet-4-6"))


@pytest.fixture
def working(acme: Tenant, claude: Agent) -> Working:
    """Put that agent to work for alice."""
    return at_work(acme, claude)


@pytest.fixture
def local_upstreams(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let registered MCP servers be on loopback; to be asked for before the gateway."""
    monkeypatch.setattr(environment(), "upstream_internal_hosts", "127.0.0.1")


@pytest.fixture
def upstream() -> Iterator[McpUpstream]:
    """Run an MCP server of somebody else's."""
    with McpUpstream() as server:
        yield server
