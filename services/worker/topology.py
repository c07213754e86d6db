"""The broker's exchanges and queues: quorum queues, dead letters kept, nothing dropped silently."""

from __future__ import annotations

import logging
import time
from typing import Any

from amqp.exceptions import AMQPError
from kombu import Connection, Exchange, Queue

from services.domain.outbox.jobs import DEFAULT_QUEUE, host_queue

log = logging.getLogger(__name__)

JOBS_EXCHANGE = "jobs"
DEAD_EXCHANGE = "jobs.dead"
DEAD_QUEUE = "jobs.dead"
DELIVERY_LIMIT = 5


def queue_arguments() -> dict[str, Any]:
    """Return the arguments of a job queue.

    A job that takes its worker down again and again is dead-lettered after DELIVERY_LIMIT tries. `at-least-once` dead
    lettering needs `reject-publish`. Source: RabbitMQ documentation, "Quorum Queues", dead lettering.
    """
    return {
        "x-queue-type": "quorum",
        "x-delivery-limit": DELIVERY_LIMIT,
        "x-dead-letter-exchange": DEAD_EXCHANGE,
        "x-dead-letter-routing-key": DEAD_QUEUE,
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",
    }


def job_queues(host_name: str) -> list[Queue]:
    """Return the queues that the worker of a host takes: the common one and its own."""
    exchange = Exchange(JOBS_EXCHANGE, type="topic", durable=True)
    return [
        Queue(name, exchange, routing_key=name, queue_arguments=queue_arguments())
        for name in (DEFAULT_QUEUE, host_queue(host_name))
    ]


def dead_queue() -> Queue:
    """Return the queue that keeps what no worker could take."""
    exchange = Exchange(DEAD_EXCHANGE, type="direct", durable=True)
    return Queue(DEAD_QUEUE, exchange, routing_key=DEAD_QUEUE, queue_arguments={"x-queue-type": "quorum"})


def declare_topology(broker_url: str, host_name: str) -> None:
    """Make the queues before anything is published to them. Waits for the broker, which may start later than we do."""
    while True:
        try:
            with Connection(broker_url, connect_timeout=5) as connection:
                for queue in (*job_queues(host_name), dead_queue()):
                    queue(connection.default_channel).declare()
                return
        except (OSError, AMQPError) as error:
            log.warning("waiting for the broker: %s", error)
            time.sleep(1.0)
