"""Adding to the audit log, in the transaction of the change that is recorded."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Self

from django.contrib.auth import get_user_model
from django.db import transaction

from services.domain.actors import Actor
from services.domain.audit.models import AuditAction, AuditRecord
from services.kit.origin import current_origin


@dataclass(frozen=True, slots=True)
class Subject:
    """What a change is about: its kind, its id, and its name at that time. `user_id` where it is a person's."""

    kind: str
    id: object
    name: str = ""
    user_id: uuid.UUID | None = None

    @classmethod
    def of(cls, kind: str, row: Any) -> Self:
        """Return a named row as what a record is about; one of a person's own is about that person too."""
        return cls(kind, row.pk, row.name, getattr(row, "owner_id", None))


def record_audit(
    actor: Actor, action: AuditAction, subject: Subject, *, using: str = "default", **details: Any
) -> None:
    """Write down what the actor did. `details` are JSON values; no secret belongs there. In the open transaction."""
    _require_transaction(using)
    _write(actor.org_id, action, _who(actor, using), subject, using, details=details)


def all_tenants_record_of_account(
    user_id: uuid.UUID,
    email: str,
    org_ids: Iterable[uuid.UUID],
    action: AuditAction,
    *,
    reason: str = "",
    **details: Any,
) -> None:
    """Write down what became of an account, in each organisation that it opens. In the operators' transaction."""
    _require_transaction("operator")
    who = {"actor_kind": "user", "actor_id": user_id, "actor_name": email}
    for org_id in org_ids:
        subject = Subject("account", user_id, email, user_id)
        _write(org_id, action, who, subject, "operator", reason=reason, details=details)


def _who(actor: Actor, using: str) -> dict[str, Any]:
    name = ""
    if actor.user_id is not None:
        people = get_user_model().objects.using(using)
        name = people.filter(pk=actor.user_id).values_list("email", flat=True).first() or ""
    return {
        "actor_kind": actor.kind,
        "actor_id": actor.user_id or actor.agent_id,
        "actor_name": name,
        "token_id": actor.token_id,
    }


def _write(
    org_id: uuid.UUID,
    action: AuditAction,
    who: dict[str, Any],
    subject: Subject,
    using: str,
    *,
    details: dict[str, Any],
    reason: str = "",
) -> None:
    origin = current_origin.get()
    AuditRecord.objects.using(using).create(
        org_id=org_id,
        action=action,
        user_id=subject.user_id,
        subject_kind=subject.kind,
        subject_id=str(subject.id)[:80],
        subject_name=subject.name[:254],
        reason=reason[:60],
        details=details,
        address=origin.address,
        device=origin.device[:300],
        request_id=origin.request_id[:100],
        **who,
    )


def _require_transaction(using: str) -> None:
    if not transaction.get_connection(using).in_atomic_block:
        raise RuntimeError("a change is recorded in its own transaction")
