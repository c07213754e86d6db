"""submit → first word from the sandbox, as a WebSocket client sees it; beside a bare `docker run` of the same image."""

from __future__ import annotations

import json
import statistics
import subprocess
import time

from websockets.sync.client import connect

from benchmarks.rows import Row, percentile, row
from benchmarks.stacks import running_stack
from tests.stack.running import RunningStack

RUNS = 20
FROM_SANDBOX = "turn.started"


def first_event_ms(stack: RunningStack, workspace_id: str | None) -> tuple[float, str]:
    """Submit a task and return the time to its sandbox's first event, and the workspace."""
    with connect(
        f"{stack.realtime}/v1/stream", additional_headers={"authorization": f"Bearer {stack.token}"}
    ) as socket:
        started = time.perf_counter()
        body = {"workspace_id": workspace_id} if workspace_id else {"agent_id": stack.agents["shell"]}
        task = stack.http.post("/v1/tasks", json={**body, "prompt": "true"}).json()
        socket.send(
            json.dumps(
                {"op": "subscribe", "stream": f"workspace:{task['workspace_id']}", "after": 0, "id": 1}
            )
        )
        while True:
            message = json.loads(socket.recv(timeout=60))
            if message.get("type") == FROM_SANDBOX and message.get("task_id") == task["id"]:
                elapsed = (time.perf_counter() - started) * 1_000
                stack.wait(task["id"])
                return elapsed, task["workspace_id"]


def docker_run_ms(image: str) -> float:
    """Time a bare `docker run … true` of the agent image without a network."""
    started = time.perf_counter()
    subprocess.run(
        ["docker", "run", "--rm", "--network", "none", "--entrypoint", "true", image],
        check=True,
        capture_output=True,
    )
    return (time.perf_counter() - started) * 1_000


def run() -> list[Row]:
    """Measure live and cold starts, each cold one right beside a bare container."""
    with running_stack(driver="docker", slots=RUNS * 2 + 4) as stack:
        image = stack.env["SLIPWAY_AGENT_IMAGE"]
        first_event_ms(stack, None)
        cold, bare = [], []
        workspace = ""
        for _ in range(RUNS):
            bare.append(docker_run_ms(image))
            elapsed, workspace = first_event_ms(stack, None)
            cold.append(elapsed)
        live = [first_event_ms(stack, workspace)[0] for _ in range(RUNS)]
    name, base = "bare docker run, p50", statistics.median(bare)
    slow, slow_base = "bare docker run, p95", percentile(bare, 0.95)
    detail = f"n={RUNS}, turn.started on the WebSocket"
    return [
        row("first event, live sandbox, p50", statistics.median(live), "ms", name, base, detail),
        row("first event, live sandbox, p95", percentile(live, 0.95), "ms", name, base, detail),
        row("first event, cold, p50", statistics.median(cold), "ms", name, base, detail),
        row(
            "first event, cold, p95",
            percentile(cold, 0.95),
            "ms",
            slow,
            slow_base,
            detail,
        ),
    ]
