"""The servers of the gateway's benchmark, each a process of its own: ours, and two bare ones beside it.

`ours` is the gateway as it runs on a host, with one more tool server that does nothing; it prints its facts as a line
of JSON before it serves. `bare` and `low` are the SDK's two kinds of server with the same tool and the same transport.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import uuid
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import uvicorn
import uvloop
from mcp.server import MCPServer, Server, ServerRequestContext
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.server.transport_security import TransportSecuritySettings
from mcp_types import (
    CallToolRequestParams,
    CallToolResult,
    ListToolsResult,
    PaginatedRequestParams,
    TextContent,
)
from mcp_types import Tool as ToolListing
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.routing import Route
from starlette.types import ASGIApp

TOKENS = 16
"""As many tasks at work as connections call."""
SECURITY = TransportSecuritySettings(allowed_hosts=["127.0.0.1", "127.0.0.1:*"])


class Given(BaseModel):
    """What the tool takes."""

    text: str


class Said(BaseModel):
    """What the tool gives."""

    text: str


def _config(app: ASGIApp, port: int) -> uvicorn.Config:
    return uvicorn.Config(
        app, port=port, loop="uvloop", http="httptools", ws="none", access_log=False, log_level="warning"
    )


async def _serve_bare(port: int) -> None:
    server = MCPServer("bare", log_level="WARNING")

    @server.tool(description="Does nothing.")
    async def noop(text: str) -> Said:
        return Said(text=text)

    app = server.streamable_http_app(
        streamable_http_path="/mcp/bench",
        json_response=True,
        stateless_http=True,
        transport_security=SECURITY,
    )
    await uvicorn.Server(_config(app, port)).serve()


async def _serve_low(port: int) -> None:
    listing = ToolListing(name="noop", description="Does nothing.", input_schema=Given.model_json_schema())

    async def list_tools(
        context: ServerRequestContext[Any], params: PaginatedRequestParams | None
    ) -> ListToolsResult:
        return ListToolsResult(tools=[listing])

    async def call_tool(context: ServerRequestContext[Any], params: CallToolRequestParams) -> CallToolResult:
        said = Said(text=Given.model_validate(params.arguments).text)
        text = TextContent(type="text", text=said.model_dump_json())
        return CallToolResult(content=[text], structured_content=said.model_dump(mode="json"))

    server: Server[Any] = Server("low", version="1", on_list_tools=list_tools, on_call_tool=call_tool)
    manager = StreamableHTTPSessionManager(
        server, json_response=True, stateless=True, security_settings=SECURITY
    )

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with manager.run():
            yield

    class Endpoint:
        async def __call__(self, *asgi: Any) -> None:
            await manager.handle_request(*asgi)

    app = Starlette(routes=[Route("/mcp/bench", Endpoint())], lifespan=lifespan)
    await uvicorn.Server(_config(app, port)).serve()


def _add_noop() -> None:
    from services.mcp_gateway import http
    from services.mcp_gateway.callers import Caller
    from services.mcp_gateway.mcp_servers.tools import Tool, ToolInput, ToolOutput, ToolServer

    class NoopInput(ToolInput):
        text: str

    class NoopOutput(ToolOutput):
        text: str

    async def run(caller: Caller, given: NoopInput) -> NoopOutput:
        return NoopOutput(text=given.text)

    noop = Tool("noop", "Does nothing.", NoopInput, NoopOutput, run)
    http.TOOL_SERVERS = (*http.TOOL_SERVERS, ToolServer("bench", "Bench", "", (noop,)))  # type: ignore[assignment]


def _seed(links: int) -> dict[str, Any]:
    """Make an organisation with tasks at work, and as many sandboxes that a gateway serves."""
    from conftest import make_tenant
    from services.domain.plane.hosts import register_host
    from services.domain.plane.models import Sandbox, SandboxState
    from services.domain.tasks.models import Task, TaskToken
    from services.domain.tenancy.transaction import tenant_transaction
    from services.kit.clock import now
    from services.kit.environment import environment
    from services.kit.tokens import TASK_TOKEN_PREFIX, hash_token, make_token
    from tests.domain.cast import submit

    tenant = make_tenant("bench", ["alice"])
    tokens = []
    for _ in range(TOKENS):
        task, token = submit(tenant), make_token(TASK_TOKEN_PREFIX)
        with tenant_transaction(task.org_id):
            Task.objects.filter(id=task.id).update(status="running", started_at=now())
            TaskToken.objects.create(
                org_id=task.org_id, task=task, audience="mcp:bench", token_hash=hash_token(token),
                expires_at=now() + timedelta(hours=2),
            )  # fmt: skip
        tokens.append(token)
    host = register_host(environment().host_name, driver="null", slots=10_000)
    ids = [uuid.uuid4() for _ in range(links)]
    Sandbox.objects.bulk_create(
        Sandbox(id=one, host=host, image="none", state=SandboxState.WARM) for one in ids
    )
    return {"tokens": tokens, "sandboxes": [str(one) for one in ids], "org": str(tenant.organisation.id)}


def _serve_ours(links: int) -> None:
    import django

    os.environ["DJANGO_SETTINGS_MODULE"] = "services.api.settings"
    django.setup()
    from django.core.management import call_command

    call_command("provision", verbosity=0)
    facts = _seed(links)
    _add_noop()
    from services.mcp_gateway import serve

    print(json.dumps(facts), flush=True)
    serve.main()


def main() -> None:
    """Be one of the servers: `<kind> <port> <core or -> <links>`."""
    kind, port, core, links = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
    if core != "-":
        os.sched_setaffinity(0, {int(core)})
    if kind == "ours":
        _serve_ours(links)
        return
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve_bare(port) if kind == "bare" else _serve_low(port))


if __name__ == "__main__":
    main()
