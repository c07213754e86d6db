"""Answering what an agent asked."""

from __future__ import annotations

import uuid

from services.domain.actors import Actor, require
from services.domain.errors import NothingAsked, TaskFinished
from services.domain.tasks.models import FINAL, Task
from services.domain.tasks.submit import lock_task
from services.domain.tenancy.transaction import tenant_transaction


def answer_task(actor: Actor, task_id: uuid.UUID, text: str) -> Task:
    """Give a waiting task the answer to its question. Raises: TaskMissing, TaskFinished, NothingAsked.

    No provider asks yet, so there is no question that an answer could belong to, and none is taken.
    """
    require(actor, "tasks:write")
    with tenant_transaction(actor.org_id):
        task = lock_task(task_id)
        if task.status in FINAL:
            raise TaskFinished("The task has ended already.", status=task.status)
        raise NothingAsked("The task waits for no answer.", characters=len(text))
