"""Asking for an approval, deciding it, and letting it expire."""

from __future__ import annotations

import hashlib
import json
import uuid
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

from django.db.models import Q

from services.domain.actors import Actor, require
from services.domain.approvals.kinds import KINDS
from services.domain.approvals.models import Approval, ApprovalScope, ApprovalStatus
from services.domain.errors import ApprovalClosed, ApprovalMissing, NotPermitted
from services.domain.events.log import record_event
from services.domain.events.types import ApprovalDecided, ApprovalRequested, EventData
from services.domain.tenancy.transaction import tenant_transaction
from services.kit.clock import now

LIFETIME = timedelta(days=7)
# A hostile sandbox can ask for a million hosts; nobody reads more than these.
MAX_PENDING = 50
_EXPIRE_AT_ONCE = 500

Decision = Literal["allow", "deny"]
Scope = Literal["once", "always"]


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked, of whom it is asked for, and on what occasion."""

    org_id: uuid.UUID
    kind: str
    subject: dict[str, Any]
    workspace_id: uuid.UUID | None = None
    agent_id: uuid.UUID | None = None
    task_id: uuid.UUID | None = None


def request_approval(question: Question) -> Approval | None:
    """Ask for an approval, inside the caller's transaction; the same question is asked once.

    Returns the open or denied one that there is already; None when too many wait. Emits: ApprovalRequested.
    """
    key = _key_of(question.subject)
    of_workspace = Q(workspace=None) if question.workspace_id is None else Q(workspace=question.workspace_id)
    same = Approval.objects.filter(of_workspace, kind=question.kind)
    asked = same.filter(subject_key=key, status__in=(ApprovalStatus.PENDING, ApprovalStatus.DENIED)).order_by(
        "-id"
    )
    found = asked.first()
    if found is not None:
        return found
    if same.filter(status=ApprovalStatus.PENDING).count() >= MAX_PENDING:
        return None
    moment = now()
    approval = Approval(
        org_id=question.org_id,
        workspace_id=question.workspace_id,
        task_id=question.task_id,
        agent_id=question.agent_id,
        kind=question.kind,
        subject=question.subject,
        subject_key=key,
        asked_at=moment,
        expires_at=moment + LIFETIME,
    )
    # Two gateways may ask at once; the row of the first counts.
    Approval.objects.bulk_create([approval], ignore_conflicts=True)
    stored = asked.first()
    if stored is not None and stored.id == approval.id:
        event = ApprovalRequested(
            approval_id=str(approval.id),
            kind=approval.kind,
            subject=approval.subject,
            workspace_id=_text(stored),
        )
        _tell(stored, event)
    return stored


def decide_approval(
    actor: Actor, approval_id: uuid.UUID, decision: Decision, scope: Scope = "once"
) -> Approval:
    """Allow or deny what was asked for: `once` for its workspace, `always` for its agent. Agents decide nothing.

    Raises: ApprovalMissing, ApprovalClosed, NotPermitted, Invalid. Locks: the approval, then the agent.
    Emits: ApprovalDecided.
    """
    if actor.kind == "agent":
        raise NotPermitted("A person decides this.")
    require(actor, "workspaces:write", role="member")
    is_lasting = decision == "allow" and scope == "always"
    if is_lasting:
        require(actor, "agents:write", role="member")
    with tenant_transaction(actor.org_id):
        approval = Approval.objects.select_for_update().filter(id=approval_id).first()
        if approval is None:
            raise ApprovalMissing("There is no such approval.")
        status = ApprovalStatus.ALLOWED if decision == "allow" else ApprovalStatus.DENIED
        chosen = "" if decision == "deny" else ApprovalScope(scope)
        if (approval.status, approval.scope) == (status, chosen):
            return approval
        if not _is_open(approval):
            raise ApprovalClosed("This was decided before, or its time is over.")
        if is_lasting:
            KINDS[approval.kind].grant_always(actor, approval)
        elif decision == "allow":
            KINDS[approval.kind].grant_once(actor, approval)
        _decide(approval, status, scope=chosen, user_id=actor.user_id)
        return approval


def all_tenants_expire_approvals() -> int:
    """Close the questions that nobody answered in time; returns how many. Emits: ApprovalDecided."""
    late = Approval.objects.using("operator").filter(status=ApprovalStatus.PENDING, expires_at__lte=now())
    expired = 0
    for org_id, approval_id in late.values_list("org_id", "id")[:_EXPIRE_AT_ONCE]:
        with tenant_transaction(org_id):
            pending = Approval.objects.select_for_update().filter(
                id=approval_id, status=ApprovalStatus.PENDING
            )
            approval = pending.first()
            if approval is not None:
                _decide(approval, ApprovalStatus.EXPIRED)
                expired += 1
    return expired


def _is_open(approval: Approval) -> bool:
    if approval.status == ApprovalStatus.PENDING:
        return approval.expires_at > now()
    can_change = KINDS[approval.kind].is_changeable
    # What was added to the agent is taken away there.
    is_final = approval.status == ApprovalStatus.EXPIRED or approval.scope == ApprovalScope.ALWAYS
    return can_change and not is_final


def _decide(
    approval: Approval, status: ApprovalStatus, *, scope: str = "", user_id: uuid.UUID | None = None
) -> None:
    approval.status, approval.scope = status, scope
    approval.decided_by_id, approval.decided_at = user_id, now()
    approval.save(update_fields=["status", "scope", "decided_by", "decided_at"])
    event = ApprovalDecided(
        approval_id=str(approval.id), status=status, scope=scope, workspace_id=_text(approval)
    )
    _tell(approval, event)


def _tell(approval: Approval, event: EventData) -> None:
    """Record an event for those who follow the workspace, and for those who follow the organisation, in this order."""
    if approval.workspace_id is not None:
        record_event(f"workspace:{approval.workspace_id}", event, task_id=approval.task_id)
    record_event(f"org:{approval.org_id}", event, task_id=approval.task_id)


def _text(approval: Approval) -> str | None:
    return str(approval.workspace_id) if approval.workspace_id is not None else None


def _key_of(subject: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(subject, sort_keys=True).encode()).hexdigest()
