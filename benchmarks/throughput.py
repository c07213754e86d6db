"""accepted → finished tasks a second with the null sandbox driver; beside bare Celery no-ops on the same broker."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from celery import Celery
from kombu import Connection, Exchange, Queue

from benchmarks.rows import Row, row
from benchmarks.stacks import running_stack
from tests.stack.running import RunningStack, until

TASKS = 600
NOOPS = 3_000
SLOTS = 32

QUEUE = Queue(
    "bench", Exchange("bench", type="topic"), routing_key="bench", queue_arguments={"x-queue-type": "quorum"}
)
app = Celery("bench", broker=os.environ.get("BENCH_BROKER_URL", ""))
app.conf.update(
    task_queues=[QUEUE],
    task_default_queue="bench",
    task_default_exchange="bench",
    task_default_exchange_type="topic",
    task_default_routing_key="bench",
    task_acks_late=True,
    task_ignore_result=True,
    worker_prefetch_multiplier=4,
    broker_transport_options={"confirm_publish": True},
    worker_enable_remote_control=False,
    broker_connection_retry_on_startup=True,
)


@app.task(name="bench.noop")  # type: ignore[untyped-decorator]
def noop() -> None:
    """Do nothing."""


def celery_per_s(broker_url: str) -> float:
    """Publish no-ops with confirms while a worker takes them; return how many a second went through."""
    app.conf.broker_url = broker_url
    command = [
        sys.executable,
        "-m",
        "celery",
        "-A",
        "benchmarks.throughput",
        "worker",
        "-P",
        "threads",
        "-c",
        "16",
        "--without-gossip",
        "--without-mingle",
        "--without-heartbeat",
        "-l",
        "ERROR",
    ]
    worker = subprocess.Popen(
        command, env={**os.environ, "BENCH_BROKER_URL": broker_url}, stderr=subprocess.DEVNULL
    )
    try:
        with Connection(broker_url) as connection:
            queue = QUEUE(connection.default_channel)
            queue.declare()

            def left() -> int:
                return int(queue.queue_declare(passive=True).message_count)

            noop.delay()
            until(lambda: left() == 0, within_s=30, what="the worker runs")
            started = time.perf_counter()
            for _ in range(NOOPS):
                noop.delay()
            until(lambda: left() == 0, within_s=60, what="the no-ops are done")
            elapsed = time.perf_counter() - started
            queue.delete()
    finally:
        worker.terminate()
        worker.wait(20)
    return NOOPS / elapsed


def tasks_per_s(stack: RunningStack) -> float:
    """Submit tasks over REST, four at a time, and return how many a second were finished."""
    body = {"agent_id": stack.agents["shell"], "prompt": "true", "mode": "batch"}

    def submit(_: int) -> None:
        answer = stack.http.post("/v1/tasks", json=body)
        assert answer.status_code == 202, answer.text

    def unfinished() -> int:
        return sum(
            len(stack.http.get("/v1/tasks", params={"status": status, "limit": 1}).json()["items"])
            for status in ("queued", "starting", "running")
        )

    started = time.perf_counter()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(submit, range(TASKS)))
    until(lambda: unfinished() == 0, within_s=300, what="all tasks end")
    return TASKS / (time.perf_counter() - started)


def run() -> list[Row]:
    """Measure both on one broker, one after the other."""
    with running_stack(driver="null", slots=SLOTS) as stack:
        stack.run("warm up")
        ours = tasks_per_s(stack)
        bare = celery_per_s(stack.env["SLIPWAY_BROKER_URL"])
    detail = f"{TASKS} tasks, each 4 events, 3 jobs, a sandbox of its own; {NOOPS} no-ops"
    return [row("tasks accepted and finished", ours, "1/s", "bare Celery no-ops", bare, detail)]
