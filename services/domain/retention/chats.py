"""Forgetting what came into a chat, what was decided about it and what went out, once it is older than it may be.

Each chat is looked at once a day, some rows at a time, so that no sweep takes long however much is old.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.db.models import QuerySet

from services.domain.chats.models import (
    Chat,
    Delivery,
    DeliveryKind,
    DeliveryStatus,
    Engagement,
    InboundEvent,
    InboundMessage,
)
from services.domain.contacts.models import HeldMessageState
from services.domain.identity.models import Organisation
from services.domain.outbox.jobs import ForgetObjects, enqueue
from services.domain.questions.models import ButtonPress
from services.domain.rooms.models import RoomFile, RoomReaction
from services.kit.clock import now
from services.kit.environment import environment
from services.kit.ids import first_uuid7_at

LOOK_EVERY = timedelta(days=1)
CHATS_AT_ONCE = 50
ROWS_AT_ONCE = 500
_ENDED = (DeliveryStatus.SENT, DeliveryStatus.FAILED)


def all_tenants_forget_old_chats() -> int:
    """Forget what is too old in the chats that are due, so far as this round goes; returns how many rows went.

    What waits for a person, a job or its delivery stays. Locks: each chat. Queues: ForgetObjects for files.
    """
    forgotten = 0
    for _ in range(CHATS_AT_ONCE):
        count = _forget_next()
        if count is None:
            break
        forgotten += count
    return forgotten


def _forget_next() -> int | None:
    """Look at the chat that is due longest; returns how many rows went, None when no chat is due."""
    with transaction.atomic(using="operator"):
        due = Chat.objects.using("operator").filter(next_forget_at__lte=now()).order_by("next_forget_at")
        chat = due.select_for_update(skip_locked=True, of=("self",), no_key=True).first()
        if chat is None:
            return None
        days = _days_of(chat.org_id)
        counts = [_forget_some(rows) for rows in _old(chat, days)] if days else []
        # A chat with more to forget comes again in the next round.
        is_done = all(count < ROWS_AT_ONCE for count in counts)
        chat.next_forget_at = now() + (LOOK_EVERY if is_done else timedelta())
        chat.save(using="operator", update_fields=["next_forget_at"])
        return sum(counts)


def _days_of(org_id: uuid.UUID) -> int:
    """Return for how many days an organisation's chats are kept; 0 is for ever."""
    own = Organisation.objects.using("operator").values_list("chat_keep_days", flat=True).get(id=org_id)
    return environment().chat_keep_days if own is None else own


def _old(chat: Chat, days: int) -> Iterator[QuerySet[Any]]:
    """Yield what may go, by the id, which begins with the time."""
    oldest = now() - timedelta(days=days)
    bound = {"chat": chat, "id__lt": first_uuid7_at(oldest)}
    messages = InboundMessage.objects.using("operator").filter(**bound, routed_at__isnull=False)
    yield messages.exclude(hold__state=HeldMessageState.WAITING)
    yield InboundEvent.objects.using("operator").filter(**bound, handled_at__isnull=False)
    yield ButtonPress.objects.using("operator").filter(**bound, handled_at__isnull=False)
    yield Delivery.objects.using("operator").filter(**bound, status__in=_ENDED)
    yield RoomFile.objects.using("operator").filter(**bound)
    yield RoomReaction.objects.using("operator").filter(**bound)
    yield Engagement.objects.using("operator").filter(wiring__chat=chat, engaged_at__lt=oldest)


def _forget_some(rows: QuerySet[Any]) -> int:
    old = list(rows.order_by("id")[:ROWS_AT_ONCE])
    keys = tuple(key for key in map(_key_of, old) if key)
    rows.model._default_manager.using("operator").filter(id__in=[row.id for row in old]).delete()
    if keys:
        enqueue(ForgetObjects(keys=keys), using="operator")
    return len(old)


def _key_of(row: Any) -> str:
    """Return what a row has in object storage. What came from platforms goes by its own, shorter time."""
    if isinstance(row, RoomFile):
        return row.key
    if isinstance(row, Delivery) and row.kind == DeliveryKind.FILE:
        return str((row.payload or {}).get("key", ""))
    return ""
