"""Streams: appending durable events in the order of commits, and reading them back."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from django.db import connection, connections, transaction
from django.db.models import Max

from services.domain.events.models import Event, Stream
from services.domain.events.registry import HIDDEN
from services.domain.events.types import EventData
from services.domain.webhooks.telling import Told, tell_webhooks
from services.domain.webhooks.types import is_for_webhooks
from services.kit.clock import now, rfc3339
from services.kit.orgpg.tenant import current_org
from services.kit.redisbus import publish_envelopes

# One statement moves the stream's head and writes the events: this is on the way of everything that happens.
_APPEND = """
WITH moved AS (
    INSERT INTO stream (name, org_id, head, oldest) VALUES (%(stream)s, %(org)s, %(count)s, 1)
    ON CONFLICT (org_id, name) DO UPDATE SET head = stream.head + excluded.head RETURNING head
)
INSERT INTO event (org_id, stream, seq, type, at, task_id, turn, data, readers)
SELECT %(org)s, %(stream)s, moved.head - %(count)s + new.n, new.type, %(at)s, new.task_id, new.turn, new.data,
       new.readers::uuid[]
FROM moved, unnest(
    %(types)s::text[], %(tasks)s::uuid[], %(turns)s::int[], %(data)s::text[]::jsonb[], %(readers)s::text[]
) WITH ORDINALITY AS new (type, task_id, turn, data, readers, n)
RETURNING seq, (
    SELECT array_agg(told.id) FROM webhook_endpoint told
    WHERE told.org_id = %(org)s AND told.is_enabled AND event.type = ANY (told.event_types)
)
"""


@dataclass(frozen=True, slots=True)
class NewEvent:
    """An event to append, with the task and turn it belongs to, if any.

    `readers` are the people who alone may see it, as its object's readers; None leaves it to the scope of its type.
    """

    data: EventData
    task_id: uuid.UUID | None = None
    turn: int | None = None
    readers: tuple[uuid.UUID, ...] | None = None


def to_envelope(event: Event) -> dict[str, Any]:
    """Return the one form in which an event crosses every transport."""
    return {
        "stream": event.stream,
        "seq": event.seq,
        "type": event.type,
        "at": rfc3339(event.at),
        "task_id": str(event.task_id) if event.task_id else None,
        "turn": event.turn,
        "data": event.data,
    }


def to_hidden(envelope: Mapping[str, Any]) -> dict[str, Any]:
    """Return what somebody gets in place of an event that is not for them."""
    kept = {name: envelope[name] for name in ("stream", "seq", "at")}
    return {**kept, "type": HIDDEN, "task_id": None, "turn": None, "data": {}}


def to_hint(event: Event) -> dict[str, Any]:
    """Return what Redis is told of an event that not everybody may see: that it is there, and no more."""
    return {"stream": event.stream, "seq": event.seq, "is_hint": True}


def record_events(stream: str, events: Sequence[NewEvent]) -> list[Event]:
    """Append events to a stream of the current tenant, inside its transaction, and publish them after the commit.

    Locks: the stream's row until the commit, so that numbers become visible in their order, without gaps.
    """
    org_id = current_org.get()
    if org_id is None or not connection.in_atomic_block:
        raise RuntimeError("events are recorded together with the change, in the tenant's transaction")
    return _append(org_id, stream, events, using="default")


def all_tenants_record_events(org_id: uuid.UUID, stream: str, events: Sequence[NewEvent]) -> list[Event]:
    """Append events like `record_events`, in a transaction of the platform's own, which is no tenant's."""
    if not connections["operator"].in_atomic_block:
        raise RuntimeError("events are recorded together with the change, in its transaction")
    return _append(org_id, stream, events, using="operator")


def _append(org_id: uuid.UUID, stream: str, events: Sequence[NewEvent], *, using: str) -> list[Event]:
    if not events:
        return []
    rows = [
        Event(
            org_id=org_id,
            stream=stream,
            type=event.data.type,
            at=now(),
            task_id=event.task_id,
            turn=event.turn,
            data=event.data.to_data(),
            readers=None if event.readers is None else list(event.readers),
        )
        for event in events
    ]
    with connections[using].cursor() as cursor:
        cursor.execute(
            _APPEND,
            {
                "stream": stream,
                "org": org_id,
                "count": len(rows),
                "at": rows[0].at,
                "types": [row.type for row in rows],
                "tasks": [row.task_id for row in rows],
                "turns": [row.turn for row in rows],
                "data": [json.dumps(row.data) for row in rows],
                "readers": [_array(row.readers) for row in rows],
            },
        )
        wanted = []
        for row, (seq, endpoint_ids) in zip(rows, sorted(cursor.fetchall(), key=itemgetter(0)), strict=True):
            row.seq, row.at = seq, rows[0].at
            if endpoint_ids and is_for_webhooks(row.type, stream, row.readers):
                wanted.append(Told(to_envelope(row), endpoint_ids))
    tell_webhooks(org_id, wanted, using=using)
    envelopes = [to_envelope(row) if row.readers is None else to_hint(row) for row in rows]
    transaction.on_commit(lambda: publish_envelopes(envelopes), using=using, robust=True)
    return rows


def record_event(
    stream: str, data: EventData, *, task_id: uuid.UUID | None = None, turn: int | None = None
) -> Event:
    """Append one event. See `record_events`."""
    return record_events(stream, [NewEvent(data, task_id, turn)])[0]


def list_events(stream: str, *, after: int, limit: int, types: Sequence[str] | None = None) -> list[Event]:
    """List a stream's events above a number, in order, within the tenant's transaction."""
    events = Event.objects.filter(stream=stream, seq__gt=after)
    if types is not None:
        events = events.filter(type__in=types)
    return list(events.order_by("seq")[:limit])


def get_heads(streams: Sequence[str]) -> dict[str, tuple[int, int]]:
    """Return (oldest kept, head) of those of the streams that have events, within the tenant's transaction."""
    rows = Stream.objects.filter(name__in=streams).values_list("name", "oldest", "head")
    return {name: (oldest, head) for name, oldest, head in rows}


def all_tenants_heads(streams: Sequence[str]) -> dict[str, int]:
    """Return the heads of streams of any tenant; for the services that serve all of them.

    Of a name that several organisations have, a person's, it is the highest: a hint where to look, not a promise.
    """
    rows = Stream.objects.using("operator").filter(name__in=streams)
    return dict(rows.values("name").annotate(highest=Max("head")).values_list("name", "highest"))


def _array(ids: list[uuid.UUID] | None) -> str | None:
    """Write ids as PostgreSQL's text of an array: one statement cannot take arrays of several lengths."""
    return None if ids is None else "{" + ",".join(map(str, ids)) + "}"
