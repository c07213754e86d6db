"""Telling the owner what an agent was refused, and asking whether it may."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import ValidationError

from services.domain.approvals.actions import Question, request_approval
from services.domain.approvals.subjects import EGRESS, EgressSubject
from services.domain.egress.policy import Policy
from services.domain.egress.rules import EgressRule
from services.domain.events.log import NewEvent, record_events
from services.domain.events.types import EgressRefused
from services.domain.tasks.models import Task
from services.domain.tenancy.transaction import tenant_transaction
from services.domain.workspaces.models import Workspace

HOST_REFUSED = "host_not_allowed"
METHOD_REFUSED = "method_not_allowed"


@dataclass(frozen=True, slots=True)
class Refusal:
    """What was refused, why, and how often in this task so far."""

    host: str
    port: int
    method: str
    reason: str
    count: int = 1


def record_refusals(policy: Policy, refusals: Sequence[Refusal]) -> None:
    """Show refusals on the workspace's stream. A person can cure some of them, and is asked.

    A workspace that is gone is no error. Emits: EgressRefused, ApprovalRequested.
    """
    with tenant_transaction(policy.org_id):
        if not Workspace.objects.filter(id=policy.workspace_id).exists():
            return
        turn = _turn_of(policy.task_id) if policy.task_id else None
        events = []
        for refusal in refusals:
            question = _find_question(policy, refusal)
            approval = request_approval(question) if question else None
            event = EgressRefused(
                host=refusal.host,
                port=refusal.port,
                method=refusal.method,
                reason=refusal.reason,
                count=refusal.count,
                approval_id=str(approval.id) if approval else None,
            )
            events.append(NewEvent(event, policy.task_id, turn))
        record_events(f"workspace:{policy.workspace_id}", events)


def _turn_of(task_id: uuid.UUID) -> int | None:
    return Task.objects.filter(id=task_id).values_list("turn", flat=True).first()


def _find_question(policy: Policy, refusal: Refusal) -> Question | None:
    """Return what to ask a person; None where no entry of the list could let it through."""
    if refusal.reason not in (HOST_REFUSED, METHOD_REFUSED):
        return None
    methods = [refusal.method] if refusal.reason == METHOD_REFUSED else None
    try:
        rule = EgressRule(host=refusal.host, port=refusal.port, methods=methods)
    except ValidationError:
        return None
    subject = EgressSubject(host=rule.host, port=refusal.port, methods=rule.methods)
    return Question(
        policy.org_id, EGRESS, subject.model_dump(), policy.workspace_id, policy.agent_id, policy.task_id
    )
