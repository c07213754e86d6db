"""Task tokens that are of no use any more."""

from __future__ import annotations

from datetime import timedelta

from django.db.models import Q

from services.domain.tasks.models import TaskToken
from services.kit.clock import now

_KEPT = timedelta(days=1)


def all_tenants_forget_old_tokens() -> int:
    """Delete tokens that were revoked or expired a day ago; returns how many."""
    edge = now() - _KEPT
    deleted, _ = (
        TaskToken.objects.using("operator").filter(Q(revoked_at__lt=edge) | Q(expires_at__lt=edge)).delete()
    )
    return deleted
