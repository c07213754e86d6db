"""The real process: probes, a graceful stop, and kill -9."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator

import httpx
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from services.realtime.probes import MetricsEndpoint
from tests.realtime.conftest import Client, eventually


class Process:
    """`python -m services.realtime.serve` on a port of its own."""

    def __init__(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def http(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        environment = {**os.environ, "SLIPWAY_REALTIME_PORT": str(self.port)}
        environment.pop("DJANGO_SETTINGS_MODULE", None)
        self._process = subprocess.Popen([sys.executable, "-m", "services.realtime.serve"], env=environment)
        eventually(self._is_ready, within_s=20)

    def end(self, sign: signal.Signals) -> int:
        assert self._process is not None
        self._process.send_signal(sign)
        code = self._process.wait(15)
        self._process = None
        return code

    def is_running(self) -> bool:
        return self._process is not None

    def _is_ready(self) -> bool:
        try:
            return httpx.get(f"{self.http}/ready", timeout=2).status_code == 200
        except httpx.TransportError:
            return False


@pytest.fixture
def process(database) -> Iterator[Process]:
    """Run the service as its own process."""
    running = Process()
    running.start()
    yield running
    if running.is_running():
        running.end(signal.SIGKILL)


def test_the_process_answers_probes_and_stops_gracefully_with_streams_open(process, acme, stream):
    assert httpx.get(f"{process.http}/health").json() == {"status": "alive"}
    assert httpx.get(f"{process.http}/ready").json() == {
        "status": "ready",
        "dependencies": {"database": "ok", "redis": "ok"},
    }
    headers = {"Authorization": f"Bearer {acme.token}"}
    url = f"{process.http}/v1/events?stream={stream.name}"
    with (
        connect(
            f"ws://127.0.0.1:{process.port}/v1/stream", additional_headers=headers, proxy=None
        ) as connection,
        httpx.stream("GET", url, headers=headers, timeout=30) as answer,
    ):
        client = Client(connection)
        client.subscribe(stream.name)
        stream.add(1)
        assert client.numbers(1) == [1]
        metrics = httpx.get(f"{process.http}/metrics").text
        assert 'slipway_realtime_connections{transport="websocket"} 1.0' in metrics
        assert process.end(signal.SIGTERM) in (0, -signal.SIGTERM)
        assert "data: " in "".join(answer.iter_lines())
        with pytest.raises(ConnectionClosed) as closed:
            client.receive()
        assert closed.value.rcvd.code == 1012


def test_killed_and_started_again_a_client_goes_on_from_its_cursor(process, acme, stream):
    headers = {"Authorization": f"Bearer {acme.token}"}
    cursor = 0
    for turn in range(3):
        url = f"ws://127.0.0.1:{process.port}/v1/stream"
        with connect(url, additional_headers=headers, proxy=None) as connection:
            client = Client(connection)
            client.subscribe(stream.name, cursor)
            stream.add(5)
            assert client.numbers(stream.head) == list(range(cursor + 1, stream.head + 1))
            cursor = stream.head
            process.end(signal.SIGKILL)
            stream.add(4)
            with pytest.raises(ConnectionClosed):
                client.receive()
        assert turn < 3
        process.start()


def test_metrics_are_for_this_machine_only_and_unknown_paths_are_404(service):
    assert "slipway_realtime_streams 0.0" in httpx.get(f"{service.http}/metrics").text
    proxied = httpx.get(f"{service.http}/metrics", headers={"X-Forwarded-For": "10.0.0.1"})
    assert proxied.status_code == 404
    for path in ("/", "/v1/stream", "/v1/nothing", "/v1/events/"):
        answer = httpx.get(f"{service.http}{path}")
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")


async def test_metrics_are_hidden_from_another_machine():
    sent: list[dict] = []

    class Seen(MetricsEndpoint):
        async def base_send(self, message: dict) -> None:
            sent.append(message)

    endpoint = Seen()
    endpoint.scope = {
        "type": "http",
        "method": "GET",
        "path": "/metrics",
        "headers": [],
        "query_string": b"",
        "client": ("10.1.2.3", 5),
    }
    await endpoint._answer()
    assert sent[0]["status"] == 404


def test_without_redis_the_service_is_degraded_and_ready(service, monkeypatch):
    async def away() -> int:
        raise ConnectionError("refused")

    monkeypatch.setattr(service.node.live_log, "now_ms", away)
    answer = httpx.get(f"{service.http}/ready")
    assert (answer.status_code, answer.json()["status"]) == (200, "degraded")
    assert answer.json()["dependencies"] == {"database": "ok", "redis": "down"}
    assert "database" in answer.json()["note"]


def test_without_the_database_the_service_is_not_ready(service, monkeypatch):
    from services.domain.errors import Temporary

    async def away() -> None:
        raise Temporary("away")

    monkeypatch.setattr(service.node.rows, "ping", away)
    answer = httpx.get(f"{service.http}/ready")
    assert (answer.status_code, answer.json()["status"]) == (503, "unavailable")
