"""The one door for what comes in from a platform, by webhook or by a connection of ours."""

from __future__ import annotations

from services.domain.chats.changes import store_changes, store_stops
from services.domain.chats.inbound import LinkHandle, count_unknown_update, store_inbound
from services.domain.ports.chat import Parsed
from services.domain.questions.presses import store_presses

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
    if parsed.ignored in _SURPRISES:
        count_unknown_update(handle)
    return stored


def count_of(parsed: Parsed) -> int:
    """Return how many things an update brings, new or repeated. Pure."""
    return len(parsed.messages) + len(parsed.presses) + len(parsed.changes) + len(parsed.stops)
