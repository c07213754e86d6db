"""Routing what came in, and sending what goes out."""

from __future__ import annotations

import functools
import logging
import uuid
from collections.abc import Sequence

from services.adapters.chat.registry import build_adapters
from services.domain.chats import answers, outbound
from services.domain.chats.acknowledging import find_taken_up
from services.domain.chats.answering import route_message
from services.domain.chats.changes import handle_event
from services.domain.chats.models import AttemptOutcome
from services.domain.chats.outbound import PartDue
from services.domain.contacts import dead_letters
from services.domain.contacts.saying import write_reply
from services.domain.errors import Invalid, Permanent, PlatformThrottled, SlipwayError, Temporary
from services.domain.outbox.jobs import (
    DeliverAnswer,
    HandleInboundEvent,
    ReportDeadDelivery,
    RouteMessage,
    SendDelivery,
    WriteReply,
)
from services.domain.ports.chat import ChatAdapter
from services.domain.ports.chat_abilities import Acknowledges
from services.kit.environment import environment
from services.worker import buckets
from services.worker.jobs.sending import forget_file, perform

log = logging.getLogger(__name__)


@functools.cache
def adapters() -> dict[str, ChatAdapter]:
    """Return this process's adapters by kind, each with the address that the settings give its platform."""
    return build_adapters(environment().platform_endpoints())


def render(kind: str, text: str) -> Sequence[str]:
    """Write Markdown in the markup of a kind of platform, in as many parts as it takes."""
    return adapters()[kind].render(text)


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
    """Render the messages of a finished task's answer for their platforms and write the parts down."""
    answers.deliver_answer(job.org_id, job.task_id, render)


def reply(job: WriteReply) -> None:
    """Write down what the platform itself says to a message."""
    write_reply(job.org_id, job.message_id, job.text, render)


def send_batch(job: SendDelivery) -> None:
    """Send the parts of a batch that are due, in order, each under its lease, until one has to wait."""
    while (part := outbound.take_next_part(job.org_id, job.batch)) is not None:
        adapter = adapters()[part.kind]
        wait_s = buckets.take_slot(adapter.manifest, _channel(part), str(part.delivery_id))
        if wait_s > 0:
            outbound.put_back_part(job.org_id, part, wait_s)
            return
        try:
            done = perform(adapter, job.org_id, part)
        except Temporary as error:
            _delay(job.org_id, adapter, part, error)
            return
        except (Permanent, Invalid, ValueError) as error:
            outbound.note_part_failed(job.org_id, part, error=str(error))
            return
        outbound.note_part_sent(job.org_id, part, done.message_id, is_found=done.is_found, note=done.note)
        forget_file(adapter, part)


def report_dead(job: ReportDeadDelivery) -> None:
    """Tell of a delivery that failed for good, once."""
    letter = dead_letters.find_dead_letter(job.org_id, job.delivery_id)
    if letter is not None:
        parts = adapters()[letter.kind].render(letter.text) if letter.kind else []
        dead_letters.tell_dead_letter(job.org_id, job.delivery_id, parts)


def _delay(org_id: uuid.UUID, adapter: ChatAdapter, part: PartDue, error: Temporary) -> None:
    outcome = AttemptOutcome.AWAY
    if isinstance(error, PlatformThrottled):
        outcome = AttemptOutcome.THROTTLED
        buckets.hold_chat(adapter.manifest, _channel(part), str(part.delivery_id), error.retry_after_s)
    elif error.details.get("may_have_arrived"):
        outcome = AttemptOutcome.UNKNOWN
    outbound.note_part_delayed(
        org_id,
        part,
        error=f"{error.code}: {error.message}",
        retry_after_s=error.retry_after_s,
        outcome=outcome,
    )


def _channel(part: PartDue) -> buckets.Channel:
    return buckets.Channel(part.link_id, part.chat_id, part.chat_kind)
