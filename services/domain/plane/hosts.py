"""Hosts: their heartbeats, which one serves a task, fencing those that fell silent, draining those that shall go."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.db import connections, transaction
from django.db.models import (
    BigIntegerField,
    Count,
    OuterRef,
    QuerySet,
    Subquery,
    Sum,
)
from django.db.models.functions import Coalesce, Now

from services.domain.errors import Missing
from services.domain.outbox.jobs import DispatchTask, DrainHost, enqueue, host_queue
from services.domain.plane.models import HOLDS_SLOT, Host, Sandbox, SandboxState, Volume
from services.domain.ports.sandbox import HostResources, Promise
from services.kit.clock import now
from services.kit.environment import environment
from services.kit.ids import uuid7

if TYPE_CHECKING:
    from services.domain.plane.actions import Wanted

log = logging.getLogger(__name__)

MOST_IMAGES = 500
_EVICTABLE = (SandboxState.WARM, SandboxState.IDLE, SandboxState.PAUSED)


def register_host(
    name: str,
    *,
    driver: str,
    slots: int,
    engine_version: str = "",
    missing_promises: Iterable[Promise | str] = (),
    accepted_gaps: Iterable[Promise | str] = (),
    gateway_url: str = "",
    resources: HostResources | None = None,
) -> Host:
    """Make this host known, or update what it says of itself; also its heartbeat, by the database's clock.

    A fenced host stays fenced until it has removed what it no longer owns: `rejoin_host`.
    """
    said: dict[str, object] = {
        "driver": driver,
        "slots": slots,
        "engine_version": engine_version[:60],
        "missing_promises": sorted(str(promise) for promise in missing_promises),
        "accepted_gaps": sorted(str(promise) for promise in accepted_gaps),
        "gateway_url": gateway_url,
        "last_beat_at": Now(),
    }
    if resources is not None:
        said |= {
            "memory_bytes": resources.memory_bytes,
            "memory_free_bytes": resources.memory_free_bytes,
            "runtimes": sorted(resources.runtimes),
            "images": sorted(resources.images)[:MOST_IMAGES],
        }
    Host.objects.update_or_create(name=name, defaults=said)
    return Host.objects.get(name=name)


def get_host(name: str) -> Host:
    """Return one host. Raises: Missing."""
    host = Host.objects.filter(name=name).first()
    if host is None:
        raise Missing("There is no such host.")
    return host


# --- Placement ---------------------------------------------------------------------------------------


def choose_host(wanted: Wanted) -> str | None:
    """Name the host that should serve a task, or None while none can: the task waits then, and others need not.

    The one where the workspace's sandbox or files are, unless it shall go. Else one with the runtime class and room,
    in this order: it has a warm sandbox of this kind, it has the image, it need not evict anybody, most memory left.
    """
    offers = _list_offers(wanted)
    sandbox_on, files_on = (offers[0].sandbox_on, offers[0].files_on) if offers else ("", "")
    if sandbox_on:
        return next((offer.name for offer in offers if offer.name == sandbox_on), None)
    if files_on:
        offers = [offer for offer in offers if offer.name == files_on]
    elif wanted.runtime:
        # Where no host has the class, the start on any of them says so.
        offers = [offer for offer in offers if offer.has_runtime] or offers
    with_room = (offer for offer in offers if offer.used < offer.slots + offer.evictable)
    best = max(with_room, key=_Offer.rank, default=None)
    return best.name if best else None


@dataclass(frozen=True, slots=True)
class _Offer:
    """What a serving host has to offer; and, alike in all, the hosts of the workspace's sandbox and files, if any.

    `memory_left` is what stays free if each of its sandboxes takes all that it may.
    """

    name: str
    slots: int
    used: int
    evictable: int
    warm: int
    has_image: bool
    memory_left: int
    has_runtime: bool
    sandbox_on: str | None
    files_on: str | None
    is_stored: bool

    def rank(self) -> tuple[bool, bool, bool, int]:
        """Return what hosts are compared by; a warm sandbox serves only a workspace that has no files yet."""
        is_claimable = self.warm > 0 and not self.files_on and not self.is_stored
        return (is_claimable, self.has_image, self.used < self.slots, self.memory_left)


# The columns are the fields of `_Offer`. Only what holds a slot is joined: a host has had any number of sandboxes.
_OFFERS = """
SELECT h.name, h.slots, count(s.id),
    count(s.id) FILTER (WHERE (s.state = ANY(%(evictable)s) OR (s.state = 'creating' AND s.workspace_id IS NULL))
        AND (s.held_until IS NULL OR s.held_until <= now())),
    count(s.id) FILTER (WHERE s.state = 'warm' AND s.profile = %(profile)s),
    h.images ? %(image)s,
    h.memory_free_bytes - coalesce(sum(s.memory_bytes), 0)::bigint,
    h.runtimes ? %(runtime)s,
    (SELECT o.host_id FROM sandbox o WHERE o.workspace_id = %(workspace)s AND o.state = ANY(%(holds_slot)s)),
    (SELECT v.host_id FROM volume v WHERE v.workspace_id = %(workspace)s),
    EXISTS (SELECT FROM volume v WHERE v.workspace_id = %(workspace)s AND v.snapshot_key <> '')
FROM host h LEFT JOIN sandbox s ON s.host_id = h.name AND s.state = ANY(%(holds_slot)s)
WHERE h.fenced_at IS NULL AND NOT h.is_draining AND h.last_beat_at >= now() - make_interval(secs => %(stale_s)s)
GROUP BY h.name
"""


def _list_offers(wanted: Wanted) -> list[_Offer]:
    """List what the serving hosts offer, by one statement: it is on the way of every task."""
    named: dict[str, Any] = {
        "holds_slot": list(HOLDS_SLOT),
        "evictable": list(_EVICTABLE),
        "profile": wanted.profile,
        "image": wanted.image,
        "runtime": wanted.runtime,
        "workspace": wanted.workspace_id,
        "stale_s": environment().host_stale_s,
    }
    with connections["plane"].cursor() as cursor:
        cursor.execute(_OFFERS, named)
        return [_Offer(*row) for row in cursor.fetchall()]


# --- Draining ----------------------------------------------------------------------------------------


def drain_host(actor_name: str, name: str) -> None:
    """Let a host finish what it is at, take nothing new, and leave its files to object storage. Twice is fine.

    Queues: DrainHost; the host's own sweep goes on with it. Raises: Missing.
    """
    if not Host.objects.filter(name=name).update(is_draining=True):
        raise Missing("There is no such host.")
    log.warning("host %s is drained by %s", name, actor_name)
    with transaction.atomic(using="operator"):
        enqueue(DrainHost(host=name), queue=host_queue(name), using="operator")


def undrain_host(actor_name: str, name: str) -> None:
    """Let a host take work again. Queues: DispatchTask. Raises: Missing."""
    if not Host.objects.filter(name=name).update(is_draining=False):
        raise Missing("There is no such host.")
    log.warning("host %s takes work again, by %s", name, actor_name)
    dispatch_soon()


def dispatch_soon() -> None:
    """Have somebody look again who could start. Queues: DispatchTask."""
    with transaction.atomic(using="operator"):
        enqueue(DispatchTask(), using="operator")


# --- Fencing: the row itself; what hangs on it is ended by `fencing` ------------------------------------


def list_stale_hosts() -> list[Host]:
    """List the hosts that have fallen silent and are not fenced yet."""
    return list(_stale().order_by("name"))


def mark_fenced(name: str) -> None:
    """Fence a host whatever it does: from here on, what it started before is not its own. Raises: Missing.

    Locks: the host's row, so that nothing is being placed on it at that moment.
    """
    with transaction.atomic(using="plane"):
        host = Host.objects.select_for_update().filter(name=name).first()
        if host is None:
            raise Missing("There is no such host.")
        if host.fenced_at is None:
            Host.objects.filter(name=name).update(fenced_at=Now(), epoch=uuid7())


def mark_fenced_if_stale(name: str) -> bool:
    """Fence a host if it is silent still; True when it was."""
    return bool(_stale().filter(name=name).update(fenced_at=Now(), epoch=uuid7()))


def list_fenced_hosts() -> list[Host]:
    """List the hosts that are fenced."""
    return list(Host.objects.exclude(fenced_at=None).order_by("name"))


def rejoin_host(name: str, epoch: uuid.UUID) -> bool:
    """Let a fenced host serve again, under the epoch at which it cleaned up; False when it was fenced once more."""
    return bool(Host.objects.filter(name=name, epoch=epoch).update(fenced_at=None))


def _stale() -> QuerySet[Host]:
    edge = Now() - timedelta(seconds=environment().host_stale_s)
    return Host.objects.filter(fenced_at=None, last_beat_at__lt=edge)


# --- For operators -----------------------------------------------------------------------------------


def with_loads(hosts: QuerySet[Host]) -> QuerySet[Host]:
    """Add what is on each host: `used` slots, `busy` ones of them, `volumes`, memory `promised` to its sandboxes."""
    live = Sandbox.objects.filter(host=OuterRef("pk"), state__in=HOLDS_SLOT).order_by().values("host")
    busy = live.filter(state__in=(SandboxState.CREATING, SandboxState.BUSY))
    stored = Volume.objects.filter(host=OuterRef("pk")).order_by().values("host")
    return hosts.annotate(
        used=_number(live.annotate(n=Count("pk"))),
        busy=_number(busy.annotate(n=Count("pk"))),
        promised=_number(live.annotate(n=Sum("memory_bytes"))),
        volumes_here=_number(stored.annotate(n=Count("pk"))),
    )


def _number(counted: QuerySet[Any, Any]) -> Coalesce:
    return Coalesce(Subquery(counted.values("n")), 0, output_field=BigIntegerField())


def describe_state(host: Host, *, used: int, volumes: int) -> str:
    """Return in a word what a host does: serving, silent, fenced, draining or drained."""
    if host.fenced_at is not None:
        return "fenced"
    if host.last_beat_at < now() - timedelta(seconds=environment().host_stale_s):
        return "silent"
    if host.is_draining:
        return "draining" if used or volumes else "drained"
    return "serving"
