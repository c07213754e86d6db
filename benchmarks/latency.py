"""submit → first word from the sandbox, as a WebSocket client sees it, by each way to get a sandbox.

The ways, the cheapest first: the workspace's live sandbox, its paused one, a warm one claimed for a new workspace, a
stopped one started with its files, one created from nothing. Beside a bare `docker run` of the same image.
"""

from __future__ import annotations

import itertools
import json
import statistics
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

from websockets.sync.client import connect

from benchmarks.plane import (
    count_sandboxes,
    memory_of_containers,
    resident_bytes,
    wait_for_state,
    wait_for_warm,
)
from benchmarks.rows import Row, percentile, row
from benchmarks.stacks import running_stack
from tests.stack.running import RunningStack, until

RUNS = 20
BURST = 50
WAITING = BURST
WARM = 4
SETTLE_S = 1.0
FROM_SANDBOX = "turn.started"


def first_event_ms(stack: RunningStack, *, after: Barrier | None = None, **wanted: Any) -> tuple[float, str]:
    """Submit a task, together with others if there is a barrier, and return the time to its sandbox's first event, and
    the workspace. Whether it succeeded is asked once all of them were seen: to ask costs the api what is measured."""
    with connect(
        f"{stack.realtime}/v1/stream", additional_headers={"authorization": f"Bearer {stack.token}"}
    ) as socket:
        if after:
            after.wait()
        started = time.perf_counter()
        task = stack.http.post("/v1/tasks", json={"prompt": "true", **wanted}).json()
        stream = f"workspace:{task['workspace_id']}"
        socket.send(json.dumps({"op": "subscribe", "stream": stream, "after": 0, "id": 1}))
        while True:
            message = json.loads(socket.recv(timeout=60))
            if message.get("type") == FROM_SANDBOX and message.get("task_id") == task["id"]:
                elapsed = (time.perf_counter() - started) * 1_000
                break
    if after:
        after.wait()
    ended = stack.wait(task["id"])
    assert ended["status"] == "succeeded", ended
    return elapsed, task["workspace_id"]


def docker_run_ms(image: str, *, is_started_only: bool = False) -> float:
    """Time a bare `docker run … true` of the agent image without a network; or only its creation and start."""
    options = ["-d"] if is_started_only else ["--rm"]
    command = ["docker", "run", *options, "--network", "none", "--entrypoint", "true", image]
    started = time.perf_counter()
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    elapsed = (time.perf_counter() - started) * 1_000
    if is_started_only:
        subprocess.run(["docker", "rm", "-f", done.stdout.strip()], check=True, capture_output=True)
    return elapsed


def _settle(stack: RunningStack) -> None:
    """Wait until nothing else is at work: containers that go, and a pool that is filled half a second after a claim."""
    time.sleep(SETTLE_S)
    until(lambda: count_sandboxes(stack, "creating") == 0, within_s=60, what="the pool is filled")
    time.sleep(SETTLE_S / 4)


def _agents_of_their_own(stack: RunningStack) -> Any:
    """Yield agents no two of which are alike to the pool, so that nothing warm fits."""
    for memory_mb in itertools.count(600):
        body = {"name": f"Alone {memory_mb}", "provider": "shell", "memory_mb": memory_mb}
        yield stack.http.post("/v1/agents", json=body).json()["id"]


def _rows(way: str, seen: list[float], bare: list[float], baseline: str, detail: str) -> list[Row]:
    return [
        row(
            f"first event, {way}, p50",
            statistics.median(seen),
            "ms",
            f"{baseline}, p50",
            statistics.median(bare),
            detail,
        ),
        row(
            f"first event, {way}, p95",
            percentile(seen, 0.95),
            "ms",
            f"{baseline}, p50",
            statistics.median(bare),
            detail,
        ),
    ]


def _measure_ways(stack: RunningStack) -> tuple[list[Row], float]:
    """Measure each way to a sandbox; returns the rows, and the time of a created one."""
    image, agent = stack.env["SLIPWAY_AGENT_IMAGE"], stack.agents["shell"]
    seen: dict[str, list[float]] = {way: [] for way in ("live", "paused", "warm", "stopped", "created")}
    bare, created_bare = [], []
    alone = _agents_of_their_own(stack)
    _, workspace = first_event_ms(stack, agent_id=agent)
    for _ in range(RUNS):
        _settle(stack)
        bare.append(docker_run_ms(image))
        created_bare.append(docker_run_ms(image, is_started_only=True))
        _settle(stack)
        seen["live"].append(first_event_ms(stack, workspace_id=workspace)[0])
        wait_for_state(stack, workspace, "idle")
        assert stack.http.post(f"/v1/workspaces/{workspace}/pause").status_code < 300
        wait_for_state(stack, workspace, "paused")
        seen["paused"].append(first_event_ms(stack, workspace_id=workspace)[0])
        wait_for_state(stack, workspace, "idle")
        assert stack.http.post(f"/v1/workspaces/{workspace}/stop").status_code < 300
        wait_for_state(stack, workspace, "stopped")
        _settle(stack)
        seen["stopped"].append(first_event_ms(stack, workspace_id=workspace)[0])
        _settle(stack)
        wait_for_warm(stack)
        elapsed, other = first_event_ms(stack, agent_id=agent)
        seen["warm"].append(elapsed)
        wait_for_state(stack, other, "idle")
        stack.http.post(f"/v1/workspaces/{other}/stop")
        wait_for_state(stack, other, "stopped")
        _settle(stack)
        seen["created"].append(first_event_ms(stack, agent_id=next(alone))[0])
    name, detail = "bare docker run", f"n={RUNS}, `{FROM_SANDBOX}` on the WebSocket, from the POST"
    rows = [
        *_rows("live sandbox", seen["live"], bare, name, detail),
        *_rows("unpaused", seen["paused"], bare, name, detail),
        *_rows("warm one claimed", seen["warm"], bare, name, detail),
        *_rows("stopped one started", seen["stopped"], bare, name, detail),
        *_rows("created", seen["created"], created_bare, "bare create and start", detail),
    ]
    return rows, statistics.median(seen["created"])


def _burst(stack: RunningStack) -> list[float]:
    """Submit many at once, each to a new workspace, and return how long each waited for its sandbox."""
    agent, together = stack.agents["shell"], Barrier(BURST, timeout=120)
    with ThreadPoolExecutor(BURST) as pool:
        return list(
            pool.map(lambda _: first_event_ms(stack, after=together, agent_id=agent)[0], range(BURST))
        )


def _measure_cold_burst(stack: RunningStack) -> list[Row]:
    """Set the slowest of many at once, for which few warm sandboxes wait, beside as many bare containers at once."""
    until(lambda: count_sandboxes(stack, "busy") == 0, within_s=60, what="nothing is at work")
    wait_for_warm(stack)
    with ThreadPoolExecutor(BURST) as pool:
        image = stack.env["SLIPWAY_AGENT_IMAGE"]
        bare = list(pool.map(lambda _: docker_run_ms(image, is_started_only=True), range(BURST)))
    return [
        row(
            f"first event, {BURST} at once, {WARM} of them warm, p95",
            percentile(_burst(stack), 0.95),
            "ms",
            f"{BURST} bare creates and starts at once, p95",
            percentile(bare, 0.95),
            "each to a new workspace, all succeeded",
        )
    ]


def _measure_warm_burst(stack: RunningStack, created_ms: float) -> list[Row]:
    """Set the slowest of as many at once as are warm beside a single one, claimed warm and created."""
    agent = stack.agents["shell"]
    single = []
    for _ in range(10):
        wait_for_warm(stack, WAITING)
        _settle(stack)
        single.append(first_event_ms(stack, agent_id=agent)[0])
    wait_for_warm(stack, WAITING)
    _settle(stack)
    slowest = percentile(_burst(stack), 0.95)
    name = f"first event, {BURST} at once, all warm, p95"
    detail = "each to a new workspace, all succeeded"
    return [
        row(name, slowest, "ms", "a single one, created, p50", created_ms, detail),
        row("the same", slowest, "ms", "a single one, claimed warm, p50", statistics.median(single), detail),
    ]


def _measure_waiting(stack: RunningStack) -> list[Row]:
    """Weigh warm sandboxes that wait, and what each costs the gateway."""
    wait_for_warm(stack, WAITING)
    pid = until(lambda: stack.pid("gateway"), within_s=30, what="the gateway runs")
    containers = memory_of_containers(stack)
    each = statistics.mean(containers) / 1024**2
    gateway = resident_bytes(pid) / 1024**2
    detail = f"{len(containers)} that wait, by their cgroups; the gateway then holds {gateway:.0f} MiB"
    return [row("memory of a waiting warm sandbox", each, "MiB", "the goal", 20.0, detail)]


def run() -> list[Row]:
    """Measure every way to a sandbox, bursts of new workspaces, and what it costs that warm ones wait."""
    with running_stack(driver="docker", slots=BURST + 14, warm_min=2, warm_max=WARM) as stack:
        rows, created_ms = _measure_ways(stack)
        rows += _measure_cold_burst(stack)
    with running_stack(driver="docker", slots=2 * BURST, warm_min=WAITING, warm_max=WAITING) as stack:
        return [*rows, *_measure_waiting(stack), *_measure_warm_burst(stack, created_ms)]
