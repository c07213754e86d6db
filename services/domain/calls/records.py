"""Storing calls in batches, and forgetting old ones."""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import connections

from services.domain.calls.models import CallKind, CallOutcome, McpCall
from services.kit.clock import now
from services.kit.ids import first_uuid7_at, uuid7
from services.kit.storable import storable

KEPT = timedelta(days=30)
_FORGOTTEN_AT_ONCE = 20_000
_REFUSED = frozenset(
    {
        "not_permitted",
        "scope_missing",
        "insufficient_scope",
        "role_missing",
        "tool_withheld",
        "unknown_tool",
        "model_not_allowed",
        "not_passed_on",
        "token_invalid",
        "approval_denied",
        "approval_expired",
        "denied",
        "others_must_allow",
    }
)
_HELD = frozenset({"held", "approval_pending", "approval_required"})
_LIMITED = frozenset({"rate_limited", "budget_exceeded", "queue_full", "limited", "vendor_429"})
# One statement with one parameter, whatever the number of rows. COPY does not work on tables with row-level security.
_INSERT = """
INSERT INTO mcp_call (id, org_id, created_at, kind, server, tool, outcome, code, task_id, agent_id, user_id,
    started_at, duration_ms, request_bytes, result_bytes, attempts)
SELECT * FROM jsonb_to_recordset(%s::jsonb) AS r(id uuid, org_id uuid, created_at timestamptz, kind text, server text,
    tool text, outcome text, code text, task_id uuid, agent_id uuid, user_id uuid, started_at timestamptz,
    duration_ms float8, request_bytes int, result_bytes int, attempts smallint)
ON CONFLICT (id) DO NOTHING
"""


@dataclass(frozen=True, slots=True)
class CallRecord:
    """One call that ended, as it is to be stored. `code` is empty for one that went well."""

    org_id: uuid.UUID
    kind: CallKind
    server: str
    tool: str
    code: str
    task_id: uuid.UUID | None
    agent_id: uuid.UUID | None
    user_id: uuid.UUID | None
    started_at: datetime
    duration_ms: float
    request_bytes: int = 0
    result_bytes: int = 0
    attempts: int | None = None

    @property
    def outcome(self) -> CallOutcome:
        """Return how it went, in one of a few words."""
        return outcome_of(self.code)


def outcome_of(code: str) -> CallOutcome:
    """Return the outcome that an error's code stands for; no code is `ok`."""
    if not code:
        return CallOutcome.OK
    if code in _REFUSED:
        return CallOutcome.REFUSED
    if code in _LIMITED:
        return CallOutcome.LIMITED
    if code in _HELD:
        return CallOutcome.HELD
    if code == "cancelled":
        return CallOutcome.CANCELLED
    return CallOutcome.TIMEOUT if code.endswith("timeout") else CallOutcome.ERROR


def batch_of(calls: Sequence[CallRecord]) -> str:
    """Write calls down as one text, each with its id, so that storing the text twice stores them once."""
    moment = now().isoformat()
    # Sorted, because ids of one millisecond are in no order, and lists are shown in the order of ids.
    ids = sorted(uuid7() for _ in calls)
    return json.dumps([_row(call_id, call, moment) for call_id, call in zip(ids, calls, strict=True)])


def all_tenants_store_calls(batch: str) -> None:
    """Store a batch of calls, of any organisations, in one statement."""
    with connections["operator"].cursor() as cursor:
        cursor.execute(_INSERT, [batch])


def all_tenants_forget_calls() -> int:
    """Delete some of the calls that are older than KEPT, the oldest first; returns how many.

    By the id, which begins with the time: no index of its own is needed.
    """
    old = McpCall.objects.using("operator").filter(id__lt=first_uuid7_at(now() - KEPT)).order_by("id")
    ids = list(old.values_list("id", flat=True)[:_FORGOTTEN_AT_ONCE])
    deleted, _ = McpCall.objects.using("operator").filter(id__in=ids).delete()
    return deleted


def _row(call_id: uuid.UUID, call: CallRecord, moment: str) -> dict[str, object]:
    return {
        "id": str(call_id),
        "org_id": str(call.org_id),
        "created_at": moment,
        "kind": call.kind,
        "server": storable(call.server)[:80],
        "tool": storable(call.tool)[:200],
        "outcome": call.outcome,
        "code": storable(call.code)[:60],
        "task_id": _text(call.task_id),
        "agent_id": _text(call.agent_id),
        "user_id": _text(call.user_id),
        "started_at": call.started_at.isoformat(),
        "duration_ms": call.duration_ms,
        "request_bytes": call.request_bytes,
        "result_bytes": call.result_bytes,
        "attempts": call.attempts,
    }


def _text(value: uuid.UUID | None) -> str | None:
    return str(value) if value is not None else None
