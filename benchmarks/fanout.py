"""Fan-out of one workspace to 1,000 WebSocket clients, beside a bare broadcast of the same bytes in one process.

Three processes share the machine: the server, this one, which commits the events, and one with all the clients.
The baseline is a Starlette app on the same uvicorn settings that makes the messages itself: no Redis, no database,
no subscription, no order to keep. In a burst its messages come in the same batches as the service's commits.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from benchmarks.rows import Row, percentile, row
from benchmarks.sockets import CLIENTS, WITHIN_S, Clients, stamped_text

EVERY_S = 0.05
ROUNDS = 3
CALM_EVENTS = 40
BURST_EVENTS = 300
BURST_COMMIT = 20
_WITHIN_ALL_S = 300.0
_WORKSPACE = "00000000-0000-7000-8000-000000000000"


# --- the baseline: a process of its own --------------------------------------------------------------------------


class Broadcast:
    """A bare app: every message goes to every socket, from a queue for each, as plainly as it can be written."""

    def __init__(self) -> None:
        self._queues: set[asyncio.Queue[str]] = set()
        self._seq = 0
        self._tasks: set[asyncio.Task[None]] = set()
        routes = [WebSocketRoute("/v1/stream", self._serve), Route("/send/{count:int}/{ms:int}", self._send)]
        self.app = Starlette(routes=routes)

    async def _serve(self, websocket: WebSocket) -> None:
        queue: asyncio.Queue[str] = asyncio.Queue()
        await websocket.accept()
        self._queues.add(queue)
        with contextlib.suppress(WebSocketDisconnect, asyncio.CancelledError):
            while True:
                await websocket.send_text(await queue.get())
        self._queues.discard(queue)

    async def _send(self, request: Any) -> Response:
        count, every_s = request.path_params["count"], request.path_params["ms"] / 1000
        task = asyncio.create_task(self._send_all(count, every_s))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return Response(str(time.time_ns()))

    async def _send_all(self, count: int, every_s: float) -> None:
        batch = 1 if every_s else BURST_COMMIT
        for _ in range(count // batch):
            for _ in range(batch):
                self._seq += 1
                text = json.dumps(_envelope(self._seq), separators=(",", ":"))
                for queue in self._queues:
                    queue.put_nowait(text)
            await asyncio.sleep(every_s)


def _envelope(seq: int) -> dict[str, Any]:
    return {
        "stream": f"workspace:{_WORKSPACE}",
        "seq": seq,
        "type": "message.created",
        "at": "2026-01-01T00:00:00.000000Z",
        "task_id": None,
        "turn": None,
        "data": {"role": "assistant", "text": stamped_text()},
    }


def _serve_baseline(port: int) -> None:
    uvicorn.run(
        Broadcast().app,
        host="127.0.0.1",
        port=port,
        loop="uvloop",
        http="httptools",
        ws="websockets-sansio",
        ws_per_message_deflate=False,
        log_level="critical",
        access_log=False,
        # Its sockets wait for the next message, which never comes.
        timeout_graceful_shutdown=1,
    )


# --- the measurement ---------------------------------------------------------------------------------------------

Send = Callable[[int, float], int]


@dataclass
class Side:
    """One of the two that are compared, and what was measured of it."""

    clients: Clients
    send: Send
    idle_kb: float
    latencies_ms: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)

    def measure(self) -> None:
        """Send calmly and take the latencies, then as fast as it goes and take the rate."""
        self.clients.expect(CALM_EVENTS)
        self.send(CALM_EVENTS, EVERY_S)
        self.latencies_ms += self.clients.result(CALM_EVENTS)[0]
        self.clients.expect(BURST_EVENTS)
        started_ns = self.send(BURST_EVENTS, 0.0)
        ended_ns = self.clients.result(BURST_EVENTS)[1]
        self.rates.append(BURST_EVENTS * CLIENTS / ((ended_ns - started_ns) / 1e9))

    def summary(self) -> dict[str, float]:
        """Return the two percentiles of all rounds, and the middle one of their rates."""
        return {
            "p50": percentile(self.latencies_ms, 0.5),
            "p99": percentile(self.latencies_ms, 0.99),
            "per_s": statistics.median(self.rates),
            "idle_kb": self.idle_kb,
        }


def _measure_in_turns() -> dict[str, dict[str, float]]:
    """Measure both by turns, so that what else the machine does falls on both.

    Runs in a process of its own, because Django and the settings are made once for a process.
    """
    from deploy.local.infra import Infra

    with tempfile.TemporaryDirectory(prefix="slipway-fanout-") as folder, contextlib.ExitStack() as stack:
        infra = Infra(folder)
        stack.callback(infra.purge)
        infra.start()
        os.environ |= infra.env
        os.environ |= {
            "DJANGO_SETTINGS_MODULE": "services.api.settings",
            "SLIPWAY_REALTIME_PORT": str(_free_port()),
        }
        sides = {"ours": stack.enter_context(_slipway()), "bare": stack.enter_context(_baseline())}
        for _ in range(ROUNDS):
            for side in sides.values():
                side.measure()
        return {name: side.summary() for name, side in sides.items()}


@contextlib.contextmanager
def _baseline() -> Iterator[Side]:
    port = _free_port()
    server = subprocess.Popen([sys.executable, "-m", "benchmarks.fanout", "baseline", str(port)])
    try:
        _wait_for_port(port)

        def send(count: int, every_s: float) -> int:
            url = f"http://127.0.0.1:{port}/send/{count}/{int(every_s * 1000)}"
            return int(httpx.get(url, trust_env=False).text)

        before = _rss_kb(server)
        clients = Clients(port)
        yield Side(clients, send, (_rss_kb(server) - before) / CLIENTS)
        clients.close()
    finally:
        _end(server)


@contextlib.contextmanager
def _slipway() -> Iterator[Side]:
    """Run the real service; every event is committed to PostgreSQL before it goes out."""
    import django

    django.setup()
    from django.core.management import call_command

    from services.domain.events.log import NewEvent, record_events
    from services.domain.events.types import MessageCreated
    from services.domain.tenancy.transaction import tenant_transaction

    call_command("provision", verbosity=0)
    org_id, stream, token = _make_workspace()

    def send(count: int, every_s: float) -> int:
        started_ns = time.time_ns()
        batch = 1 if every_s else BURST_COMMIT
        for _ in range(count // batch):
            texts = [stamped_text() for _ in range(batch)]
            with tenant_transaction(org_id):
                events = [NewEvent(MessageCreated(role="assistant", text=text)) for text in texts]
                record_events(stream, events)
            time.sleep(every_s)
        return started_ns

    port = int(os.environ["SLIPWAY_REALTIME_PORT"])
    environment = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    server = subprocess.Popen([sys.executable, "-m", "services.realtime.serve"], env=environment)
    try:
        _wait_for_port(port)
        subscribe = {"op": "subscribe", "stream": stream, "after": 0, "id": 1}
        before = _rss_kb(server)
        clients = Clients(port, token=token, first_frame=subscribe)
        yield Side(clients, send, (_rss_kb(server) - before) / CLIENTS)
        clients.close()
    finally:
        _end(server)


def _make_workspace() -> tuple[Any, str, str]:
    from services.domain.agents.actions import AgentFields, create_agent
    from services.domain.identity.actions import all_tenants_create_organisation, create_token
    from services.domain.identity.models import User
    from services.domain.identity.queries import all_tenants_actor_of
    from services.domain.tenancy.transaction import tenant_transaction
    from services.domain.workspaces.actions import create_workspace

    owner = User.objects.create_user("bench@example.com")
    organisation = all_tenants_create_organisation(slug="bench", name="Bench", owner=owner)
    actor = all_tenants_actor_of(owner, organisation.id)
    agent = create_agent(actor, AgentFields(name="Bench"))
    with tenant_transaction(organisation.id):
        workspace = create_workspace(actor, agent, source="api", is_persistent=True)
    return organisation.id, workspace.stream, create_token(actor, name="bench")[1]


def _rss_kb(process: subprocess.Popen[Any]) -> int:
    """Return how much memory a process has, in kB."""
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))


def _end(process: subprocess.Popen[Any]) -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def _wait_for_port(port: int) -> None:
    deadline = time.monotonic() + WITHIN_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            assert time.monotonic() < deadline, "the server does not listen"
            time.sleep(0.05)
        else:
            return


def run() -> list[Row]:
    """Measure both in one run."""
    answer = subprocess.run(
        [sys.executable, "-m", "benchmarks.fanout", "measure"],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=_WITHIN_ALL_S,
    )
    found = json.loads(answer.stdout.splitlines()[-1])
    ours, bare = found["ours"], found["bare"]
    detail = (
        f"{CLIENTS} clients, {ROUNDS} × {CALM_EVENTS} events at {1 / EVERY_S:g}/s; "
        "from before the commit to the client; the baseline commits nothing"
    )
    burst = (
        f"{CLIENTS} clients, middle of {ROUNDS} bursts of {BURST_EVENTS} events, commits included, none lost"
    )
    name = "bare Starlette broadcast"
    return [
        row("fan-out latency, p50", ours["p50"], "ms", name, bare["p50"], detail),
        row("fan-out latency, p99", ours["p99"], "ms", name, bare["p99"], detail),
        row("fan-out deliveries", ours["per_s"], "1/s", name, bare["per_s"], burst),
        row(
            "memory of an idle connection", ours["idle_kb"], "kB", name, bare["idle_kb"], f"{CLIENTS} clients"
        ),
    ]


def main() -> None:
    """Run the benchmark, or one of its processes."""
    match sys.argv[1:]:
        case ["baseline", port]:
            _serve_baseline(int(port))
        case ["measure"]:
            print(json.dumps(_measure_in_turns()))
        case _:
            from benchmarks.__main__ import as_table

            rows = run()
            print(json.dumps(rows))
            print(as_table(rows))


if __name__ == "__main__":
    main()
