"""Summing up what was used: sandboxes by the hour, model calls by the call."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from typing import Any, Literal

from django.db.models import F, QuerySet, Sum, TextField, Value
from django.db.models.fields.json import KeyTextTransform
from django.db.models.functions import Cast, Coalesce, TruncDate

from services.domain.actors import Actor, require
from services.domain.metering.actions import hour_of
from services.domain.metering.models import SandboxUsageRecord
from services.domain.plane.models import HOLDS_SLOT, Sandbox, Volume
from services.domain.tasks.models import UsageRecord
from services.domain.workspaces.queries import get_workspace

GroupBy = Literal["workspace", "agent", "day", "member", "chat", "model"]

_SANDBOX_KEYS = {
    "workspace": F("workspace_id"),
    "agent": F("agent_id"),
    "day": TruncDate("bucket", tzinfo=UTC),
}
_MODEL_KEYS = {
    "workspace": F("task__workspace_id"),
    "agent": Coalesce("task__agent_id", "agent_id"),
    "day": TruncDate("created_at", tzinfo=UTC),
    "member": Coalesce("task__user_id", "user_id"),
    "chat": Coalesce(KeyTextTransform("chat_id", "task__deliver_to"), Cast("chat_id", TextField())),
    "model": F("model"),
}
NOBODY = ""
"""The key of what belongs to none: work that is nobody's own, or that no chat asked for."""


@dataclass(slots=True)
class Used:
    """Sums over a stretch of time; all whole numbers."""

    cpu_ms: int = 0
    memory_byte_seconds: int = 0
    disk_byte_seconds: int = 0
    network_up_bytes: int = 0
    network_down_bytes: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_microusd: int = 0


@dataclass(slots=True)
class UsageReport:
    """The sums of a stretch of time, and of each group in the order of its key; `next_key` goes on from there."""

    total: Used
    groups: list[tuple[str, Used]] = field(default_factory=list)
    next_key: str | None = None


_SANDBOX_SUMS = [f.name for f in fields(Used)][:5]
_MODEL_SUMS = [f.name for f in fields(Used)][5:]


def get_usage(
    actor: Actor,
    *,
    since: datetime,
    until: datetime,
    group_by: GroupBy | None = None,
    limit: int = 50,
    after: str | None = None,
    workspace_id: uuid.UUID | None = None,
) -> UsageReport:
    """Sum up the hours that begin, and the model calls that were made, within a stretch of time.

    Sandboxes are counted by workspace: by member, chat and model only what models used is known.
    In the tenant's transaction. Raises: WorkspaceMissing.
    """
    require(actor, "usage:read")
    sandboxes = SandboxUsageRecord.objects.filter(bucket__gte=hour_of(since), bucket__lt=until)
    models = UsageRecord.objects.filter(created_at__gte=since, created_at__lt=until)
    if workspace_id is not None:
        get_workspace(actor, workspace_id)
        sandboxes = sandboxes.filter(workspace_id=workspace_id)
        models = models.filter(task__workspace_id=workspace_id)
    total = Used(**_sums(sandboxes, _SANDBOX_SUMS), **_sums(models, _MODEL_SUMS))
    if group_by is None:
        return UsageReport(total)
    groups: dict[str, Used] = {}
    for rows, keys, names in (
        (sandboxes, _SANDBOX_KEYS, _SANDBOX_SUMS),
        (models, _MODEL_KEYS, _MODEL_SUMS),
    ):
        if group_by not in keys:
            continue
        for key, sums in _grouped(rows, keys[group_by], names, after=after, limit=limit + 1):
            used = groups.setdefault(key, Used())
            for name, value in sums.items():
                setattr(used, name, value)
    ordered = sorted(groups.items())
    is_more = len(ordered) > limit
    return UsageReport(total, ordered[:limit], ordered[limit - 1][0] if is_more else None)


def list_metered(host: str) -> Sequence[Sandbox]:
    """List the sandboxes of a host that are there, nobody's and somebody's."""
    return list(Sandbox.objects.filter(host_id=host, state__in=HOLDS_SLOT))


def list_volumes_at_rest(host: str) -> list[tuple[uuid.UUID, uuid.UUID]]:
    """List (organisation, workspace) of the volumes of a host that no sandbox has."""
    live = Sandbox.objects.filter(state__in=HOLDS_SLOT).exclude(workspace_id=None)
    rows = Volume.objects.filter(host_id=host).exclude(workspace_id__in=live.values("workspace_id"))
    return list(rows.values_list("org_id", "workspace_id"))


def _sums(rows: QuerySet[Any], names: Sequence[str]) -> dict[str, int]:
    found = rows.aggregate(**{f"sum_{name}": Sum(name) for name in names})
    return {name: int(found[f"sum_{name}"] or 0) for name in names}


def _grouped(
    rows: QuerySet[Any], key: Any, names: Sequence[str], *, after: str | None, limit: int
) -> list[tuple[str, dict[str, int]]]:
    keyed = rows.annotate(group_key=Coalesce(Cast(key, TextField()), Value(NOBODY), output_field=TextField()))
    if after is not None:
        keyed = keyed.filter(group_key__gt=after)
    summed = keyed.values("group_key").annotate(**{f"sum_{name}": Sum(name) for name in names})
    return [
        (row["group_key"], {name: int(row[f"sum_{name}"] or 0) for name in names})
        for row in summed.order_by("group_key")[:limit]
    ]
