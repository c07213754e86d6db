"""Routing what came in, and sending what goes out."""

from __future__ import annotations

import functools
import logging

from services.adapters.chat.registry import build_adapters
from services.domain.chats import outbound
from services.domain.chats.acknowledging import find_taken_up
from services.domain.chats.answering import route_message
from services.domain.chats.changes import handle_event
from services.domain.contacts.saying import write_reply
from services.domain.errors import Invalid, Permanent, SlipwayError, Temporary
from services.domain.outbox.jobs import (
    DeliverAnswer,
    HandleInboundEvent,
    RouteMessage,
    SendDelivery,
    ShowTyping,
    WriteReply,
)
from services.domain.ports.chat import ChatAdapter
from services.domain.ports.chat_abilities import Acknowledges
from services.kit.environment import environment
from services.worker.jobs.sending import forget_file, perform

log = logging.getLogger(__name__)


@functools.cache
def adapters() -> dict[str, ChatAdapter]:
    """Return this process's adapters by kind, each with the address that the settings give its platform."""
    return build_adapters(environment().platform_endpoints())


def route(job: RouteMessage) -> None:
    """Decide who answers a message, and show on it that it was taken up."""
    route_message(job.org_id, job.message_id)
    acknowledge(job)


def acknowledge(job: RouteMessage) -> None:
    """Show that a message was taken up, where the platform has a sign for it. Nothing hangs on it."""
    taken = find_taken_up(job.org_id, job.message_id)
    if taken is None:
        return
    adapter = adapters()[taken.kind]
    config = adapter.config_model.model_validate(taken.config)
    try:
        if isinstance(adapter, Acknowledges):
            adapter.acknowledge(config, taken.place, taken.message_id)
    except SlipwayError as error:
        log.info("not acknowledged: %s", error)


def handle_inbound_event(job: HandleInboundEvent) -> None:
    """Do what follows from an edit, a deletion or a stop."""
    handle_event(job.org_id, job.event_id)


def deliver_answer(job: DeliverAnswer) -> None:
    """Render a finished task's answer for its platform and write the parts down."""
    answer = outbound.find_answer(job.org_id, job.task_id)
    if answer is not None:
        outbound.queue_answer(job.org_id, job.task_id, adapters()[answer.kind].render(answer.text))


def reply(job: WriteReply) -> None:
    """Write down what the platform itself says to a message."""
    write_reply(job.org_id, job.message_id, job.text, lambda kind, text: adapters()[kind].render(text))


def send_batch(job: SendDelivery) -> None:
    """Send the parts of a batch that are due, in order, each under its lease, until one has to wait."""
    while (part := outbound.take_next_part(job.org_id, job.batch)) is not None:
        adapter = adapters()[part.kind]
        try:
            message_id = perform(adapter, part)
        except Temporary as error:
            outbound.note_part_delayed(
                job.org_id, part, error=f"{error.code}: {error.message}", retry_after_s=error.retry_after_s
            )
            return
        except (Permanent, Invalid, ValueError) as error:
            outbound.note_part_failed(job.org_id, part, error=str(error))
            return
        outbound.note_part_sent(job.org_id, part, message_id)
        forget_file(part)


def show_typing(job: ShowTyping) -> None:
    """Show that the agent is at work. A platform that refuses is left alone: nothing hangs on it."""
    place = outbound.find_typing_place(job.org_id, job.task_id)
    if place is None:
        return
    adapter = adapters()[place.kind]
    try:
        adapter.show_typing(adapter.config_model.model_validate(place.config), place.place)
    except SlipwayError as error:
        log.info("typing not shown: %s", error)
