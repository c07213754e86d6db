"""The warm pool: what was wanted of late, how many sandboxes should wait for it, which to start and to remove."""

from __future__ import annotations

import json
import math
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.db import connections, transaction

from services.domain.plane.models import HOLDS_SLOT, Host, Sandbox, SandboxState, WarmDemand
from services.kit.clock import now
from services.kit.ids import uuid7

HALF_LIFE = timedelta(minutes=2)
OF_LATE = timedelta(minutes=10)
FORGOTTEN = timedelta(hours=1)
QUIET = timedelta(minutes=2)
_NOTHING = 0.05
# The count decays as in `decayed`.
_NOTE = """
INSERT INTO warm_demand AS d (host_id, profile, wanted, rate, last_wanted_at) VALUES (%s, %s, %s, 1.0, %s)
ON CONFLICT (host_id, profile) DO UPDATE SET last_wanted_at = excluded.last_wanted_at, rate = 1.0 + d.rate
    * 0.5 ^ greatest(extract(epoch FROM excluded.last_wanted_at - d.last_wanted_at)::float8 / %s, 0.0)
"""


@dataclass(frozen=True, slots=True)
class PoolBounds:
    """How many sandboxes wait for each profile that was wanted of late, at least and at most."""

    least: int
    most: int


@dataclass(slots=True)
class PoolPlan:
    """What the pool of a host needs: rows to start containers for, and rows whose containers are to be removed."""

    to_start: list[Sandbox] = field(default_factory=list)
    to_remove: list[Sandbox] = field(default_factory=list)


def note_demand(host_name: str, profile: str, build: dict[str, Any]) -> None:
    """Count one more sandbox that a warm one was, or could have been."""
    with connections["plane"].cursor() as cursor:
        cursor.execute(_NOTE, [host_name, profile, json.dumps(build), now(), HALF_LIFE.total_seconds()])


def decayed(demand: WarmDemand, moment: datetime) -> float:
    """Return how often a profile was wanted in the last minutes: each want counts half after the half-life."""
    age = max((moment - demand.last_wanted_at) / HALF_LIFE, 0.0)
    return float(demand.rate * 0.5**age)


def plan_pool(
    host_name: str, bounds: PoolBounds, *, usual: tuple[str, dict[str, Any]], without: Collection[str] = ()
) -> PoolPlan:
    """Size a host's pool by recent demand and make the rows of what is missing; what is too much is marked destroyed.

    `usual` is a profile and its build of which the least number is kept although nobody asked; profiles in `without`
    get nothing. The pool takes no slot that is in use. Locks: the host's row.
    """
    plan = PoolPlan()
    with transaction.atomic(using="plane"):
        host = Host.objects.select_for_update().filter(name=host_name).first()
        if host is None:
            return plan
        waiting: dict[str, list[Sandbox]] = {}
        held = Sandbox.objects.filter(host=host, state__in=HOLDS_SLOT).order_by("state_at")
        for sandbox in held.filter(workspace_id=None):
            waiting.setdefault(sandbox.profile, []).append(sandbox)
        is_closed = host.is_draining or host.fenced_at is not None
        left_over = 0 if is_closed else host.slots - held.exclude(workspace_id=None).count()
        moment = now()
        demands = list(WarmDemand.objects.filter(host=host).exclude(profile__in=without))
        sizes = _sizes(demands, bounds, usual[0], moment, left_over)
        plan.to_remove = _remove(_surplus(waiting, sizes, demands, moment, left_over), moment)
        builds = dict([usual]) | {row.profile: row.wanted for row in demands}
        room = left_over - sum(map(len, waiting.values())) + len(plan.to_remove)
        for profile in sizes.keys() - set(without):
            missing = max(min(sizes[profile] - len(waiting.get(profile, [])), room), 0)
            plan.to_start += [_add(host, profile, builds[profile]) for _ in range(missing)]
            room -= missing
        WarmDemand.objects.filter(host=host, last_wanted_at__lt=moment - FORGOTTEN).delete()
    return plan


def _sizes(
    demands: list[WarmDemand],
    bounds: PoolBounds,
    usual: str,
    moment: datetime,
    left_over: int,
) -> dict[str, int]:
    """Return how many should wait for each profile, those wanted most first, within the slots left over."""
    wishes = {usual: min(bounds.least, bounds.most)}
    for demand in sorted(demands, key=lambda row: -decayed(row, moment)):
        rate = decayed(demand, moment)
        wish = math.ceil(rate) if rate > _NOTHING else 0
        if demand.last_wanted_at + OF_LATE > moment:
            wish = max(wish, bounds.least)
        wishes[demand.profile] = max(wishes.get(demand.profile, 0), min(wish, bounds.most))
    sizes = {}
    for profile in sorted(wishes, key=lambda name: -wishes[name]):
        sizes[profile] = max(min(wishes[profile], left_over), 0)
        left_over -= sizes[profile]
    return sizes


def _surplus(
    waiting: dict[str, list[Sandbox]],
    sizes: dict[str, int],
    demands: list[WarmDemand],
    moment: datetime,
    left_over: int,
) -> list[Sandbox]:
    """Return what is too much, the oldest first. Right after a burst the next is likely: only a quiet time, or a lack
    of room for what is wanted more, makes the pool smaller."""
    lively = {row.profile for row in demands if row.last_wanted_at + QUIET > moment}
    missing = sum(max(size - len(waiting.get(profile, ())), 0) for profile, size in sizes.items())
    is_crowded = sum(map(len, waiting.values())) + missing > left_over
    return [
        sandbox
        for profile, rows in waiting.items()
        if is_crowded or profile not in lively
        for sandbox in rows[: max(len(rows) - sizes.get(profile, 0), 0)]
    ]


def _add(host: Host, profile: str, build: dict[str, Any]) -> Sandbox:
    sandbox = Sandbox(id=uuid7(), host=host, host_epoch=host.epoch, profile=profile, **build)
    sandbox.volume = sandbox.id.hex
    sandbox.save(force_insert=True)
    return sandbox


def _remove(rows: list[Sandbox], moment: datetime) -> list[Sandbox]:
    for sandbox in rows:
        sandbox.state, sandbox.state_at, sandbox.error = SandboxState.DESTROYED, moment, "surplus"
        sandbox.save(update_fields=["state", "state_at", "error"])
    return rows
