"""The relay against the real broker: everything that was written goes out, and only then is it deleted."""

from __future__ import annotations

import asyncio
import os

import aio_pika
import psycopg
import pytest
from kombu import Connection

from services.domain.outbox.models import OutboxJob
from services.kit.environment import environment
from services.worker.relay import BATCH, publish_batch
from services.worker.topology import JOBS_EXCHANGE, declare_topology, job_queues
from tests.domain.cast import submit

QUEUE = "default"


@pytest.fixture
def broker(servers):
    """Give a connection to the broker, with its job queues declared and empty."""
    url = environment().broker_url.get_secret_value()
    declare_topology(url, environment().host_name)
    with Connection(url) as connection:
        for queue in job_queues(environment().host_name):
            queue(connection.default_channel).purge()
        yield connection


def relayed(times: int = 1) -> list[int]:
    """Run the relay's step a few times; returns how many rows each took."""

    async def run() -> list[int]:
        async with await aio_pika.connect(environment().broker_url.get_secret_value()) as connection:
            channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
            exchange = await channel.get_exchange(JOBS_EXCHANGE)
            url = os.environ["SLIPWAY_RELAY_DATABASE_URL"]
            async with await psycopg.AsyncConnection.connect(url, autocommit=True) as database:
                return [await publish_batch(database, exchange) for _ in range(times)]

    return asyncio.run(run())


def drained(broker: Connection) -> list[dict]:
    """Take every message that lies in the queue."""
    queue = job_queues(environment().host_name)[0](broker.default_channel)
    messages = []
    while (message := queue.get(no_ack=True)) is not None:
        messages.append({"task": message.headers["task"], "kwargs": message.payload[1]})
    return messages


def test_a_job_is_published_once_as_a_celery_message_and_then_deleted(acme, broker):
    submit(acme)
    assert relayed(2) == [1, 0]
    (message,) = drained(broker)
    assert message["task"] == "task.dispatch"
    assert message["kwargs"] == {"payload": {}, "attempt": 0, "org_id": str(acme.organisation.id)}
    assert not OutboxJob.objects.using("operator").exists()


def test_a_job_is_not_published_before_its_time(acme, broker):
    submit(acme)
    OutboxJob.objects.using("operator").update(not_before="2099-01-01T00:00:00Z")
    assert relayed() == [0]
    assert drained(broker) == []


def test_more_than_a_batch_goes_out_in_several(acme, broker):
    OutboxJob.objects.using("operator").bulk_create(
        OutboxJob(type="task.dispatch", queue=QUEUE) for _ in range(BATCH + 10)
    )
    assert relayed(3) == [BATCH, 10, 0]
    assert len(drained(broker)) == BATCH + 10


def test_what_the_broker_cannot_route_stays_in_the_outbox(acme, broker):
    OutboxJob.objects.using("operator").create(type="sandbox.stop", queue="host.gone")
    submit(acme)
    assert relayed() == [2]
    assert [message["task"] for message in drained(broker)] == ["task.dispatch"]
    assert [job.queue for job in OutboxJob.objects.using("operator").all()] == ["host.gone"]


def test_two_relays_at_once_publish_each_job_once(acme, broker):
    OutboxJob.objects.using("operator").bulk_create(
        OutboxJob(type="task.dispatch", queue=QUEUE, payload={"n": number}) for number in range(200)
    )

    async def both() -> None:
        await asyncio.gather(*(asyncio.to_thread(relayed, 2) for _ in range(2)))

    asyncio.run(both())
    numbers = sorted(message["kwargs"]["payload"]["n"] for message in drained(broker))
    assert numbers == list(range(200))
