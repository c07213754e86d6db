"""A person's account as their organisations see it."""

from __future__ import annotations

from typing import Any

from django.db import transaction

from services.domain.audit.models import AuditAction
from services.domain.audit.recording import all_tenants_record_of_account
from services.domain.identity.models import Membership, User

MAX_RECORDED = 50


def all_tenants_record_account(user: User, action: AuditAction, *, reason: str = "", **details: Any) -> None:
    """Write down what became of an account, in the logs of the organisations that it opens, up to fifty of them."""
    memberships = Membership.objects.using("operator").filter(user_id=user.pk).order_by("id")
    with transaction.atomic(using="operator"):
        org_ids = list(memberships.values_list("org_id", flat=True)[:MAX_RECORDED])
        all_tenants_record_of_account(user.pk, user.email, org_ids, action, reason=reason, **details)
