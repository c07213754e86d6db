"""A running realtime service, clients of it, and events for it to deliver."""

from __future__ import annotations

import contextlib
import json
import logging
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from websockets.sync.client import ClientConnection, connect

from conftest import Tenant
from services.domain.events.log import NewEvent, record_events
from services.domain.events.types import MessageCreated
from services.domain.tenancy.transaction import tenant_transaction
from services.domain.workspaces.actions import create_workspace
from services.kit import redisbus
from services.kit.environment import environment
from services.kit.redisbus import publish_envelopes
from services.realtime.app import Application
from services.realtime.node import Node, Pace
from services.realtime.serve import RealtimeServer, make_server

WITHIN_S = 30.0


def eventually(condition: Callable[[], Any], within_s: float = WITHIN_S) -> Any:
    """Wait until a condition holds, and return what it gave."""
    deadline = time.monotonic() + within_s
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)
    return found


class Stream:
    """A workspace's stream, and what a test adds to it."""

    def __init__(self, tenant: Tenant) -> None:
        self.tenant = tenant
        with tenant_transaction(tenant.organisation.id):
            workspace = create_workspace(tenant.owner, tenant.agent, source="api", is_persistent=True)
        self.workspace_id = workspace.id
        self.name = workspace.stream
        self.head = 0

    def add(self, count: int = 1) -> int:
        """Commit durable events in one transaction; return the head."""
        texts = [f"message {self.head + index}" for index in range(1, count + 1)]
        with tenant_transaction(self.tenant.organisation.id):
            events = [NewEvent(MessageCreated(role="assistant", text=text)) for text in texts]
            self.head = record_events(self.name, events)[-1].seq
        return self.head

    def say(self, text: str, *, after: int, part: int) -> None:
        """Publish a live delta."""
        publish_envelopes(
            [
                {
                    "stream": self.name,
                    "type": "text.delta",
                    "at": "2026-01-01T00:00:00.000000Z",
                    "task_id": None,
                    "turn": 1,
                    "after": after,
                    "part": part,
                    "data": {"text": text},
                }
            ]
        )


class Client:
    """A WebSocket client that keeps count of what it was given."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection
        self.cursor = 0

    def send(self, **message: Any) -> None:
        """Send a message."""
        self.connection.send(json.dumps(message))

    def receive(self, within_s: float = WITHIN_S) -> dict[str, Any]:
        """Return the next frame."""
        frame: dict[str, Any] = json.loads(self.connection.recv(timeout=within_s))
        self.cursor = frame.get("seq", self.cursor)
        return frame

    def ask(self, **message: Any) -> dict[str, Any]:
        """Send a message and return its answer; events in between are passed over."""
        message_id = uuid.uuid4().hex
        self.send(id=message_id, **message)
        while True:
            frame = self.receive()
            if frame.get("id") == message_id:
                return frame

    def subscribe(self, stream: str, after: int | None = 0) -> dict[str, Any]:
        """Subscribe and return the answer."""
        return self.ask(op="subscribe", stream=stream, after=after)

    def numbers(self, up_to: int, within_s: float = WITHIN_S) -> list[int]:
        """Return the numbers of the durable events up to one."""
        found: list[int] = []
        deadline = time.monotonic() + within_s
        while not found or found[-1] < up_to:
            frame = self.receive(deadline - time.monotonic())
            if "seq" in frame:
                found.append(frame["seq"])
        return found


@dataclass
class Running:
    """A realtime service on a thread of this process."""

    application: Application
    server: RealtimeServer
    port: int
    thread: threading.Thread

    @property
    def node(self) -> Node:
        node = self.application.lifespan.node
        assert node is not None
        return node

    @property
    def http(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def stop(self) -> None:
        self.server.should_exit = True
        self.thread.join(10)
        assert not self.thread.is_alive()

    @contextlib.contextmanager
    def client(
        self, token: str | None = None, query: str = "", headers: dict[str, str] | None = None
    ) -> Iterator[Client]:
        """Connect to `/v1/stream`."""
        sent = dict(headers or {})
        if token is not None:
            sent["Authorization"] = f"Bearer {token}"
        url = f"ws://127.0.0.1:{self.port}/v1/stream{query}"
        with connect(
            url, additional_headers=sent, compression=None, max_size=2**24, proxy=None
        ) as connection:
            yield Client(connection)


def start_service(pace: Pace | None = None, api_url: str | None = None) -> Running:
    """Start a service on a free port and wait until it listens."""
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    level = logging.getLogger("uvicorn.error").level
    application = Application(pace, api_url=api_url)
    server = make_server(application, host="127.0.0.1", port=port)

    def serve() -> None:
        try:
            server.run(sockets=[listener])
        finally:
            listener.close()
            logging.getLogger("uvicorn.error").setLevel(level)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    eventually(lambda: server.started)
    return Running(application, server, port, thread)


@pytest.fixture
def start(database) -> Iterator[Callable[..., Running]]:
    """Start services; all of them are stopped before the tables are emptied."""
    started: list[Running] = []

    def begin(pace: Pace | None = None, api_url: str | None = None) -> Running:
        started.append(start_service(pace, api_url))
        return started[-1]

    yield begin
    for running in started:
        running.stop()


@pytest.fixture
def service(start) -> Running:
    """Give a service as it runs in production."""
    return start()


@pytest.fixture
def stream(acme) -> Stream:
    """Give the stream of a workspace of acme."""
    return Stream(acme)


@pytest.fixture
def own_redis(database, tmp_path, monkeypatch) -> Iterator[Any]:
    """Let the whole process use a Redis server that the test may kill."""
    from tests.realtime.own_redis import OwnRedis

    server = OwnRedis(tmp_path)
    server.start()
    monkeypatch.setenv("SLIPWAY_REDIS_URL", server.url)
    environment.cache_clear()
    redisbus._client.cache_clear()
    yield server
    redisbus.client().close()
    server.kill()
    monkeypatch.undo()
    environment.cache_clear()
    redisbus._client.cache_clear()
