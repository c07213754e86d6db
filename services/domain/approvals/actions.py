"""Asking for an approval, deciding it, using it, and letting it expire."""

from __future__ import annotations

import hashlib
import json
import uuid
from dataclasses import dataclass
from typing import Any, Literal

from django.db.models import Q, QuerySet

from services.domain.actors import Actor, require
from services.domain.agents.queries import of_named_agents
from services.domain.approvals.deciders import add_yes, list_good_votes, refuse_own_alone, require_decider
from services.domain.approvals.grants import find_refusal_of
from services.domain.approvals.kinds import KINDS
from services.domain.approvals.models import Approval, ApprovalScope, ApprovalStatus, ApprovalVote
from services.domain.approvals.rules import Terms
from services.domain.approvals.subjects import TOOL_CALL
from services.domain.approvals.telling import tell_agreed, tell_decided, tell_requested
from services.domain.errors import ApprovalClosed, ApprovalMissing, Invalid, NotPermitted
from services.domain.tasks.models import Task
from services.domain.tenancy.transaction import tenant_transaction
from services.kit.clock import now

# A hostile sandbox can ask for a million hosts; nobody reads more than these.
MAX_PENDING = 50
_EXPIRE_AT_ONCE = 500

Decision = Literal["allow", "deny"]
Scope = Literal["once", "always"]


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked, of whom it is asked for, and on what occasion.

    `subject` is the kind's own, as its model stores it. `identity` is what makes two questions the same, where that is
    not the subject. `terms` say how it is decided, where the kind's own are not meant.
    """

    org_id: uuid.UUID
    kind: str
    subject: dict[str, Any]
    workspace_id: uuid.UUID | None = None
    agent_id: uuid.UUID | None = None
    task_id: uuid.UUID | None = None
    identity: dict[str, Any] | None = None
    terms: Terms | None = None
    rule_id: uuid.UUID | None = None

    @property
    def key(self) -> str:
        """Return a hash by which the same question is recognised."""
        what = self.subject if self.identity is None else self.identity
        return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()


def request_approval(question: Question) -> Approval | None:
    """Ask for an approval, inside the caller's transaction; the same question is asked once.

    Returns the open or denied one that there is already; None when too many wait. Emits: ApprovalRequested.
    """
    same = _same_place(question)
    asked = same.filter(
        subject_key=question.key, status__in=(ApprovalStatus.PENDING, ApprovalStatus.DENIED)
    ).order_by("-id")
    found = asked.first()
    if found is not None and not _is_late(found):
        return found
    if found is not None:
        _expire(found.id)
    if same.filter(status=ApprovalStatus.PENDING).count() >= MAX_PENDING:
        return None
    approval = _made(question)
    # Two gateways may ask at once; the row of the first counts.
    Approval.objects.bulk_create([approval], ignore_conflicts=True)
    stored = asked.first()
    if stored is not None and stored.id == approval.id:
        tell_requested(approval)
    return stored


def decide_approval(
    actor: Actor, approval_id: uuid.UUID, decision: Decision, scope: Scope = "once", *, choice: str = ""
) -> Approval:
    """Allow or deny what was asked for: `once` for its workspace, `always` for its agent. Agents decide nothing.

    Of kinds whose yes chooses, `choice` says what; such a yes holds from then on.
    Where two people must agree, the first yes is kept and the approval stays pending; one no is enough.
    Raises: ApprovalMissing, ApprovalClosed, NotPermitted, NotTheDecider, Invalid. Locks: the approval, then the agent.
    Emits: ApprovalAgreed or ApprovalDecided.
    """
    if actor.kind == "agent":
        raise NotPermitted("A person decides this.")
    require(actor, "workspaces:write", role="member")
    if decision == "allow" and scope == "always":
        require(actor, "agents:write", role="member")
    with tenant_transaction(actor.org_id):
        approval = Approval.objects.select_for_update().filter(of_named_agents(actor), id=approval_id).first()
        if approval is None:
            raise ApprovalMissing("There is no such approval.")
        require_decider(actor, approval)
        scope = _check_choice(approval, decision, scope, choice)
        status = ApprovalStatus.ALLOWED if decision == "allow" else ApprovalStatus.DENIED
        chosen = "" if decision == "deny" else ApprovalScope(scope)
        if (approval.status, approval.scope, approval.choice) == (status, chosen, choice):
            return approval
        if not _is_open(approval):
            raise ApprovalClosed("This was decided before, or its time is over.")
        approval.choice = choice
        if decision == "allow":
            _allow(actor, approval, ApprovalScope(scope))
        else:
            ApprovalVote.objects.filter(approval=approval).delete()
            close_locked_approval(approval, status, user_id=actor.user_id)
        return approval


def use_approval(question: Question) -> Approval | None:
    """Take one use of what was allowed once, inside the caller's transaction; None when there is none left.

    For kinds whose yes is good for one use: of many that ask at once, one gets it.
    """
    allowed = (
        _same_place(question)
        .select_for_update(of=("self",))
        .filter(
            subject_key=question.key,
            status=ApprovalStatus.ALLOWED,
            scope=ApprovalScope.ONCE,
            used_at=None,
            expires_at__gt=now(),
        )
    )
    approval = allowed.order_by("id").first()
    if approval is None:
        return None
    approval.used_at = now()
    approval.save(update_fields=["used_at"])
    return approval


def all_tenants_expire_approvals() -> int:
    """Close the questions that nobody answered in time; returns how many. Emits: ApprovalDecided."""
    late = Approval.objects.using("operator").filter(status=ApprovalStatus.PENDING, expires_at__lte=now())
    expired = 0
    for org_id, approval_id in late.values_list("org_id", "id")[:_EXPIRE_AT_ONCE]:
        with tenant_transaction(org_id):
            expired += _expire(approval_id)
    return expired


def all_tenants_close_calls_of_ended_tasks() -> int:
    """Close the questions about calls whose task has ended; returns how many. Emits: ApprovalDecided."""
    moot = Approval.objects.using("operator").filter(
        status=ApprovalStatus.PENDING, kind=TOOL_CALL, task__finished_at__isnull=False
    )
    closed = 0
    for org_id, approval_id in moot.values_list("org_id", "id")[:_EXPIRE_AT_ONCE]:
        with tenant_transaction(org_id):
            closed += _expire(approval_id)
    return closed


def close_locked_approval(
    approval: Approval,
    status: ApprovalStatus,
    *,
    scope: str = "",
    user_id: uuid.UUID | None = None,
    agreed_by: tuple[uuid.UUID, ...] = (),
) -> None:
    """Write down what became of an approval whose row is locked. Emits: ApprovalDecided."""
    approval.status, approval.scope = status, scope
    approval.decided_by_id, approval.decided_at = user_id, now()
    approval.save(update_fields=["status", "scope", "choice", "decided_by", "decided_at"])
    refusal = find_refusal_of(approval.kind)
    if refusal is not None and status != ApprovalStatus.ALLOWED:
        refusal(approval)
    tell_decided(approval, agreed_by)


def _check_choice(approval: Approval, decision: Decision, scope: Scope, choice: str) -> Scope:
    """Refuse a yes without its choice, or a choice where there is none; returns how far the decision reaches."""
    if not KINDS[approval.kind].has_choice:
        if choice:
            raise Invalid("There is nothing to choose here.", fields={"choice": "not expected"})
        return scope
    if decision == "deny":
        if choice:
            raise Invalid("A no chooses nothing.", fields={"choice": "not expected"})
        return scope
    try:
        uuid.UUID(choice)
    except ValueError as error:
        raise Invalid("Choose one of what is offered.", fields={"choice": "missing or malformed"}) from error
    return "always"


def _is_late(approval: Approval) -> bool:
    return approval.status == ApprovalStatus.PENDING and approval.expires_at <= now()


def _expire(approval_id: uuid.UUID) -> bool:
    pending = Approval.objects.select_for_update().filter(id=approval_id, status=ApprovalStatus.PENDING)
    approval = pending.first()
    if approval is not None:
        close_locked_approval(approval, ApprovalStatus.EXPIRED)
    return approval is not None


def _allow(actor: Actor, approval: Approval, scope: ApprovalScope) -> None:
    refuse_own_alone(actor, approval)
    agreed_by: tuple[uuid.UUID, ...] = ()
    if approval.people > 1:
        is_new = add_yes(actor, approval, scope)
        votes = list_good_votes(approval)
        if len(votes) < approval.people:
            if is_new and actor.user_id is not None:
                tell_agreed(approval, actor.user_id, len(votes))
            return
        agreed_by = tuple(vote.user_id for vote in votes)
        # It reaches as far as all of them meant.
        is_lasting = all(vote.scope == ApprovalScope.ALWAYS for vote in votes)
        scope = ApprovalScope.ALWAYS if is_lasting else ApprovalScope.ONCE
    KINDS[approval.kind].grant(actor, approval, scope.value)
    close_locked_approval(
        approval, ApprovalStatus.ALLOWED, scope=scope, user_id=actor.user_id, agreed_by=agreed_by
    )


def _same_place(question: Question) -> QuerySet[Approval]:
    of_workspace = Q(workspace=None) if question.workspace_id is None else Q(workspace=question.workspace_id)
    return Approval.objects.filter(of_workspace, kind=question.kind)


def _made(question: Question) -> Approval:
    moment = now()
    terms = question.terms or KINDS[question.kind].terms
    task = Task.objects.filter(id=question.task_id).only("user_id").first() if question.task_id else None
    return Approval(
        org_id=question.org_id,
        workspace_id=question.workspace_id,
        task_id=question.task_id,
        agent_id=question.agent_id,
        rule_id=question.rule_id,
        for_user_id=task.user_id if task else None,
        kind=question.kind,
        subject=question.subject,
        subject_key=question.key,
        people=terms.people,
        decider_role=terms.decider_role,
        decider_ids=list(terms.decider_ids),
        may_decide_own=terms.may_decide_own,
        asked_at=moment,
        expires_at=moment + terms.lifetime,
    )


def _is_open(approval: Approval) -> bool:
    if approval.status == ApprovalStatus.PENDING:
        return approval.expires_at > now()
    can_change = KINDS[approval.kind].is_changeable
    # What was added to the agent is taken away there.
    is_final = approval.status == ApprovalStatus.EXPIRED or approval.scope == ApprovalScope.ALWAYS
    return can_change and not is_final
