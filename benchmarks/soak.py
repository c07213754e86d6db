"""Ten minutes of steady work: does the memory of worker, gateway and engine stay flat?"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import threading
import time

from benchmarks.plane import resident_bytes
from benchmarks.rows import Row, row
from benchmarks.stacks import running_stack
from tests.stack.running import RunningStack

SECONDS = float(os.environ.get("BENCH_SOAK_S", "600"))
SETTLING_SHARE = 0.3
CLIENTS = 3
EVERY_S = 5.0


def _engine_pid() -> int | None:
    found = subprocess.run(["pidof", "-s", "dockerd"], capture_output=True, text=True, check=False).stdout
    return int(found) if found.strip() else None


def _work(stack: RunningStack, stopping: threading.Event, done: list[int]) -> None:
    """Run tasks one after the other: now in a new workspace, now in the one before."""
    workspace: str | None = None
    while not stopping.is_set():
        wanted = {"workspace_id": workspace} if workspace and len(done) % 3 else {}
        task = stack.run("seq 1 200; head -c 100000 /dev/zero | wc -c", **wanted)
        assert task["status"] == "succeeded", task
        workspace = task["workspace_id"]
        done.append(1)


def _sample(stack: RunningStack) -> dict[str, float]:
    pids = {name: stack.pid(name) for name in ("worker", "gateway", "api", "realtime")}
    pids["engine"] = _engine_pid()
    return {name: resident_bytes(pid) / 1024**2 for name, pid in pids.items() if pid}


def run() -> list[Row]:
    """Work for the whole time, sampling memory; compare the end with the time after all had settled."""
    done: list[int] = []
    samples: list[dict[str, float]] = []
    with running_stack(driver="docker", slots=8, warm_min=1, warm_max=2) as stack:
        stopping = threading.Event()
        clients = [threading.Thread(target=_work, args=(stack, stopping, done)) for _ in range(CLIENTS)]
        for client in clients:
            client.start()
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            samples.append(_sample(stack))
            stopping.wait(EVERY_S)
        stopping.set()
        for client in clients:
            client.join(120)
    settled = samples[int(len(samples) * SETTLING_SHARE) :]
    quarter = max(1, len(settled) // 4)
    print(f"{len(done)} tasks, {len(samples)} samples", file=sys.stderr)
    return [
        row(
            f"memory of the {name}, last quarter",
            statistics.median(sample[name] for sample in settled[-quarter:] if name in sample),
            "MiB",
            "its first settled quarter",
            statistics.median(sample[name] for sample in settled[:quarter] if name in sample),
            f"{SECONDS:.0f} s, {len(done)} tasks, {CLIENTS} at a time",
        )
        for name in samples[-1]
    ]
