"""The relay: publishes outbox rows to RabbitMQ with confirms, and deletes what the broker has taken.

It may be killed at any line: a row that was published and not deleted is published again, and every job bears that.
Any number of relays may run; SKIP LOCKED keeps them out of each other's way.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aio_pika
import psycopg
import redis.asyncio as redis
from aio_pika.abc import AbstractExchange

from services.kit import tracing
from services.kit.environment import Environment, environment
from services.worker.topology import JOBS_EXCHANGE, declare_topology

log = logging.getLogger(__name__)

BATCH = 256
CONFIRM_TIMEOUT_S = 15
POLL_S = 0.5
_CLAIM = """
SELECT id, org_id, type, queue, payload, attempt, traceparent FROM outbox_job
WHERE not_before <= now() ORDER BY id LIMIT %s FOR UPDATE SKIP LOCKED
"""


@dataclass(frozen=True, slots=True)
class OutboxRow:
    """One row of the outbox, as the relay reads it."""

    id: int
    org_id: uuid.UUID | None
    type: str
    queue: str
    payload: dict[str, Any]
    attempt: int
    traceparent: str = ""


def to_message(row: OutboxRow) -> aio_pika.Message:
    """Write a row as a Celery message, protocol 2. Source: Celery documentation, "Message Protocol"."""
    message_id = f"outbox-{row.id}"
    kwargs = {
        "payload": row.payload,
        "attempt": row.attempt,
        "org_id": str(row.org_id) if row.org_id else None,
    }
    embed = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
    return aio_pika.Message(
        body=json.dumps([[], kwargs, embed]).encode(),
        content_type="application/json",
        content_encoding="utf-8",
        delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
        correlation_id=message_id,
        message_id=message_id,
        headers={
            "lang": "py",
            "task": row.type,
            "id": message_id,
            "root_id": message_id,
            "parent_id": None,
            "group": None,
            "retries": 0,
            "eta": None,
            "expires": None,
            "timelimit": [None, None],
            "argsrepr": "()",
            "kwargsrepr": "{}",
            "origin": "relay",
            "ignore_result": True,
            "shadow": None,
            "traceparent": row.traceparent,
        },
    )


async def _publish(exchange: AbstractExchange, row: OutboxRow) -> Any:
    with tracing.span("job.publish", parent=row.traceparent, job=row.type):
        return await exchange.publish(to_message(row), row.queue, mandatory=True, timeout=CONFIRM_TIMEOUT_S)


async def publish_batch(database: psycopg.AsyncConnection[Any], exchange: AbstractExchange) -> int:
    """Publish what is due and delete it once confirmed, in one transaction; returns how many there were."""
    async with database.transaction():
        cursor = await database.execute(_CLAIM, [BATCH])
        rows = [OutboxRow(*row) for row in await cursor.fetchall()]
        if rows:
            results = await asyncio.gather(*(_publish(exchange, row) for row in rows), return_exceptions=True)
            taken = [
                row.id
                for row, result in zip(rows, results, strict=True)
                if not isinstance(result, BaseException)
            ]
            failures = [result for result in results if isinstance(result, BaseException)]
            await database.execute("DELETE FROM outbox_job WHERE id = ANY(%s)", [taken])
            if failures and not taken:
                raise failures[0]
            if failures:
                log.warning(
                    "%d of %d jobs not taken by the broker: %s", len(failures), len(rows), failures[0]
                )
    return len(rows)


async def relay(env: Environment) -> None:
    """Relay for ever, over one connection to each server; an error closes both and the caller starts anew."""
    await asyncio.to_thread(declare_topology, env.broker_url.get_secret_value(), env.host_name)
    broker = await aio_pika.connect(env.broker_url.get_secret_value(), timeout=5, heartbeat=30)
    async with broker:
        channel = await broker.channel(publisher_confirms=True, on_return_raises=True)
        exchange = await channel.declare_exchange(JOBS_EXCHANGE, aio_pika.ExchangeType.TOPIC, durable=True)
        database = await psycopg.AsyncConnection.connect(
            env.relay_database_url.get_secret_value(), autocommit=True
        )
        async with database:
            await _loop(env, database, exchange)


async def _loop(env: Environment, database: psycopg.AsyncConnection[Any], exchange: AbstractExchange) -> None:
    wake = asyncio.Event()
    listener = asyncio.create_task(_listen(env, wake))
    beat = env.run_dir / "relay.beat"
    try:
        while True:
            wake.clear()
            count = await publish_batch(database, exchange)
            _touch(beat)
            if count < BATCH:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(wake.wait(), POLL_S)
    finally:
        listener.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await listener


async def _listen(env: Environment, wake: asyncio.Event) -> None:
    """Set the event on each nudge. Redis being away costs POLL_S of delay, no more."""
    while True:
        try:
            async with (
                redis.Redis.from_url(env.redis_url.get_secret_value(), socket_timeout=None) as client,
                client.pubsub(ignore_subscribe_messages=True) as pubsub,
            ):
                await pubsub.subscribe("slipway:nudge:relay")
                async for _ in pubsub.listen():
                    wake.set()
        except (redis.RedisError, OSError):
            await asyncio.sleep(1.0)


def _touch(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.touch()


async def main() -> None:
    """Relay until told to stop; whatever fails is tried again."""
    env = environment()
    env.run_dir.mkdir(parents=True, exist_ok=True)
    while True:
        try:
            await relay(env)
        except (aio_pika.exceptions.AMQPError, psycopg.Error, OSError, TimeoutError) as error:
            log.warning("the relay starts anew: %s: %s", type(error).__name__, error)
        await asyncio.sleep(0.5)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main())
