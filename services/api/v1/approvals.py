"""Approvals over REST: what agents ask for, and a person's word on it."""

from __future__ import annotations

import uuid
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from services.api.http.bodies import Closed
from services.api.http.operations import Call, Endpoint, operation
from services.api.http.paging import PageQuery, page_of
from services.api.http.shapes import Moment, Page, Shape
from services.domain.approvals.actions import decide_approval
from services.domain.approvals.models import Approval
from services.domain.approvals.queries import (
    find_call_of,
    get_approval,
    list_approvals,
    list_choices,
    list_votes,
    show_subject,
)
from services.domain.errors import AgentArchived, AgentMissing, ApprovalClosed, ApprovalMissing, NotTheDecider
from services.domain.tenancy.transaction import tenant_transaction


class ApprovalDecision(Closed):
    """The decision. A yes holds for this workspace (`once`), or for the agent from now on (`always`).

    Where the approval has `choices`, a yes needs the `value` of one, or for a `new_chat` any agent's id.
    """

    decision: Literal["allow", "deny"]
    scope: Literal["once", "always"] = "once"
    choice: str = Field(default="", max_length=60)


class YesShape(BaseModel):
    """One person's yes, where two are needed."""

    model_config = ConfigDict(extra="forbid")

    user_id: uuid.UUID
    scope: Literal["once", "always"]
    at: Moment


class ChoiceShape(BaseModel):
    """One of the things that a yes chooses between."""

    model_config = ConfigDict(extra="forbid")

    value: str
    label: str


class HeldCallShape(BaseModel):
    """What became of the call that a `tool_call` is about: it waits, runs, has run, or was not run for a reason."""

    model_config = ConfigDict(extra="forbid")

    state: Literal["held", "running", "done", "refused", "lost"]
    reason: str
    finished_at: Moment | None


class ApprovalShape(Shape):
    """Something that an agent asks for; `title` is the subject in one line.

    For `egress` the subject is the host, the port and perhaps the methods, for `tool_call` the server, the tool and all
    arguments, and of files that it carries outside `files`: path, name, size and SHA-256. `people` must agree, `agreed`
    have. `decider_role` at least decides it, or one of `decider_ids`.
    """

    id: uuid.UUID
    kind: str
    subject: dict[str, Any]
    workspace_id: uuid.UUID | None
    task_id: uuid.UUID | None
    agent_id: uuid.UUID | None
    rule_id: uuid.UUID | None
    title: str
    status: Literal["pending", "allowed", "denied", "expired"]
    scope: str
    choices: list[ChoiceShape]
    choice: str
    people: int
    agreed: list[YesShape]
    decider_role: str
    decider_ids: list[uuid.UUID]
    may_decide_own: bool
    call: HeldCallShape | None
    asked_at: Moment
    expires_at: Moment
    decided_by_id: uuid.UUID | None
    decided_at: Moment | None

    @classmethod
    def of(cls, approval: Approval) -> Self:
        """Show a row that was read with its votes and its call, in the tenant's transaction."""
        made = {"title", "agreed", "call", "choices"}
        same = {name: getattr(approval, name) for name in cls.model_fields if name not in made}
        call = find_call_of(approval)
        return cls(
            **same,
            title=show_subject(approval),
            choices=[ChoiceShape(value=one.value, label=one.label) for one in list_choices(approval)],
            agreed=[
                YesShape(user_id=vote.user_id, scope=vote.scope, at=vote.created_at)
                for vote in list_votes(approval)
            ],
            call=HeldCallShape(state=call.state, reason=call.reason, finished_at=call.finished_at)
            if call
            else None,
        )


class ApprovalQuery(PageQuery):
    """Which approvals."""

    status: Literal["pending", "allowed", "denied", "expired"] | None = None
    kind: str | None = Field(default=None, pattern=r"^[a-z_]{1,20}$")
    workspace_id: uuid.UUID | None = None
    task_id: uuid.UUID | None = None
    agent_id: uuid.UUID | None = None


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

    @operation(errors=(ApprovalMissing, ApprovalClosed, NotTheDecider, AgentMissing, AgentArchived))
    def post(self, call: Call, approval_id: uuid.UUID, body: ApprovalDecision) -> ApprovalShape:
        """Allow or deny what was asked for; where two people must agree, the first yes leaves it pending."""
        decided = decide_approval(call.actor, approval_id, body.decision, body.scope, choice=body.choice)
        with tenant_transaction(call.actor.org_id):
            return ApprovalShape.of(decided)
