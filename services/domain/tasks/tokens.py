"""Task tokens: their end, and those that are of no use any more."""

from __future__ import annotations

from datetime import timedelta

from django.db import connection, transaction
from django.db.models import Q

from services.domain.tasks.models import Task, TaskToken
from services.kit.clock import now
from services.kit.redisbus import nudge

TOKENS_CHANNEL = "slipway:nudge:tokens"
_KEPT = timedelta(days=1)
_REVOKE = "UPDATE task_token SET revoked_at = %s WHERE task_id = %s AND revoked_at IS NULL"


def revoke_tokens(task: Task) -> None:
    """Let a task's tokens die with the transaction that is open; gateways hear of it once that commits."""
    with connection.cursor() as cursor:
        cursor.execute(_REVOKE, [now(), task.id])
    task_id = str(task.id)
    transaction.on_commit(lambda: nudge("tokens", task_id), robust=True)


def all_tenants_forget_old_tokens() -> int:
    """Delete tokens that were revoked or expired a day ago; returns how many."""
    edge = now() - _KEPT
    deleted, _ = (
        TaskToken.objects.using("operator").filter(Q(revoked_at__lt=edge) | Q(expires_at__lt=edge)).delete()
    )
    return deleted
