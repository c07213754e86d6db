"""Reading the audit log, and ending what has been kept for long enough."""

from __future__ import annotations

import uuid
from datetime import datetime

from django.db import connections
from django.db.models import QuerySet

from services.domain.actors import Actor, require
from services.domain.audit.models import AuditRecord


def list_audit(actor: Actor) -> QuerySet[AuditRecord]:
    """Return what happened in the organisation, for its admins; to be read in the tenant's transaction.

    Raises: ScopeMissing, RoleMissing.
    """
    require(actor, "audit:read", role="admin")
    return AuditRecord.objects.all()


def all_tenants_forget_audit(before: datetime) -> int:
    """Delete what is older, and returns how much that was; nothing younger than 90 days goes, whatever is asked for."""
    return _purge(before, None)


def all_tenants_forget_audit_of(org_id: uuid.UUID) -> int:
    """Delete the log of an organisation whose time has come, together with the organisation itself."""
    return _purge(None, org_id)


def _purge(before: datetime | None, org_id: uuid.UUID | None) -> int:
    with connections["operator"].cursor() as cursor:
        cursor.execute("SELECT purge_audit(%s, %s)", [before, org_id])
        return int(cursor.fetchone()[0])
