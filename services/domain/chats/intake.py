"""The one door for what comes in from a platform, by webhook or by a connection of ours."""

from __future__ import annotations

from services.domain.chats.changes import store_changes, store_stops
from services.domain.chats.inbound import LinkHandle, count_unknown_update, store_inbound
from services.domain.chats.reports import store_reports
from services.domain.outbox.jobs import CompleteHook, enqueue
from services.domain.ports.chat import HookRequest, Parsed
from services.domain.questions.presses import store_presses
from services.domain.tenancy.transaction import tenant_transaction

# What the platform sent is a surprise to us: somebody should know.
_SURPRISES = ("unknown_type", "unreadable")


def take_in(handle: LinkHandle, parsed: Parsed) -> int:
    """Keep what a verified update brings, each thing once; returns how many were new. Safe to call again.

    Queues: RouteMessage, HandlePress and HandleInboundEvent, each in the transaction of what it is about.
    """
    stored = store_inbound(handle, parsed.messages)
    stored += store_presses(handle, parsed.presses)
    # After the messages: an update may bring a message together with its change.
    stored += store_changes(handle, parsed.changes)
    stored += store_stops(handle, parsed.stops)
    stored += store_reports(handle, parsed.reports)
    if parsed.ignored in _SURPRISES:
        count_unknown_update(handle)
    return stored


def keep_incomplete(handle: LinkHandle, request: HookRequest) -> None:
    """Keep a verified hook that only names what happened, until the platform has said what that is.

    A hook that comes again is completed again, and what it brings is known by its own key then.
    Queues: CompleteHook.
    """
    job = CompleteHook(
        org_id=handle.org_id,
        link_id=handle.link_id,
        kind=handle.kind,
        body=request.body.decode(),
        received_at=request.received_at,
    )
    with tenant_transaction(handle.org_id):
        enqueue(job)


def count_of(parsed: Parsed) -> int:
    """Return how many things an update brings, new or repeated. Pure."""
    return (
        len(parsed.messages)
        + len(parsed.presses)
        + len(parsed.changes)
        + len(parsed.stops)
        + len(parsed.reports)
    )
