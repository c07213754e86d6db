"""Approvals over REST: what agents ask for, and a person's word on it."""

from __future__ import annotations

import uuid
from typing import Any, Literal, Self

from pydantic import Field

from services.api.http.bodies import Closed
from services.api.http.operations import Call, Endpoint, operation
from services.api.http.paging import PageQuery, page_of
from services.api.http.shapes import Moment, Page, Shape
from services.domain.approvals.actions import decide_approval
from services.domain.approvals.models import Approval
from services.domain.approvals.queries import get_approval, list_approvals
from services.domain.errors import ApprovalClosed, ApprovalMissing


class ApprovalDecision(Closed):
    """The decision. A yes holds for this workspace (`once`), or for the agent from now on (`always`)."""

    decision: Literal["allow", "deny"]
    scope: Literal["once", "always"] = "once"


class ApprovalShape(Shape):
    """Something that an agent asks for. For `egress` the subject is the host, the port and perhaps the methods."""

    id: uuid.UUID
    kind: str
    subject: dict[str, Any]
    workspace_id: uuid.UUID | None
    task_id: uuid.UUID | None
    agent_id: uuid.UUID | None
    status: Literal["pending", "allowed", "denied", "expired"]
    scope: str
    asked_at: Moment
    expires_at: Moment
    decided_by_id: uuid.UUID | None
    decided_at: Moment | None

    @classmethod
    def of(cls, approval: Approval) -> Self:
        """Show a row."""
        return cls.model_validate(approval)


class ApprovalQuery(PageQuery):
    """Which approvals."""

    status: Literal["pending", "allowed", "denied", "expired"] | None = None
    kind: str | None = Field(default=None, pattern=r"^[a-z_]{1,20}$")
    workspace_id: uuid.UUID | None = None


class Approvals(Endpoint):
    """All approvals."""

    tag = "approvals"

    @operation()
    def get(self, call: Call, query: ApprovalQuery) -> Page[ApprovalShape]:
        """List what agents asked for, newest first."""
        return page_of(list_approvals(call.actor), query, ApprovalShape.of)


class OneApproval(Endpoint):
    """One approval."""

    tag = "approvals"

    @operation(errors=(ApprovalMissing,))
    def get(self, call: Call, approval_id: uuid.UUID) -> ApprovalShape:
        """Show what was asked for, and what became of it."""
        return ApprovalShape.of(get_approval(call.actor, approval_id))


class ApprovalDecide(Endpoint):
    """Deciding one approval."""

    tag = "approvals"

    @operation(errors=(ApprovalMissing, ApprovalClosed))
    def post(self, call: Call, approval_id: uuid.UUID, body: ApprovalDecision) -> ApprovalShape:
        """Allow or deny what was asked for."""
        return ApprovalShape.of(decide_approval(call.actor, approval_id, body.decision, body.scope))
