"""Closing questions, and what hangs on it: the card in the chat."""

from __future__ import annotations

from services.domain.events.announcing import announce_change
from services.domain.events.listed import QuestionChanged
from services.domain.events.log import record_event
from services.domain.events.types import QuestionAnswered
from services.domain.outbox.jobs import ShowQuestion, enqueue
from services.domain.questions.models import Question, QuestionStatus
from services.domain.tasks.models import Task
from services.kit.clock import now


def close_locked_question(question: Question, status: QuestionStatus) -> None:
    """Write down how a question ended; its row is locked, and the answer is in it already. Emits: QuestionAnswered.

    Queues: ShowQuestion, where it was shown in a chat.
    """
    question.status = status
    question.answered_at = now()
    question.save()
    event = QuestionAnswered(
        question_id=str(question.id),
        status=status.value,
        answer=question.answer,
        option=question.option,
        by=question.answered_by_name,
        via=question.answered_via,
    )
    record_event(f"workspace:{question.workspace_id}", event, task_id=question.task_id)
    announce_change(QuestionChanged, question)
    if question.chat_id is not None:
        enqueue(ShowQuestion(org_id=question.org_id, question_id=question.id))


def withdraw_questions(task: Task) -> None:
    """Close what an ended task asked and nobody answered; the task's row is locked. Emits: QuestionAnswered."""
    pending = Question.objects.select_for_update(of=("self",)).filter(
        task_id=task.id, status=QuestionStatus.PENDING
    )
    for question in pending.order_by("id"):
        close_locked_question(question, QuestionStatus.WITHDRAWN)
