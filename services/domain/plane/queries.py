"""Reading the sandbox plane."""

from __future__ import annotations

import uuid
from collections.abc import Collection
from datetime import datetime, timedelta

from django.db.models import Count, F, FilteredRelation, Q, QuerySet
from django.db.models.functions import Now

from services.domain.plane.models import HOLDS_SLOT, Host, Sandbox, SandboxState
from services.kit.clock import now
from services.kit.environment import environment
from services.kit.rows import first_of


def find_sandbox(sandbox_id: uuid.UUID) -> Sandbox | None:
    """Return one sandbox, or None."""
    return first_of(Sandbox.objects.raw("SELECT * FROM sandbox WHERE id = %s", [sandbox_id]))


def list_holding_slot(sandbox_ids: Collection[uuid.UUID]) -> set[uuid.UUID]:
    """Return those of the sandboxes that have not ended."""
    rows = Sandbox.objects.filter(id__in=sandbox_ids, state__in=HOLDS_SLOT)
    return set(rows.values_list("id", flat=True))


def find_sandbox_of(workspace_id: uuid.UUID) -> Sandbox | None:
    """Return the sandbox that a workspace has, at work or at rest, or None."""
    return Sandbox.objects.filter(workspace_id=workspace_id, state__in=HOLDS_SLOT).first()


def find_live_sandbox(workspace_id: uuid.UUID) -> Sandbox | None:
    """Return the workspace's sandbox if its runner is there now, or None: then it must be woken first."""
    return Sandbox.objects.filter(
        workspace_id=workspace_id,
        state__in=(SandboxState.BUSY, SandboxState.IDLE),
        link_until__gt=now(),
    ).first()


def list_served(host_name: str) -> list[Sandbox]:
    """List the sandboxes of a host for which its gateway keeps a socket open."""
    return list(Sandbox.objects.filter(host_id=host_name, state__in=HOLDS_SLOT))


def list_to_pause(host_name: str) -> list[Sandbox]:
    """List idle sandboxes whose time until the pause is over, but for those that are stopped at once."""
    moment = now()
    idle = Sandbox.objects.filter(host_id=host_name, state=SandboxState.IDLE)
    return [
        row
        for row in idle.filter(idle_pause_s__lt=F("idle_stop_s"))
        if _last_use(row) + timedelta(seconds=row.idle_pause_s) <= moment
    ]


def list_to_stop(host_name: str) -> list[Sandbox]:
    """List idle and paused sandboxes whose idle time is over."""
    moment = now()
    at_rest = Sandbox.objects.filter(host_id=host_name, state__in=(SandboxState.IDLE, SandboxState.PAUSED))
    return [row for row in at_rest if _last_use(row) + timedelta(seconds=row.idle_stop_s) <= moment]


def _last_use(sandbox: Sandbox) -> datetime:
    return max(sandbox.used_at, sandbox.held_until or sandbox.used_at)


def list_unsure(host_name: str, *, older_than: timedelta) -> QuerySet[Sandbox]:
    """Return sandboxes that hold a slot, have not changed for a while, and whose link is not open."""
    edge = now() - older_than
    rows = Sandbox.objects.filter(host_id=host_name, state__in=HOLDS_SLOT, state_at__lt=edge)
    return rows.filter(Q(link_until=None) | Q(link_until__lte=now()))


def list_at_tasks(host_name: str, *, older_than: timedelta) -> list[Sandbox]:
    """List sandboxes that were given a task a while ago and say that they still have it."""
    edge = now() - older_than
    rows = Sandbox.objects.filter(host_id=host_name, state__in=HOLDS_SLOT, state_at__lt=edge)
    return list(rows.exclude(task_id=None))


def has_room() -> bool:
    """Say whether any host could take one more sandbox, if need be in the place of one that is not at work."""
    # Joined by state: a host has had any number of sandboxes in its life.
    active = Q(sandboxes__state__in=(SandboxState.BUSY, SandboxState.CREATING))
    is_busy = Q(active__state=SandboxState.BUSY) | Q(active__workspace_id__isnull=False)
    edge = Now() - timedelta(seconds=environment().host_stale_s)
    hosts = Host.objects.filter(is_draining=False, fenced_at=None, last_beat_at__gte=edge)
    counted = hosts.annotate(
        active=FilteredRelation("sandboxes", condition=active), at_work=Count("active", filter=is_busy)
    )
    return counted.filter(at_work__lt=F("slots")).exists()


def count_sandboxes() -> dict[str, int]:
    """Return how many sandboxes are in each state, on all hosts."""
    return dict(Sandbox.objects.values_list("state").annotate(count=Count("id")).order_by())
