"""The model proxy beside a direct call: time to the first byte, and the throughput of 50 streams at once.

The model is a server in a process of its own that streams prepared bytes; the gateway is a process of the running
product, with its database, its tokens and its budgets. The same client asks both, in turn.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import statistics
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import aiohttp
import psycopg
import uvloop

from benchmarks.rows import Row, percentile, row
from benchmarks.stacks import running_stack
from services.kit.clock import now
from services.kit.ids import uuid7
from services.kit.tokens import TASK_TOKEN_PREFIX, hash_token, make_token
from tests.stack.running import RunningStack

ROUNDS = 400
STREAMS = 50
EVENTS = 400
PAUSE_MS = 10
FLAT_OUT_EVENTS = 4_000
MODEL = "claude-sonnet-4-6"


@contextmanager
def model_server() -> Iterator[str]:
    """Run the model server in a process of its own, and give its address."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "benchmarks.model_server", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ)
    try:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == "ready"
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


def tokens_of_tasks(stack: RunningStack, count: int) -> list[str]:
    """Make tasks that are at work, each with a token for the model, by hand: no sandbox takes part."""
    made = []
    with psycopg.connect(stack.env["SLIPWAY_OPERATOR_DATABASE_URL"]) as connection:
        for _ in range(count):
            body = {"agent_id": stack.agents["shell"], "prompt": "true"}
            task = stack.http.post("/v1/tasks", json=body).json()
            stack.wait(task["id"])
            token = make_token(TASK_TOKEN_PREFIX)
            connection.execute(
                "UPDATE task SET status = 'running', finished_at = NULL, deadline_at = NULL WHERE id = %s",
                [task["id"]],
            )
            connection.execute(
                "INSERT INTO task_token (id, org_id, created_at, task_id, audience, token_hash, expires_at) "
                "SELECT %s, org_id, %s, id, 'llm', %s, %s FROM task WHERE id = %s",
                [
                    uuid7(),
                    now(),
                    hash_token(token),
                    now().replace(year=now().year + 1),
                    uuid.UUID(task["id"]),
                ],
            )
            made.append(token)
        connection.commit()
    return made


def set_budgets(stack: RunningStack) -> None:
    """Bound the organisation and the agent, so that each call takes the longest way."""
    agent = stack.agents["shell"]
    for level, period, subject in (
        ("organisation", "day", None), ("organisation", "month", None), ("agent", "month", agent),
    ):  # fmt: skip
        body = {"level": level, "period": period, "subject_id": subject, "limit_microusd": 10**12}
        answer = stack.http.put("/v1/budgets", json=body)
        assert answer.status_code == 200, answer.text


def _call(events: int, pause_ms: int) -> bytes:
    return json.dumps(
        {
            "model": MODEL,
            "max_tokens": 1_000,
            "stream": True,
            "metadata": {"user_id": f"{events}/{pause_ms}"},
            "messages": [{"role": "user", "content": "word " * 400}],
        }
    ).encode()


async def _stream(session: aiohttp.ClientSession, url: str, token: str, body: bytes) -> tuple[float, int]:
    """Ask once; returns the time to the first byte of the answer's body, in ms, and its bytes."""
    headers = {"x-api-key": token, "content-type": "application/json", "anthropic-version": "2023-06-01"}
    started = time.perf_counter()
    first, size = 0.0, 0
    async with session.post(f"{url}/v1/messages", data=body, headers=headers) as answer:
        assert answer.status == 200, await answer.text()
        async for piece in answer.content.iter_any():
            first = first or (time.perf_counter() - started) * 1_000
            size += len(piece)
    return first, size


async def _first_bytes(direct: str, proxied: str, token: str) -> tuple[list[float], list[float]]:
    found: tuple[list[float], list[float]] = ([], [])
    body = _call(2, 0)
    async with aiohttp.ClientSession() as session:
        for number in range(ROUNDS + 20):
            for url, times in ((direct, found[0]), (proxied, found[1])):
                first, _ = await _stream(session, url, token, body)
                if number >= 20:
                    times.append(first)
    return found


async def _many(url: str, tokens: list[str], events: int, pause_ms: int) -> float:
    """Run streams at once; returns the bytes a second."""
    body = _call(events, pause_ms)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        await asyncio.gather(*(_stream(session, url, token, _call(1, 0)) for token in tokens))
        started = time.perf_counter()
        ended = await asyncio.gather(*(_stream(session, url, token, body) for token in tokens))
        return sum(size for _, size in ended) / (time.perf_counter() - started)


def _measure_first_byte(direct: str, proxied: str, token: str, how: str) -> list[Row]:
    bare, seen = uvloop.run(_first_bytes(direct, proxied, token))
    detail = f"n={ROUNDS}, one after the other, {how}"
    over = [one - other for one, other in zip(sorted(seen), sorted(bare), strict=True)]
    return [
        row(
            "model, first byte, p50",
            statistics.median(seen),
            "ms",
            "direct, p50",
            statistics.median(bare),
            detail,
        ),
        row(
            "model, first byte, p95",
            percentile(seen, 0.95),
            "ms",
            "direct, p95",
            percentile(bare, 0.95),
            detail,
        ),
        row("model, first byte over direct, p50", statistics.median(over), "ms", "the goal", 3.0, detail),
    ]


def _measure_streams(direct: str, proxied: str, tokens: list[str]) -> list[Row]:
    rows = []
    for name, events, pause_ms in (
        ("model, 50 streams at a model's pace", EVENTS, PAUSE_MS),
        ("model, 50 streams flat out", FLAT_OUT_EVENTS, 0),
    ):
        rates: dict[str, list[float]] = {direct: [], proxied: []}
        for _ in range(3):
            for url in (direct, proxied):
                rates[url].append(uvloop.run(_many(url, tokens, events, pause_ms)) / 1_000_000)
        detail = f"{STREAMS} at once, {events} events each, " + (
            f"{pause_ms} ms apart" if pause_ms else "no pause"
        )
        rows.append(
            row(
                name,
                statistics.median(rates[proxied]),
                "MB/s",
                "direct",
                statistics.median(rates[direct]),
                detail,
            )
        )
    return rows


def run() -> list[Row]:
    """Measure the model proxy, without and with budgets."""
    with model_server() as direct:
        others = {"ANTHROPIC_BASE_URL": direct, "ANTHROPIC_API_KEY": "sk-bench"}
        with running_stack(driver="null", slots=4, others=others) as stack:
            proxied = f"{stack.gateway}/llm/anthropic"
            tokens = tokens_of_tasks(stack, STREAMS)
            rows = _measure_first_byte(direct, proxied, tokens[0], "no budgets")
            set_budgets(stack)
            rows += _measure_first_byte(direct, proxied, tokens[0], "three budgets")[2:]
            return rows + _measure_streams(direct, proxied, tokens)
