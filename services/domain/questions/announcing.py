"""Which chats an approval is shown in: the one its work came from, or the own ones of who decides."""

from __future__ import annotations

import uuid

from services.domain.approvals.models import Approval
from services.domain.chats.sending import Spot
from services.domain.contacts.accounts import find_own_chat
from services.domain.contacts.destinations import find_origin
from services.domain.identity.models import Membership
from services.domain.outbox.jobs import PushApproval, ShowApproval, enqueue
from services.domain.push.models import PushSubscription
from services.domain.tasks.models import Task

MAX_CARDS = 10
# Members are too many to be asked one by one: theirs wait in the dashboard.
_ROLES_OF = {"admin": ("admin", "owner"), "owner": ("owner",)}


def find_approval_spots(approval: Approval) -> list[Spot]:
    """Return where an approval's card goes; inside the tenant's transaction."""
    task = Task.objects.filter(id=approval.task_id).first() if approval.task_id else None
    origin = find_origin(task) if task is not None else None
    if origin is not None:
        return [origin]
    chats = [find_own_chat(user_id) for user_id in _list_deciders(approval, task)]
    return [Spot(chat) for chat in dict.fromkeys(chat for chat in chats if chat is not None)][:MAX_CARDS]


def announce_approval(approval: Approval) -> None:
    """Have an approval's cards shown or changed, if they have a place. Inside the tenant's transaction.

    Queues: ShowApproval.
    """
    if find_approval_spots(approval):
        enqueue(ShowApproval(org_id=approval.org_id, approval_id=approval.id))


def push_request(approval: Approval) -> None:
    """Show to whoever is asked, in their browsers, that an approval waits; not where a chat has its card.

    Inside the tenant's transaction. Queues: PushApproval for each browser.
    """
    task = Task.objects.filter(id=approval.task_id).first() if approval.task_id else None
    if task is not None and find_origin(task) is not None:
        return
    people = _list_deciders(approval, task)
    for row in PushSubscription.objects.filter(user_id__in=people).defer("sealed").order_by("id"):
        enqueue(
            PushApproval(
                org_id=row.org_id, subscription_id=row.id, user_id=row.user_id, approval_id=approval.id
            )
        )


def _list_deciders(approval: Approval, task: Task | None) -> list[uuid.UUID]:
    """List who is asked: who is named, else the person of the work; where there is no work, the admins who decide."""
    if approval.decider_ids:
        return list(approval.decider_ids)
    if task is not None:
        return [task.user_id] if task.user_id else []
    roles = _ROLES_OF.get(approval.decider_role, ())
    admins = Membership.objects.filter(role__in=roles, user__is_active=True).order_by("id")
    return list(admins.values_list("user_id", flat=True))
