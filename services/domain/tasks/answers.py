"""Answering what an agent asked, by the task that waits."""

from __future__ import annotations

import uuid

from services.domain.actors import Actor, require
from services.domain.errors import NothingAsked, QuestionMissing, TaskFinished
from services.domain.questions.actions import answer_question
from services.domain.questions.models import Question
from services.domain.questions.queries import find_open_question
from services.domain.tasks.models import FINAL, Task
from services.domain.tasks.submit import lock_task
from services.domain.tenancy.transaction import tenant_transaction


def answer_task(
    actor: Actor, task_id: uuid.UUID, text: str, *, question_id: uuid.UUID | None = None, via: str = "api"
) -> Task:
    """Give a waiting task the answer to its question: the one that is named, or else the oldest.

    Raises: TaskMissing, TaskFinished, NothingAsked, and what `answer_question` does.
    """
    require(actor, "tasks:write")
    with tenant_transaction(actor.org_id):
        task = lock_task(task_id)
        if question_id is not None and not Question.objects.filter(id=question_id, task=task).exists():
            raise QuestionMissing("The task asked no such question.")
        if task.status in FINAL:
            raise TaskFinished("The task has ended already.", status=task.status)
        oldest = find_open_question(task.id) if question_id is None else None
        chosen = question_id or (oldest.id if oldest else None)
        if chosen is None:
            raise NothingAsked("The task waits for no answer.", characters=len(text))
        answer_question(actor, chosen, text=text, via=via)
        return lock_task(task_id)
