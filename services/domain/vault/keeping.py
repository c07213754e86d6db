"""What the sweeps do for the vault: forget what is old, and tell people of what runs out."""

from __future__ import annotations

import uuid
from datetime import timedelta

from django.db.models import F, Q

from services.domain.agents.queries import ADMINS
from services.domain.events.types import NotificationCreated
from services.domain.identity.models import Membership
from services.domain.push.telling import tell_person
from services.domain.tasks.models import ACTIVE
from services.domain.tenancy.transaction import tenant_transaction
from services.domain.vault.actions import VERSIONS_KEPT
from services.domain.vault.models import CredentialAccess, Secret, SecretPlaceholder, SecretVersion
from services.kit.clock import now, rfc3339

NOTICE = timedelta(days=7)
ACCESSES_KEPT = timedelta(days=400)
PLACEHOLDERS_KEPT = timedelta(days=2)
_AT_ONCE = 500


def all_tenants_forget_old_versions() -> int:
    """Delete values that are out of use for long, uses of long ago, and placeholders of tasks that have ended."""
    moment = now()
    versions = SecretVersion.objects.using("operator").filter(retired_at__lt=moment - VERSIONS_KEPT)
    accesses = CredentialAccess.objects.using("operator").filter(created_at__lt=moment - ACCESSES_KEPT)
    placeholders = SecretPlaceholder.objects.using("operator").filter(
        created_at__lt=moment - PLACEHOLDERS_KEPT
    )
    return (
        versions.delete()[0]
        + accesses.delete()[0]
        + placeholders.exclude(task__status__in=ACTIVE).delete()[0]
    )


def all_tenants_notice_expiring() -> int:
    """Tell the owner, or the organisation's admins, of secrets that expire soon or have; returns how many.

    Once a week before, and once when it is over. Emits: NotificationCreated.
    """
    moment = now()
    due = Q(noticed_at=None, expires_at__lte=moment + NOTICE) | Q(
        expires_at__lte=moment, noticed_at__lt=F("expires_at")
    )
    rows = Secret.objects.using("operator").filter(due).values_list("org_id", "id")[:_AT_ONCE]
    return sum(_notice(org_id, secret_id, due) for org_id, secret_id in rows)


def _notice(org_id: uuid.UUID, secret_id: uuid.UUID, due: Q) -> int:
    with tenant_transaction(org_id):
        secret = Secret.objects.select_for_update(of=("self",)).filter(due, id=secret_id).first()
        if secret is None or secret.expires_at is None:
            return 0
        secret.noticed_at = now()
        secret.save(update_fields=["noticed_at"])
        is_over = secret.expires_at <= secret.noticed_at
        state = "has expired" if is_over else f"expires on {rfc3339(secret.expires_at)}"
        for user_id in _people_of(secret):
            tell_person(
                user_id,
                NotificationCreated(
                    message=f"The secret {secret.name} {state}. Agents get it no more after that.",
                    urgency="high" if is_over else "normal",
                ),
            )
        return 1


def _people_of(secret: Secret) -> list[uuid.UUID]:
    members = Membership.objects.all()
    chosen = members.filter(user_id=secret.owner_id) if secret.owner_id else members.filter(role__in=ADMINS)
    return list(chosen.order_by("user_id").values_list("user_id", flat=True))
