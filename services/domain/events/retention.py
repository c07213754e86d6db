"""How long events are kept. The numbers of what is gone are never used again: who asks for them is told to resync."""

from __future__ import annotations

from django.db.models import F

from services.domain.events.models import Event, Stream
from services.domain.tenancy.transaction import tenant_transaction

KEPT_EVENTS = 20_000
"""Of an organisation's stream, and of a person's. A workspace's is its conversation, and kept as long as that."""
_SLACK = 1_000
_STREAMS_AT_ONCE = 100
_EVENTS_AT_ONCE = 5_000


def all_tenants_forget_events() -> int:
    """Remove what streams of organisations and people have too much, the oldest first; returns how many events.

    A stream's beginning and its `oldest` change together, under the stream's lock: nobody reads a part of what is kept
    and takes it for all. A stream that has far too much loses some of it each time. Locks: each such stream.
    """
    full = (
        Stream.objects.using("operator")
        .filter(head__gte=F("oldest") + KEPT_EVENTS + _SLACK)
        .exclude(name__startswith="workspace:")
    )
    removed = 0
    for org_id, name in full.order_by("id").values_list("org_id", "name")[:_STREAMS_AT_ONCE]:
        with tenant_transaction(org_id):
            stream = Stream.objects.select_for_update().get(name=name)
            oldest = min(stream.head - KEPT_EVENTS + 1, stream.oldest + _EVENTS_AT_ONCE)
            count, _ = Event.objects.filter(stream=name, seq__lt=oldest).delete()
            stream.oldest = max(stream.oldest, oldest)
            stream.save(update_fields=["oldest"])
            removed += count
    return removed
