"""Reading approvals."""

from __future__ import annotations

import uuid

from django.db.models import QuerySet

from services.domain.actors import Actor, may, require
from services.domain.agents.queries import of_named_agents
from services.domain.approvals.kinds import KINDS
from services.domain.approvals.models import Approval, ApprovalStatus, ApprovalVote, HeldCall
from services.domain.approvals.subjects import EGRESS, Choice
from services.domain.errors import ApprovalMissing
from services.kit.clock import now

DECIDED_SHOWN = 30
PENDING_SHOWN = 200
HELD_SHOWN = 20


def list_approvals(actor: Actor) -> QuerySet[Approval]:
    """Return the approvals that the actor may see; to be read in the tenant's transaction."""
    require(actor, "workspaces:read")
    rows = Approval.objects.select_related("workspace", "agent", "call").prefetch_related("votes__user")
    return rows.filter(of_named_agents(actor)).defer("call__sealed_arguments", "call__result")


def get_approval(actor: Actor, approval_id: uuid.UUID) -> Approval:
    """Return one approval. Raises: ApprovalMissing."""
    approval = list_approvals(actor).filter(id=approval_id).first()
    if approval is None:
        raise ApprovalMissing("There is no such approval.")
    return approval


def list_pending_approvals(actor: Actor) -> list[Approval]:
    """List what waits for somebody's word, the newest first; in the tenant's transaction."""
    rows = list_approvals(actor).filter(status=ApprovalStatus.PENDING, expires_at__gt=now())
    return list(rows.order_by("-id")[:PENDING_SHOWN])


def list_held_in(actor: Actor, workspace_id: uuid.UUID) -> list[Approval]:
    """List what a workspace waits for a word on, the oldest first; hosts not, which its conversation shows."""
    rows = list_approvals(actor).filter(workspace_id=workspace_id, status=ApprovalStatus.PENDING)
    return list(rows.exclude(kind=EGRESS).filter(expires_at__gt=now()).order_by("id")[:HELD_SHOWN])


def list_decided_approvals(actor: Actor) -> list[Approval]:
    """List what was decided last; in the tenant's transaction."""
    rows = list_approvals(actor).filter(status__in=(ApprovalStatus.ALLOWED, ApprovalStatus.DENIED))
    return list(rows.select_related("decided_by").order_by("-decided_at")[:DECIDED_SHOWN])


def count_pending_approvals(actor: Actor) -> int:
    """Count what waits for somebody's word; 0 for an actor who may not see it. In the tenant's transaction."""
    if not may(actor, "workspaces:read"):
        return 0
    return Approval.objects.filter(status=ApprovalStatus.PENDING, expires_at__gt=now()).count()


def show_subject(approval: Approval) -> str:
    """Return what is asked for in one line."""
    return KINDS[approval.kind].show(approval.subject)


def list_choices(approval: Approval) -> list[Choice]:
    """Return what a yes chooses between; empty where a yes says it all."""
    return KINDS[approval.kind].choices_of(approval.subject)


def list_votes(approval: Approval) -> list[ApprovalVote]:
    """List the yeses of what two must agree to, the first one first; in the tenant's transaction."""
    return sorted(approval.votes.all(), key=lambda vote: vote.id)


def find_call_of(approval: Approval) -> HeldCall | None:
    """Return the call that an approval of that kind holds; in the tenant's transaction."""
    # Django's "there is none" is an AttributeError as well.
    call: HeldCall | None = getattr(approval, "call", None)
    return call
