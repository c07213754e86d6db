"""Reading a workspace's events."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from services.domain.actors import Actor
from services.domain.events.log import get_heads, list_events, to_envelope, to_hidden
from services.domain.events.models import Event
from services.domain.events.registry import is_event_for
from services.domain.workspaces.queries import get_workspace


@dataclass(frozen=True, slots=True)
class EventPage:
    """Part of a stream, in order, with the stream's oldest and newest numbers (1 and 0 for one without events)."""

    envelopes: list[dict[str, Any]]
    oldest: int
    head: int


def get_events_of_workspace(
    actor: Actor,
    workspace_id: uuid.UUID,
    *,
    after: int,
    limit: int,
    types: Sequence[str] | None = None,
) -> EventPage:
    """Return a workspace's events above a number, within the tenant's transaction. Raises: WorkspaceMissing."""
    stream = get_workspace(actor, workspace_id).stream
    # The head first: an event that is added in between is then missing from neither answer, only from this page.
    oldest, head = get_heads([stream]).get(stream, (1, 0))
    return EventPage(
        [_shown(actor, event) for event in list_events(stream, after=after, limit=limit, types=types)],
        oldest,
        head,
    )


def _shown(actor: Actor, event: Event) -> dict[str, Any]:
    envelope = to_envelope(event)
    return envelope if is_event_for(actor, event.type, event.readers) else to_hidden(envelope)
