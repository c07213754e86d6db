"""Questions over REST: what agents ask, and a person's answer."""

from __future__ import annotations

import uuid
from typing import Literal, Self

from pydantic import Field

from services.api.http.bodies import Closed
from services.api.http.operations import Call, Endpoint, operation
from services.api.http.paging import PageQuery, page_of
from services.api.http.shapes import Moment, Page, Shape
from services.domain.errors import NotTheDecider, QuestionClosed, QuestionMissing
from services.domain.questions.actions import MAX_ANSWER_CHARS, answer_question
from services.domain.questions.models import Question
from services.domain.questions.queries import get_question, list_questions

Status = Literal["pending", "answered", "expired", "withdrawn"]


class QuestionAnswerBody(Closed):
    """The answer: an option by its number from 0, or words. Words that are an option's label choose it."""

    text: str = Field(default="", max_length=MAX_ANSWER_CHARS)
    option: int | None = Field(default=None, ge=0, le=100)


class QuestionShape(Shape):
    """A question. `asked_of` empty means whoever may work with the task, or is in the chat."""

    id: uuid.UUID
    task_id: uuid.UUID
    workspace_id: uuid.UUID
    agent_id: uuid.UUID
    chat_id: uuid.UUID | None
    text: str
    options: list[str]
    asked_of: list[uuid.UUID]
    status: Status
    asked_at: Moment
    expires_at: Moment
    answer: str
    option: int | None
    answered_by_id: uuid.UUID | None
    answered_by_name: str
    answered_via: str
    answered_at: Moment | None

    @classmethod
    def of(cls, question: Question) -> Self:
        """Show a row."""
        return cls.model_validate(question)


class QuestionQuery(PageQuery):
    """Which questions."""

    status: Status | None = None
    task_id: uuid.UUID | None = None
    workspace_id: uuid.UUID | None = None


class Questions(Endpoint):
    """All questions."""

    tag = "questions"

    @operation()
    def get(self, call: Call, query: QuestionQuery) -> Page[QuestionShape]:
        """List what agents asked, newest first."""
        return page_of(list_questions(call.actor), query, QuestionShape.of)


class OneQuestion(Endpoint):
    """One question."""

    tag = "questions"

    @operation(errors=(QuestionMissing,))
    def get(self, call: Call, question_id: uuid.UUID) -> QuestionShape:
        """Show a question, and its answer."""
        return QuestionShape.of(get_question(call.actor, question_id))


class QuestionAnswerOne(Endpoint):
    """Answering one question."""

    tag = "questions"

    @operation(errors=(QuestionMissing, QuestionClosed, NotTheDecider))
    def post(self, call: Call, question_id: uuid.UUID, body: QuestionAnswerBody) -> QuestionShape:
        """Answer a question; it takes one answer, from wherever that comes first."""
        answered = answer_question(call.actor, question_id, text=body.text, option=body.option)
        return QuestionShape.of(answered)
