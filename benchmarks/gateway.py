"""The gateway beside the bare `mcp` server: calls of a tool that does nothing, a long run, idle links.

Calls of the gateway go through its authentication, its limits, its metrics and its record. Each server is one process
on one core, the clients are one on another; the servers take turns, round by round, so that all meet the same machine.
`SLIPWAY_BENCH_LONG_S` is how long the long run lasts (60 s), `SLIPWAY_BENCH_LINKS` how many links there are (5,000).
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psycopg

from benchmarks.plane import resident_bytes
from benchmarks.rows import Row, row
from deploy.local.infra import Infra
from services.domain.plane.paths import SOCKET_NAME, socket_dir
from tests.stack.running import until

ROUNDS = 5
ROUND_S = 3.0
LONG_S = float(os.environ.get("SLIPWAY_BENCH_LONG_S", "60"))
LONG_PER_S = 1_000.0
LINKS = int(os.environ.get("SLIPWAY_BENCH_LINKS", "5000"))
LINKED_S = 45.0
_CORES = sorted(os.sched_getaffinity(0))
SERVER_CORE, CLIENT_CORE = _CORES[0], _CORES[-1]
# So high that the limits work and refuse nothing.
_LIMITS = {
    f"SLIPWAY_MCP_{name}": "1000000" for name in (
        "TASK_PER_S", "TASK_BURST", "TOOL_PER_S", "TOOL_BURST", "ORG_PER_S", "ORG_BURST", "FLOOD_PER_S", "FLOOD_BURST",
    )
}  # fmt: skip


class Server:
    """One server process."""

    def __init__(self, kind: str, environ: dict[str, str], *, port: int, core: str, links: int = 0) -> None:
        command = [sys.executable, "-m", "benchmarks.gateway_servers", kind, str(port), core, str(links)]
        self.port = port
        self.process = subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.facts: dict[str, Any] = json.loads(self.process.stdout.readline()) if kind == "ours" else {}
        until(self._answers, within_s=60, what=f"{kind} answers")

    def _answers(self) -> bool:
        assert self.process.poll() is None
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            return True
        return False

    @property
    def tokens(self) -> list[str]:
        """Return what to call with."""
        return self.facts.get("tokens", ["none"])

    def stop(self) -> None:
        """End the process."""
        self.process.terminate()
        self.process.wait(20)


def _clients(**settings: Any) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.gateway_clients"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    process.stdin.write(json.dumps(settings) + "\n")
    process.stdin.flush()
    return process


def _read(process: subprocess.Popen[str]) -> dict[str, Any]:
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, "the clients ended early"
    return dict(json.loads(line))


def measure(server: Server, revision: str, seconds: float, *, per_s: float = 0.0) -> dict[str, Any]:
    """Call a server's tool for so long; returns what the clients saw."""
    process = _clients(
        port=server.port,
        tokens=server.tokens,
        revision=revision,
        seconds=seconds,
        per_s=per_s,
        core=CLIENT_CORE,
    )
    before = _cpu_s(server.process.pid)
    seen = _read(process)
    process.wait(10)
    return {**seen, "cpu_us": (_cpu_s(server.process.pid) - before) / max(1, seen["calls"]) * 1e6}


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextlib.contextmanager
def _environment() -> Iterator[dict[str, str]]:
    """Run the stores alone, and give the settings of a gateway on them."""
    folder = tempfile.mkdtemp(prefix="slipway-bench-")
    with Infra(folder) as infra:
        run_dir = tempfile.mkdtemp(prefix="slipway-run-")
        kept = {name: value for name, value in os.environ.items() if not name.startswith("SLIPWAY_")}
        yield {
            **kept,
            **infra.urls,
            **_LIMITS,
            "SLIPWAY_ENV": "test",
            "SLIPWAY_INSTALLATION": "bench",
            "SLIPWAY_SECRET_KEY": "only-for-benchmarks-only-for-benchmarks",
            "SLIPWAY_VAULT_KEYS": "bench1:" + "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=",
            "SLIPWAY_PUBLIC_URL": "http://127.0.0.1:8000",
            "SLIPWAY_REALTIME_PUBLIC_URL": "ws://127.0.0.1:8001",
            "SLIPWAY_RUN_DIR": run_dir,
            "SLIPWAY_DATA_DIR": f"{run_dir}/data",
            "SLIPWAY_HOST_NAME": "bench",
            "SLIPWAY_GATEWAY_PORT": str(_free_port()),
        }
    infra.purge()


def _ratios(ours: Server, bare: Server, low: Server) -> list[Row]:
    rows = []
    for revision in ("modern", "legacy"):
        seen: dict[str, list[dict[str, Any]]] = {"ours": [], "bare": [], "low": []}
        for server in (ours, bare, low):
            measure(server, revision, 1.0)
        for _ in range(ROUNDS):
            for name, server in (("ours", ours), ("bare", bare), ("low", low)):
                seen[name].append(measure(server, revision, ROUND_S))
        errors = sum(one["errors"] for one in seen["ours"])
        assert not errors, [one["first_errors"] for one in seen["ours"]]
        speed = {name: statistics.median(one["per_s"] for one in rounds) for name, rounds in seen.items()}
        p50 = {
            name: f"{statistics.median(one['p50_ms'] for one in rounds):.2f}" for name, rounds in seen.items()
        }
        detail = (
            f"c=16 keep-alive, medians of {ROUNDS} × {ROUND_S:g} s in turns; p50 {p50['ours']} ms, 0 errors"
        )
        name = f"tools/call of a no-op, {revision}"
        rows += [
            row(name, speed["ours"], "1/s", "bare `mcp` server", speed["bare"], detail),
            row(
                name,
                speed["ours"],
                "1/s",
                "bare low-level `mcp` server",
                speed["low"],
                f"p50 {p50['low']} ms",
            ),
        ]
    return rows


def _on_record(environ: dict[str, str]) -> int:
    with psycopg.connect(environ["SLIPWAY_OPERATOR_DATABASE_URL"]) as connection:
        (count,) = connection.execute("SELECT count(*) FROM mcp_call").fetchone() or (0,)
        return int(count)


def _long_run(ours: Server, environ: dict[str, str]) -> list[Row]:
    before = _on_record(environ)
    memory_before = resident_bytes(ours.process.pid)
    seen = measure(ours, "modern", LONG_S, per_s=LONG_PER_S)
    grown_mb = (resident_bytes(ours.process.pid) - memory_before) / 1e6
    until(lambda: _on_record(environ) - before >= seen["calls"], within_s=10, what="every call is on record")
    detail = (
        f"{seen['calls']:,} calls in {LONG_S:g} s, {seen['errors']} errors, all on record; "
        f"p50 {seen['p50_ms']:.1f} ms, p99 {seen['p99_ms']:.1f} ms; the process grew by {grown_mb:.0f} MB"
    )
    assert not seen["errors"], seen["first_errors"]
    return [row("long run, calls", seen["per_s"], "1/s", "asked for", LONG_PER_S, detail)]


def _links(environ: dict[str, str]) -> list[Row]:
    server = Server("ours", environ, port=int(environ["SLIPWAY_GATEWAY_PORT"]), core="-", links=LINKS)
    folder = Path(environ["SLIPWAY_RUN_DIR"])
    try:
        paths = [
            str(socket_dir(folder, uuid.UUID(sandbox)) / SOCKET_NAME) for sandbox in server.facts["sandboxes"]
        ]
        until(lambda: all(Path(path).exists() for path in paths), within_s=120, what="every socket is there")
        time.sleep(3)
        before = resident_bytes(server.process.pid)
        clients = _clients(folders=paths, seconds=LINKED_S)
        linked = _read(clients)
        linked_bytes = resident_bytes(server.process.pid)
        cpu_before = _cpu_s(server.process.pid)
        stayed = _read(clients)
        cpu_share = (_cpu_s(server.process.pid) - cpu_before) / LINKED_S
        after = resident_bytes(server.process.pid)
        metrics = httpx.get(f"http://127.0.0.1:{server.port}/metrics").text
        assert stayed["lost"] == 0, stayed
        assert stayed["fewest_pings"] >= 3, stayed
        assert "slipway_mcp_calls_waiting 0.0" in metrics
        detail = (
            f"{LINKS:,} runners, linked in {linked['linked_s']:.0f} s, none lost in {LINKED_S:g} s; the process "
            f"{after / 1e6:.0f} MB ({before / 1e6:.0f} with the sockets alone), {cpu_share:.0%} of a core"
        )
        each_kb = (max(after, linked_bytes) - before) / LINKS / 1e3
        return [
            row(
                "memory of an idle link", each_kb, "kB", "the process without links, kB", before / 1e3, detail
            )
        ]
    finally:
        server.stop()


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def run() -> list[Row]:
    """Measure the calls, then the long run, then the links."""
    rows: list[Row] = []
    with _environment() as environ:
        ours = Server("ours", environ, port=int(environ["SLIPWAY_GATEWAY_PORT"]), core=str(SERVER_CORE))
        bare, low = (
            Server(kind, environ, port=_free_port(), core=str(SERVER_CORE)) for kind in ("bare", "low")
        )
        try:
            rows += _ratios(ours, bare, low)
            rows += _long_run(ours, environ)
        finally:
            for server in (ours, bare, low):
                server.stop()
    if LINKS:
        with _environment() as environ:
            rows += _links(environ)
    return rows
