"""Which chat an approval is shown in: the one its work came from, or the own one of who decides."""

from __future__ import annotations

from services.domain.approvals.models import Approval
from services.domain.chats.sending import Spot
from services.domain.contacts.accounts import find_own_chat
from services.domain.contacts.destinations import find_origin
from services.domain.outbox.jobs import ShowApproval, enqueue
from services.domain.tasks.models import Task


def find_approval_spot(approval: Approval) -> Spot | None:
    """Return where an approval's card goes, or None; inside the tenant's transaction."""
    task = Task.objects.filter(id=approval.task_id).first() if approval.task_id else None
    if task is None:
        return None
    origin = find_origin(task)
    if origin is not None:
        return origin
    people = approval.decider_ids or ([task.user_id] if task.user_id else [])
    chats = (find_own_chat(user_id) for user_id in people)
    found = next((chat for chat in chats if chat is not None), None)
    return Spot(found) if found is not None else None


def announce_approval(approval: Approval) -> None:
    """Have an approval's card shown or changed, if it has a place. Inside the tenant's transaction.

    Queues: ShowApproval.
    """
    if find_approval_spot(approval) is not None:
        enqueue(ShowApproval(org_id=approval.org_id, approval_id=approval.id))
