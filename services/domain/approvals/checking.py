"""What speaks against running a call that was allowed a while ago, and what a task's chat is for the rules."""

from __future__ import annotations

import uuid
from typing import Any

from services.domain.approvals.models import HeldCall
from services.domain.approvals.rule_queries import list_rules_in_force
from services.domain.approvals.rules import ToolUse, judge
from services.domain.identity.models import Membership
from services.domain.tasks.models import FINAL, Task

_MOST_PARENTS = 10


def find_objection(call: HeldCall, arguments: dict[str, Any], target: str) -> str:
    """Return why an allowed call must not run now, empty when it may; in the tenant's transaction.

    The call comes with its approval, its task and the task's agent. `target` is a hash of what would be called now.
    """
    task, agent = call.task, call.task.agent
    if task.status in FINAL or task.cancel_requested_at is not None:
        return "The task that wanted this has ended or is being cancelled, so it was not run."
    if agent.archived_at is not None or call.server not in agent.mcp_servers:
        return f"The agent may not use the server {call.server} any more, so it was not run."
    if task.user_id is not None and not _is_member(task.user_id):
        return "The person that the task works for is not in the organisation any more, so it was not run."
    if not target or target != call.target:
        return "The tool is not the one any more that was to be called, so it was not run. Call it again."
    use = ToolUse(
        server=call.server,
        tool=call.tool,
        arguments=arguments,
        agent_id=task.agent_id,
        chat_id=chat_of(task),
        is_risky=call.is_risky,
    )
    verdict = judge(list_rules_in_force(), use)
    if verdict.effect == "deny":
        return "A rule forbids this call by now, so it was not run."
    if verdict.effect == "hold" and verdict.terms.people > call.approval.people:
        return "By now more people must agree to this call, so it was not run. Call it again to ask them."
    return ""


def chat_of(task: Task) -> uuid.UUID | None:
    """Return the chat that a task came from, or the task that passed it on; in the tenant's transaction."""
    current: Task | None = task
    for _ in range(_MOST_PARENTS):
        if current is None:
            return None
        chat_id = (current.deliver_to or {}).get("chat_id")
        if chat_id:
            return uuid.UUID(chat_id)
        current = Task.objects.filter(id=current.parent_id).first() if current.parent_id else None
    return None


def _is_member(user_id: uuid.UUID) -> bool:
    return Membership.objects.filter(user_id=user_id, user__is_active=True).exists()
