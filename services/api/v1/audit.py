"""The audit log over REST."""

from __future__ import annotations

import uuid
from typing import Any, Self

from pydantic import AwareDatetime, Field

from services.api.http.operations import Call, Endpoint, operation
from services.api.http.paging import PageQuery, page_of
from services.api.http.shapes import Moment, Page, Shape
from services.domain.audit.models import AuditAction, AuditRecord
from services.domain.audit.queries import list_audit
from services.domain.errors import RoleMissing


class AuditQuery(PageQuery):
    """Which part of the log."""

    action: AuditAction | None = None
    actor_id: uuid.UUID | None = Field(default=None, description="Whose doing it was.")
    user_id: uuid.UUID | None = Field(default=None, description="Whose account it is about.")
    subject_id: str | None = Field(default=None, max_length=80, description="What it is about.")
    since: AwareDatetime | None = None
    until: AwareDatetime | None = None

    def filters(self) -> dict[str, Any]:
        """Return the look-ups; the times are bounds of when it happened."""
        found = super().filters()
        for name, lookup in (("since", "created_at__gte"), ("until", "created_at__lt")):
            if name in found:
                found[lookup] = found.pop(name)
        return found


class AuditActor(Shape):
    """Who did it, by the name of that time."""

    kind: str
    id: uuid.UUID | None
    name: str
    token_id: uuid.UUID | None


class AuditSubject(Shape):
    """What it is about, by the name of that time."""

    kind: str
    id: str
    name: str
    user_id: uuid.UUID | None


class AuditShape(Shape):
    """One record. `reason` says why, of what was refused; `address` and `device` are the request's."""

    id: uuid.UUID
    at: Moment
    action: AuditAction
    actor: AuditActor
    subject: AuditSubject
    reason: str
    details: dict[str, Any]
    address: str
    device: str
    request_id: str

    @classmethod
    def of(cls, row: AuditRecord) -> Self:
        """Show a row."""
        return cls(
            id=row.id,
            at=row.created_at,
            action=AuditAction(row.action),
            actor=AuditActor(
                kind=row.actor_kind, id=row.actor_id, name=row.actor_name, token_id=row.token_id
            ),
            subject=AuditSubject(
                kind=row.subject_kind, id=row.subject_id, name=row.subject_name, user_id=row.user_id
            ),
            reason=row.reason,
            details=row.details,
            address=row.address,
            device=row.device,
            request_id=row.request_id,
        )


class Audit(Endpoint):
    """The audit log."""

    tag = "audit"

    @operation(errors=(RoleMissing,))
    def get(self, call: Call, query: AuditQuery) -> Page[AuditShape]:
        """List what changed who may do what, and who signed in, newest first. Admins only."""
        return page_of(list_audit(call.actor), query, AuditShape.of)
