"""Reading the sandbox plane."""

from __future__ import annotations

import uuid
from datetime import timedelta

from django.db.models import Count, QuerySet

from services.domain.plane.models import HOLDS_SLOT, Host, Sandbox, SandboxState
from services.kit.clock import now


def find_sandbox(sandbox_id: uuid.UUID) -> Sandbox | None:
    """Return one sandbox, or None."""
    return Sandbox.objects.filter(id=sandbox_id).first()


def list_served(host_name: str) -> list[Sandbox]:
    """List the sandboxes of a host for which its gateway keeps a socket open."""
    return list(Sandbox.objects.filter(host_id=host_name, state__in=HOLDS_SLOT))


def list_idle_too_long(host_name: str) -> list[Sandbox]:
    """List idle sandboxes whose idle time is over."""
    moment = now()
    idle = Sandbox.objects.filter(host_id=host_name, state=SandboxState.IDLE)
    return [row for row in idle if row.state_at + timedelta(seconds=row.idle_stop_s) <= moment]


def list_unsure(host_name: str, *, older_than: timedelta) -> QuerySet[Sandbox]:
    """Return sandboxes that hold a slot, have not changed for a while, and whose link is not open."""
    edge = now() - older_than
    rows = Sandbox.objects.filter(host_id=host_name, state__in=HOLDS_SLOT, state_at__lt=edge)
    return rows.exclude(link_until__gt=now())


def list_stopped(host_name: str) -> QuerySet[Sandbox]:
    """Return the sandboxes of a host that are gone and left a volume behind."""
    return Sandbox.objects.filter(host_id=host_name, state=SandboxState.STOPPED).exclude(volume="")


def count_sandboxes() -> dict[str, int]:
    """Return how many sandboxes are in each state, on all hosts."""
    return dict(Sandbox.objects.values_list("state").annotate(count=Count("id")).order_by())


def list_hosts() -> list[Host]:
    """List all hosts, by name."""
    return list(Host.objects.order_by("name"))
