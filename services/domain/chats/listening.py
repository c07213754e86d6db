"""Who listens to which link: a lease with a fencing token on each, and what is kept while it holds.

All times of leases are the database's, so that the clocks of hosts need not agree.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db import DataError, transaction
from django.db.models import Q
from django.db.models.functions import Now

from services.domain.chats.actions import read_link_config
from services.domain.chats.health import note_health
from services.domain.chats.inbound import LinkHandle, count_unknown_update
from services.domain.chats.intake import take_in
from services.domain.chats.models import InboundMessage, Link, LinkListener, ListenerStatus
from services.domain.errors import LeaseLost
from services.domain.ports.chat import Parsed, Place
from services.domain.ports.chat_abilities import Health
from services.domain.tenancy.transaction import tenant_transaction
from services.kit.clock import now

log = logging.getLogger(__name__)

LEASE = timedelta(seconds=6)
HEARD_WITHIN = timedelta(days=7)
MOST_HEARD = 300
# A link that was never connected does not know its bot yet.
_QUIET = ("pending", "paused")


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to listen to a link, until somebody else has it. `handle.config` is open: do not log it."""

    handle: LinkHandle
    token: uuid.UUID


def all_tenants_free_links(kinds: Collection[str]) -> list[Link]:
    """List the links of these kinds that nobody listens to, those that wait longest first."""
    rows = Link.objects.using("operator").filter(_IS_FREE, kind__in=kinds).exclude(status__in=_QUIET)
    return list(rows.order_by("listener__lease_until", "id"))


def all_tenants_take_link(link: Link, holder: str) -> Lease | None:
    """Take the lease of a free link; None when somebody was faster, or the link is gone. Raises: VaultError."""
    token = uuid.uuid4()
    with transaction.atomic(using="operator"):
        current = Link.objects.using("operator").select_for_update(no_key=True).filter(id=link.id).first()
        if current is None or current.status in _QUIET:
            return None
        rows = LinkListener.objects.using("operator")
        rows.get_or_create(link_id=link.id, defaults={"org_id": link.org_id})
        is_taken = rows.filter(Q(lease_until=None) | Q(lease_until__lt=Now()), link_id=link.id).update(
            token=token,
            holder=holder[:80],
            lease_until=Now() + LEASE,
        )
    if not is_taken:
        return None
    return Lease(LinkHandle(link.org_id, link.id, link.kind, read_link_config(current)), token)


def all_tenants_renew(tokens: Collection[uuid.UUID]) -> set[uuid.UUID]:
    """Renew leases; returns those that hold. Those of links that were changed, paused or deleted do not."""
    rows = LinkListener.objects.using("operator")
    held = set(rows.filter(token__in=tokens).exclude(link__status__in=_QUIET).values_list("token", flat=True))
    rows.filter(token__in=held).update(lease_until=Now() + LEASE)
    return {token for token in held if token is not None}


def release_link(lease: Lease) -> None:
    """Give a lease back, so that another process takes the link at once."""
    with tenant_transaction(lease.handle.org_id):
        _held(lease).update(token=None, holder="", lease_until=None)


def load_state(lease: Lease) -> dict[str, Any]:
    """Return where to resume. Raises: LeaseLost."""
    with tenant_transaction(lease.handle.org_id):
        state = _held(lease).values_list("state", flat=True).first()
    if state is None:
        raise LeaseLost("Another process listens to the link.")
    return dict(state)


def list_heard(handle: LinkHandle) -> list[tuple[Place, str]]:
    """List the places in which people were heard within a week, each with the last message's id there, newest first."""
    with tenant_transaction(handle.org_id):
        rows = InboundMessage.objects.filter(link_id=handle.link_id, created_at__gte=now() - HEARD_WITHIN)
        last = rows.order_by("chat_id", "thread_id", "-id").distinct("chat_id", "thread_id").values("id")
        found = InboundMessage.objects.filter(id__in=last).order_by("-id")[:MOST_HEARD]
        names = found.values_list("chat__platform_chat_id", "thread_id", "platform_message_id")
        return [(Place(chat_id, thread_id or None), message_id) for chat_id, thread_id, message_id in names]


def keep_heard(lease: Lease, parsed: Parsed, state: Mapping[str, Any] | None) -> int:
    """Store what came, each once, and where to resume, in one transaction; returns how many were new.

    Locks: the link, then its listener, as whoever changes the link does. Queues: a job for each thing that is new.
    Raises: LeaseLost when somebody else holds the link.
    """
    handle = lease.handle
    with tenant_transaction(handle.org_id):
        _lock_link(handle.link_id)
        row = _held(lease).select_for_update().first()
        if row is None:
            raise LeaseLost("Another process listens to the link.")
        stored = _store(handle, parsed)
        was_failed = row.status == ListenerStatus.FAILED
        row.status, row.last_seen_at, row.last_error = ListenerStatus.LISTENING, now(), ""
        if state is not None:
            row.state = dict(state)
        row.save(update_fields=["status", "last_seen_at", "last_error", "state"])
        if was_failed:
            note_health(handle.org_id, handle.link_id, Health())
        return stored


def note_listener_stopped(lease: Lease, *, error: str, needs_person: bool) -> None:
    """Record why listening ended by itself. One that needs a person makes the link a broken one, and people are told.

    Emits: LinkChanged, NotificationCreated.
    """
    with tenant_transaction(lease.handle.org_id):
        _lock_link(lease.handle.link_id)
        status = ListenerStatus.FAILED if needs_person else ListenerStatus.RETRYING
        if _held(lease).update(status=status, last_error=error[:300]) and needs_person:
            note_health(lease.handle.org_id, lease.handle.link_id, Health(error))


_IS_FREE = (
    Q(listener__isnull=True) | Q(listener__lease_until__isnull=True) | Q(listener__lease_until__lt=Now())
)


def _lock_link(link_id: uuid.UUID) -> None:
    # What is stored refers to the link, which locks it as well: were it locked last, two could wait for each other.
    Link.objects.select_for_update(no_key=True).filter(id=link_id).values_list("id").first()


def _held(lease: Lease) -> Any:
    return LinkListener.objects.filter(link_id=lease.handle.link_id, token=lease.token)


def _store(handle: LinkHandle, parsed: Parsed) -> int:
    """Store what came. What no column can hold is counted and passed over: it would come again for ever."""
    try:
        with tenant_transaction(handle.org_id):
            return take_in(handle, parsed)
    except DataError:
        log.exception("what came in for link %s cannot be stored", handle.link_id)
        count_unknown_update(handle)
        return 0
