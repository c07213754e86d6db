"""Stopping the turn that is at work in a place: who may, and what is stopped."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from django.db.models import QuerySet

from services.domain.actors import Actor, system_actor
from services.domain.chats.models import Chat
from services.domain.contacts.accounts import find_person
from services.domain.contacts.holding import may_speak
from services.domain.errors import TaskFinished
from services.domain.tasks.models import ACTIVE, Task, TaskStatus
from services.domain.tasks.submit import cancel_task

_ADMINS = ("admin", "owner")


@dataclass(frozen=True, slots=True)
class Stopped:
    """How many turns were stopped; `is_refused` says that there were some which this person may not stop."""

    count: int
    is_refused: bool = False


def stop_turns(chat: Chat, thread_id: str, sender_id: str) -> Stopped:
    """Cancel what is at work, or waits to be, for a place; inside the tenant's transaction.

    Work of a person is stopped by that person or an admin, anybody else's by whoever is heard in the chat.
    """
    person = find_person(chat.link_id, sender_id)
    is_heard = may_speak(chat.link.unknown_senders, chat.link_id, sender_id)
    found = list(tasks_of_place(chat.id, thread_id).order_by("id").values_list("id", "user_id"))
    stopped = 0
    for task_id, user_id in found:
        if _may_stop(person, user_id, is_heard=is_heard):
            stopped += _cancel(chat.org_id, task_id)
    return Stopped(stopped, is_refused=bool(found) and not stopped)


def tasks_of_place(chat_id: uuid.UUID, thread_id: str) -> QuerySet[Task]:
    """Return the unfinished tasks whose answer goes to a place; to be read in the tenant's transaction."""
    return Task.objects.filter(
        status__in=(TaskStatus.QUEUED, *ACTIVE),
        deliver_to__chat_id=str(chat_id),
        deliver_to__thread_id=thread_id,
    )


def _may_stop(person: Actor | None, user_id: uuid.UUID | None, *, is_heard: bool) -> bool:
    if user_id is None:
        return is_heard
    return person is not None and (person.user_id == user_id or person.role in _ADMINS)


def _cancel(org_id: uuid.UUID, task_id: uuid.UUID) -> bool:
    try:
        cancel_task(system_actor(org_id), task_id)
    except TaskFinished:
        return False
    return True
