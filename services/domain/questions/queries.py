"""Reading questions."""

from __future__ import annotations

import uuid

from django.db.models import QuerySet

from services.domain.actors import Actor, require
from services.domain.agents.queries import of_named_agents
from services.domain.errors import QuestionMissing
from services.domain.questions.models import Question, QuestionStatus
from services.domain.tasks.models import Task
from services.kit.clock import now


def list_questions(actor: Actor) -> QuerySet[Question]:
    """Return the questions that the actor may see; to be read in the tenant's transaction."""
    require(actor, "tasks:read")
    return Question.objects.select_related("agent").filter(of_named_agents(actor))


def get_question(actor: Actor, question_id: uuid.UUID) -> Question:
    """Return one question. Raises: QuestionMissing."""
    question = list_questions(actor).filter(id=question_id).first()
    if question is None:
        raise QuestionMissing("There is no such question.")
    return question


def get_own_question(task: Task, question_id: uuid.UUID) -> Question:
    """Return a question that was asked in a task's workspace. Raises: QuestionMissing. In the tenant's transaction."""
    question = Question.objects.filter(id=question_id, workspace_id=task.workspace_id).first()
    if question is None:
        raise QuestionMissing("You asked no such question. Give the question_id that asking returned.")
    return question


def list_open_questions(actor: Actor, workspace_id: uuid.UUID) -> list[Question]:
    """List what a workspace's agents wait for, the oldest first; in the tenant's transaction."""
    rows = list_questions(actor).filter(
        workspace_id=workspace_id, status=QuestionStatus.PENDING, expires_at__gt=now()
    )
    return list(rows.order_by("id"))


def find_open_question(task_id: uuid.UUID) -> Question | None:
    """Return the question that a task waits for longest, or None; in the tenant's transaction."""
    rows = Question.objects.filter(task_id=task_id, status=QuestionStatus.PENDING, expires_at__gt=now())
    return rows.order_by("id").first()
