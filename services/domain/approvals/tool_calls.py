"""What a yes to a tool call means: the call may run while its task lasts, or the tool is free from now on."""

from __future__ import annotations

from services.domain.actors import Actor
from services.domain.approvals.models import Approval
from services.domain.approvals.rule_actions import create_rule
from services.domain.approvals.rule_queries import to_rule
from services.domain.approvals.rules import RuleFields
from services.domain.approvals.subjects import ToolCallSubject
from services.domain.errors import ApprovalClosed, Conflict
from services.domain.tasks.models import FINAL

_HIGHEST_PRIORITY = 100


def allow_call(actor: Actor, approval: Approval) -> None:
    """Let the held call run: whoever serves its task sees it. Raises: ApprovalClosed when there is no task any more."""
    if approval.task is None or approval.task.status in FINAL:
        raise ApprovalClosed("The task that wanted this has ended: the call will not run.")


def allow_tool(actor: Actor, approval: Approval) -> None:
    """Let the held call run, and make a rule that lets the agent call the tool from now on.

    The rule is as narrow as the one that held the call, and comes just before it.
    Raises: ApprovalClosed, RoleMissing, Conflict, and what `create_rule` raises.
    """
    allow_call(actor, approval)
    call = ToolCallSubject.model_validate(approval.subject)
    held_by = to_rule(approval.rule) if approval.rule else None
    if held_by is not None and held_by.priority >= _HIGHEST_PRIORITY:
        raise Conflict("A rule of the highest priority holds this. Change the rule, or allow the call once.")
    create_rule(
        actor,
        RuleFields(
            name="Allowed for good",
            effect="allow",
            tool=f"{call.server}.{call.tool}",
            agent_id=approval.agent_id,
            chat_id=held_by.chat_id if held_by else None,
            arguments=held_by.arguments if held_by else [],
            priority=held_by.priority + 1 if held_by else 0,
        ),
    )
