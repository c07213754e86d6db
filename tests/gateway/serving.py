"""The gateway's HTTP on a loopback port, on a thread of the test, and tasks at work that may call it."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.types import ASGIApp, Receive, Scope, Send

from conftest import Tenant
from services.domain.agents.models import Agent
from services.domain.approvals.models import Approval
from services.domain.tasks.models import Task, UsageRecord
from services.domain.tasks.runner import issue_turn
from services.domain.tasks.submit import TaskOrder, submit_task
from services.domain.tenancy.transaction import tenant_transaction
from services.mcp_gateway.http import AgentHttp
from tests.domain.cast import Runner, start

T = TypeVar("T")
SANDBOX_HEADER = b"x-test-sandbox"


@dataclass
class Working:
    """A task at work: its runner, and the tokens that its sandbox got, by audience."""

    task: Task
    runner: Runner
    tokens: dict[str, str]

    @property
    def sandbox_id(self) -> uuid.UUID:
        """Return the sandbox at work on it."""
        return self.runner.sandbox_id

    @property
    def llm(self) -> dict[str, str]:
        """Return the headers of a model call."""
        return {"x-api-key": self.tokens["llm"], "anthropic-version": "2023-06-01"}

    def end(self) -> None:
        """Let the runner end the turn."""
        self.runner.says("turn.done", status="succeeded", text="done")

    def records(self) -> list[UsageRecord]:
        """Return the task's usage records."""
        with tenant_transaction(self.task.org_id):
            return list(UsageRecord.objects.filter(task=self.task).order_by("id"))


def at_work(tenant: Tenant, agent: Agent, *, who: Any = None, **order: Any) -> Working:
    """Submit and start a task of an agent."""
    order = {"prompt": "go", **order}
    if "workspace_id" not in order:
        order["agent_id"] = agent.id
    task = submit_task(who or tenant.owner, TaskOrder(**order), source="api")
    sandbox_id = start(task).sandbox.id
    runner = Runner(task, sandbox_id)
    runner.says("turn.started", provider=agent.provider)
    frame = issue_turn(task.org_id, task.id, sandbox_id)
    assert frame is not None
    tokens = {f"mcp:{server['name']}": server["token"] for server in frame["mcp"]}
    if frame["llm"]:
        tokens["llm"] = frame["llm"]["token"]
    return Working(task, runner, tokens)


class _AsIfFromSandbox:
    """Plays the sandboxes' sockets: a header of the test becomes what the socket puts into the scope."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        sandbox_id = dict(scope.get("headers", ())).get(SANDBOX_HEADER)
        if sandbox_id is not None:
            scope["state"]["sandbox_id"] = sandbox_id.decode()
        await self._app(scope, receive, send)


@contextlib.contextmanager
def served(agent_http: AgentHttp, in_front: Callable[[ASGIApp], ASGIApp] = lambda app: app) -> Iterator[str]:
    """Serve the routes on a port, behind what a test puts in front of them, and return the address."""

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[dict[str, Any]]:
        async with agent_http.run():
            yield {}

    app = in_front(_AsIfFromSandbox(Starlette(routes=agent_http.routes(), lifespan=lifespan)))
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    config = uvicorn.Config(
        app, http="httptools", ws="none", log_level="error", access_log=False, timeout_graceful_shutdown=2
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    eventually(lambda: server.started)
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    server.should_exit = True
    thread.join(5)
    listener.close()


def approval_of(tenant: Tenant) -> Approval:
    """Return the approval that was asked for last, if there is one."""
    with tenant_transaction(tenant.organisation.id):
        return Approval.objects.order_by("-id").first()


def eventually(check: Callable[[], T], within_s: float = 30.0) -> T:
    """Wait until a check gives something true, and return it."""
    deadline = time.monotonic() + within_s
    while not (found := check()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"still {found!r} after {within_s} s")
        time.sleep(0.01)
    return found


def rpc(
    url: str, token: str, method: str, params: dict[str, Any] | None = None, **headers: str
) -> httpx.Response:
    """Send one JSON-RPC request to an MCP server, as the handshake revisions do."""
    return httpx.post(
        url,
        json={"jsonrpc": "2.0", "id": 1, "method": method, "params": params or {}},
        headers={
            "Authorization": f"Bearer {token}".encode(),
            "Accept": "application/json, text/event-stream",
            "MCP-Protocol-Version": "2025-11-25",
            **headers,
        },
    )


def message_of(answer: httpx.Response) -> dict[str, Any]:
    """Return the JSON-RPC answer in a response, whether it came as JSON or in a stream."""
    assert answer.status_code == 200, answer.text
    if answer.headers["content-type"].startswith("application/json"):
        found: dict[str, Any] = answer.json()
        return found
    lines = [line.removeprefix("data: ") for line in answer.text.splitlines() if line.startswith("data: {")]
    return next(message for message in map(json.loads, lines) if message.get("id") == 1)


class Caller:
    """Calls the tools of one server with one task's token."""

    def __init__(self, gateway: str, working: Working, server: str) -> None:
        self.url = f"{gateway}/mcp/{server}"
        self.token = working.tokens[f"mcp:{server}"]

    def raw(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """Call a tool and return the result as it came."""
        answer = rpc(self.url, self.token, "tools/call", {"name": tool, "arguments": arguments})
        assert answer.status_code == 200, answer.text
        result: dict[str, Any] = answer.json()["result"]
        return result

    def __call__(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """Call a tool that must succeed; returns what it gave."""
        result = self.raw(tool, **arguments)
        assert not result.get("isError"), result
        given: dict[str, Any] = result["structuredContent"]
        return given

    def refused(self, tool: str, **arguments: Any) -> str:
        """Call a tool that must refuse; returns its words."""
        result = self.raw(tool, **arguments)
        assert result["isError"] is True, result
        text: str = result["content"][0]["text"]
        return text
