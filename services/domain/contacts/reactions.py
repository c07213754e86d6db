"""Reactions of agents: to their own messages, and to the one that asked them."""

from __future__ import annotations

from services.domain.chats.models import Delivery, DeliveryKind
from services.domain.chats.sending import Spot, Written, batch_key, find_batch, refuse_when_too_many
from services.domain.outbox.jobs import SendDelivery, enqueue
from services.domain.tasks.models import Task


def write_reaction(spot: Spot, emoji: str, *, target: Delivery | None, task: Task) -> Written:
    """Write a reaction, once; without a target to the message that `spot` answers. Inside the tenant's transaction.

    Raises: RateLimited. Queues: SendDelivery.
    """
    batch = batch_key("react", spot.chat.id, target.id if target else spot.reply_to, emoji)
    earlier = find_batch(batch)
    if earlier:
        return Written(earlier, is_repeat=True)
    refuse_when_too_many(task)
    row = Delivery(
        org_id=spot.chat.org_id,
        link_id=spot.chat.link_id,
        chat=spot.chat,
        task_id=task.id,
        thread_id=spot.thread_id,
        batch=batch,
        part=0,
        kind=DeliveryKind.REACT,
        target=target,
        text="",
        payload={"emoji": emoji, "message_id": "" if target else spot.reply_to},
    )
    Delivery.objects.bulk_create([row], ignore_conflicts=True)
    enqueue(SendDelivery(org_id=spot.chat.org_id, batch=batch))
    return Written(find_batch(batch))
