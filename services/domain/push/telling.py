"""Telling a person something: on their stream, which the dashboard shows, and in their browsers by web push."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from services.domain.contacts.models import NotificationSettings
from services.domain.contacts.quiet import QuietHours
from services.domain.events.log import record_event
from services.domain.events.models import Event
from services.domain.events.types import NotificationCreated
from services.domain.identity.models import Membership
from services.domain.outbox.jobs import SendPush, enqueue
from services.domain.push.models import PushSubscription
from services.domain.tenancy.transaction import tenant_transaction
from services.domain.vault.keyring import open_json
from services.kit.clock import now
from services.kit.environment import environment

MAX_BODY_CHARS = 700
"""What browsers show is much less; with four bytes each it still fits into a push."""


@dataclass(frozen=True, slots=True)
class PushDue:
    """A notification for one browser. `subscription` is open: do not log it."""

    subscription: dict[str, Any]
    payload: dict[str, str]
    urgency: str
    topic: str


def tell_person(
    user_id: uuid.UUID,
    told: NotificationCreated,
    *,
    task_id: uuid.UUID | None = None,
    turn: int | None = None,
) -> Event:
    """Record a notification for a person, inside the tenant's transaction; in quiet hours browsers are told later.

    Emits: NotificationCreated. Queues: SendPush for each of the person's browsers.
    """
    event = record_event(f"user:{user_id}", told, task_id=task_id, turn=turn)
    browsers = list(PushSubscription.objects.filter(user=user_id).values_list("org_id", "id"))
    if browsers:
        not_before = None if told.urgency == "high" else _quiet_until(user_id)
        for org_id, subscription_id in browsers:
            job = SendPush(org_id=org_id, subscription_id=subscription_id, user_id=user_id, seq=event.seq)
            enqueue(job, not_before=not_before)
    return event


def find_push(job: SendPush) -> PushDue | None:
    """Return what a browser is to be shown; None when it, or the notification, is gone."""
    with tenant_transaction(job.org_id):
        row = PushSubscription.objects.filter(id=job.subscription_id, user=job.user_id).first()
        event = Event.objects.filter(stream=f"user:{job.user_id}", seq=job.seq).first()
        is_member = Membership.objects.filter(user=job.user_id).exists()
        if row is None or event is None or not is_member:
            return None
        tag = f"notification-{job.seq}"
        url = environment().public_url.rstrip("/") + "/"
        payload = {
            "title": "Slipway",
            "body": str(event.data["message"])[:MAX_BODY_CHARS],
            # The same notification again replaces the one that is shown.
            "tag": tag,
            "url": url,
        }
        return PushDue(open_json(row.sealed, row.key_id, row.id), payload, str(event.data["urgency"]), tag)


def note_pushed(org_id: uuid.UUID, subscription_id: uuid.UUID, *, error: str = "") -> None:
    """Record what became of a push."""
    with tenant_transaction(org_id):
        row = PushSubscription.objects.filter(id=subscription_id)
        row.update(last_error=error[:200], **({} if error else {"last_sent_at": now()}))


def forget_browser(org_id: uuid.UUID, subscription_id: uuid.UUID) -> None:
    """Remove a browser whose push service says that it is gone."""
    with tenant_transaction(org_id):
        PushSubscription.objects.filter(id=subscription_id).delete()


def _quiet_until(user_id: uuid.UUID) -> datetime | None:
    row = NotificationSettings.objects.filter(user=user_id).first()
    return QuietHours.model_validate(row).quiet_until(now()) if row is not None else None
