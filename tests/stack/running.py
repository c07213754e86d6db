"""A running stack, as a client and as a saboteur see it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, LiteralString

import httpx
import psycopg
from psycopg.rows import dict_row

from deploy.local.services import SERVICES, find_fault
from deploy.local.stack import Stack
from tests.fakes.mcp_upstream import McpUpstream

FINAL = {"succeeded", "failed", "cancelled", "expired"}


def until(condition: Callable[[], Any], *, within_s: float, what: str) -> Any:
    """Wait until a condition gives something true, and return it. Raises: AssertionError."""
    deadline = time.monotonic() + within_s
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"not within {within_s} s: {what}"
        time.sleep(0.05)


def _rows(url: str, query: LiteralString, values: Sequence[object]) -> list[dict[str, Any]]:
    with psycopg.connect(url, autocommit=True, row_factory=dict_row) as connection:
        return connection.execute(query, values).fetchall()


@contextlib.contextmanager
def registered(stack: RunningStack, name: str) -> Iterator[McpUpstream]:
    """Run an MCP server of somebody else, which the organisation has registered under a name for as long."""
    with McpUpstream() as upstream:
        made = stack.http.post("/v1/mcp_servers", json={"name": name, "url": upstream.url})
        assert made.status_code == 201, made.text
        try:
            yield upstream
        finally:
            # All tests share the organisation, and a name is taken once.
            gone = stack.http.delete(f"/v1/mcp_servers/{made.json()['id']}")
            assert gone.status_code == 204, gone.text


class RunningStack:
    """The stack of a test session."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._facts: dict[str, Any] = {}
        self.http = httpx.Client(timeout=15)

    def start(self) -> None:
        """Bring the stack up and keep what it says of itself."""
        self._facts = self._stack.up()
        self.http = self.client(self.token)

    def stop(self) -> None:
        """Take the stack down and remove its folder."""
        self.http.close()
        self._stack.purge()

    def client(self, token: str) -> httpx.Client:
        """Make a REST client with a token."""
        return httpx.Client(base_url=self.api, headers={"authorization": f"Bearer {token}"}, timeout=15)

    @property
    def env(self) -> dict[str, str]:
        return self._stack.env

    @property
    def api(self) -> str:
        return str(self._facts["api"])

    @property
    def realtime(self) -> str:
        return str(self._facts["realtime"])

    @property
    def gateway(self) -> str:
        return str(self._facts["gateway"])

    @property
    def token(self) -> str:
        return str(self._facts["token"])

    @property
    def other_token(self) -> str:
        return str(self._facts["other_org"]["token"])

    @property
    def email(self) -> str:
        return str(self._facts["user"]["email"])

    @property
    def password(self) -> str:
        return str(self._facts["user"]["password"])

    @property
    def agents(self) -> dict[str, str]:
        return dict(self._facts["agents"])

    # --- as a client ---------------------------------------------------------------------------------

    def submit(
        self, prompt: str, *, agent: str = "shell", key: str | None = None, **fields: Any
    ) -> dict[str, Any]:
        """Submit a task, trying again while the api is away: the key makes that harmless."""
        headers = {"idempotency-key": key or os.urandom(12).hex()}
        body = {"prompt": prompt, **fields}
        if "workspace_id" not in fields:
            body["agent_id"] = self.agents.get(agent, agent)

        def post() -> httpx.Response | None:
            try:
                answer = self.http.post("/v1/tasks", json=body, headers=headers)
            except httpx.TransportError:
                return None
            return answer if answer.status_code < 500 else None

        answer = until(post, within_s=30, what="the api accepts a task")
        assert answer.status_code == 202, answer.text
        return dict(answer.json())

    def task(self, task_id: str) -> dict[str, Any]:
        """Read a task, trying again while the api is away."""

        def get() -> dict[str, Any] | None:
            try:
                answer = self.http.get(f"/v1/tasks/{task_id}")
            except httpx.TransportError:
                return None
            return answer.json() if answer.status_code == 200 else None

        return dict(until(get, within_s=30, what="the api answers"))

    def wait(self, task_id: str, *, within_s: float = 90) -> dict[str, Any]:
        """Wait until a task has ended, and return it."""

        def ended() -> dict[str, Any] | None:
            task = self.task(task_id)
            return task if task["status"] in FINAL else None

        return dict(until(ended, within_s=within_s, what=f"task {task_id} ends"))

    def run(self, prompt: str, **fields: Any) -> dict[str, Any]:
        """Submit a task and wait for its end."""
        return self.wait(self.submit(prompt, **fields)["id"])

    def events(self, workspace_id: str) -> list[dict[str, Any]]:
        """Read all of a workspace's events."""
        events: list[dict[str, Any]] = []
        while True:
            after = events[-1]["seq"] if events else 0
            page = self._read(f"/v1/workspaces/{workspace_id}/events", after=after, limit=200)
            assert page.status_code == 200, page.text
            if not page.json()["items"]:
                return events
            events += page.json()["items"]

    def _read(self, path: str, **params: Any) -> httpx.Response:
        """Read from the api, trying again while it is away, or a kept connection is that of one that was killed."""

        def get() -> httpx.Response | None:
            try:
                answer = self.http.get(path, params=params)
            except httpx.TransportError:
                return None
            return answer if answer.status_code < 500 else None

        found: httpx.Response = until(get, within_s=30, what="the api answers")
        return found

    def wait_stopped(self, workspace_id: str) -> None:
        """Wait until a workspace's idle sandbox is gone."""

        def is_stopped() -> bool:
            return bool(self.http.get(f"/v1/workspaces/{workspace_id}").json()["sandbox_state"] == "stopped")

        until(is_stopped, within_s=60, what="the idle sandbox is stopped")

    def operate(self, query: LiteralString, values: Sequence[object] = ()) -> list[dict[str, Any]]:
        """Ask the product's database, as its operator; the query returns rows."""
        return _rows(self.env["SLIPWAY_OPERATOR_DATABASE_URL"], query, values)

    def plane(self, query: LiteralString, values: Sequence[object] = ()) -> list[dict[str, Any]]:
        """Ask the sandbox plane's database, as its owner; the query returns rows."""
        return _rows(self.env["SLIPWAY_PLANE_OWNER_DATABASE_URL"], query, values)

    # --- as a saboteur -------------------------------------------------------------------------------

    def pid(self, name: str) -> int | None:
        """Return the pid of a process now, or None while it is down."""
        return self._stack.stack_json.get("pids", {}).get(name)

    def kill(self, name: str) -> int:
        """Kill a process at once, and return the pid that it had."""
        pid = until(lambda: self.pid(name), within_s=30, what=f"{name} runs")
        os.kill(pid, signal.SIGKILL)
        return int(pid)

    def is_ready(self, name: str) -> bool:
        """Say whether one of our services is there and works."""
        service = next(one for one in SERVICES if one.name == name)
        return find_fault(service, self._stack.supervisor.states().get(name), self.env) is None

    def wait_restarted(self, name: str, old_pid: int) -> None:
        """Wait until the process is there again, under another pid."""
        until(lambda: self.pid(name) not in (None, old_pid), within_s=60, what=f"{name} is back")

    def halt(self, name: str) -> None:
        """Stop a process and keep it down."""
        self._stack.supervisor.stop(name)

    def resume(self, name: str) -> None:
        """Start a halted process."""
        self._stack.supervisor.start(name)


class Follower:
    """Follows a workspace's stream over SSE from a thread, reconnecting with its cursor whenever it breaks."""

    def __init__(self, stack: RunningStack, workspace_id: str) -> None:
        base = stack.realtime.replace("ws://", "http://")
        self._url = f"{base}/v1/events?stream=workspace:{workspace_id}"
        self._token = stack.token
        self._stopping = threading.Event()
        self.events: list[dict[str, Any]] = []
        self.live: list[dict[str, Any]] = []
        self.reconnects = -1
        threading.Thread(target=self._follow, daemon=True).start()

    def wait_for(self, event_type: str, *, within_s: float = 60) -> dict[str, Any]:
        """Wait until an event of a type has come, and return it."""

        def find() -> dict[str, Any] | None:
            return next((event for event in list(self.events) if event["type"] == event_type), None)

        return dict(until(find, within_s=within_s, what=f"{event_type} on the stream"))

    def stop(self) -> None:
        """Stop following; the thread ends by itself at the stream's next keep-alive."""
        self._stopping.set()

    def _follow(self) -> None:
        last = 0
        while not self._stopping.is_set():
            self.reconnects += 1
            headers = {"authorization": f"Bearer {self._token}", "last-event-id": str(last)}
            try:
                with (
                    httpx.Client(timeout=httpx.Timeout(5, read=17)) as client,
                    client.stream("GET", self._url, headers=headers) as answer,
                ):
                    for line in answer.iter_lines():
                        if self._stopping.is_set():
                            return
                        if line.startswith("data:"):
                            last = self._take(json.loads(line[5:]), last)
            except httpx.HTTPError:
                pass
            self._stopping.wait(0.2)

    def _take(self, envelope: dict[str, Any], last: int) -> int:
        if "seq" not in envelope:
            self.live.append(envelope)
            return last
        self.events.append(envelope)
        return int(envelope["seq"])
