"""Telling a person something while an agent is at work."""

from __future__ import annotations

from typing import Literal

from services.domain.actors import Actor, require
from services.domain.errors import Invalid, NobodyToNotify, RateLimited
from services.domain.events.log import record_event
from services.domain.events.models import Event
from services.domain.events.types import NotificationCreated
from services.domain.tasks.submit import lock_task
from services.domain.tenancy.transaction import tenant_transaction

MAX_MESSAGE_CHARS = 4_000
MAX_OF_A_TASK = 100


def notify_user(actor: Actor, message: str, urgency: Literal["low", "normal", "high"] = "normal") -> Event:
    """Tell the person for whom an agent works something at once, on the stream of that person.

    Locks: the task. Emits: NotificationCreated.
    Raises: NobodyToNotify, Invalid, RateLimited after the task's hundredth, TaskMissing.
    """
    require(actor, "tasks:write")
    if actor.user_id is None or actor.task_id is None:
        raise NobodyToNotify("This work was started by no person, so there is nobody to notify.")
    text = message.strip()
    if not text or len(text) > MAX_MESSAGE_CHARS or "\x00" in text:
        raise Invalid(
            f"A message has 1 to {MAX_MESSAGE_CHARS} characters.",
            fields={"message": f"{len(text)} characters"},
        )
    with tenant_transaction(actor.org_id):
        task = lock_task(actor.task_id)
        sent = Event.objects.filter(task_id=task.id, type=NotificationCreated.type).count()
        if sent >= MAX_OF_A_TASK:
            raise RateLimited(f"A task may notify its user {MAX_OF_A_TASK} times.", limit=MAX_OF_A_TASK)
        return record_event(
            f"user:{actor.user_id}",
            NotificationCreated(message=text, urgency=urgency, task_id=str(task.id)),
            task_id=task.id,
            turn=task.turn,
        )
