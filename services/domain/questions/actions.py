"""Asking people, and answering: once each, from wherever the first answer comes."""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from services.domain.actors import Actor, require
from services.domain.agents.queries import of_named_agents
from services.domain.chats.sending import Spot
from services.domain.errors import (
    Invalid,
    NotPermitted,
    NotTheDecider,
    QuestionClosed,
    QuestionMissing,
    RateLimited,
    TaskFinished,
)
from services.domain.events.announcing import announce_change
from services.domain.events.listed import QuestionChanged
from services.domain.events.log import record_event
from services.domain.events.types import QuestionAsked
from services.domain.identity.models import User
from services.domain.outbox.jobs import ShowQuestion, enqueue
from services.domain.questions.closing import close_locked_question
from services.domain.questions.models import Question, QuestionStatus
from services.domain.tasks.models import FINAL, Task
from services.domain.tasks.submit import lock_task
from services.domain.tenancy.transaction import tenant_transaction
from services.kit.clock import now

MAX_QUESTION_CHARS = 2_000
MAX_OPTIONS = 20
MAX_OPTION_CHARS = 200
MAX_ANSWER_CHARS = 20_000
MAX_OF_A_TASK = 50
SHORTEST, LONGEST = timedelta(seconds=10), timedelta(days=7)
_EXPIRE_AT_ONCE = 500
_NUMBER = re.compile(r"[#(]?(\d{1,2})[.):]?")


@dataclass(frozen=True, slots=True)
class Ask:
    """What an agent asks: where it is shown, if anywhere, and who may answer; nobody named means whoever is there."""

    text: str
    options: Sequence[str] = ()
    spot: Spot | None = None
    asked_of: Sequence[uuid.UUID] = ()
    lifetime: timedelta = timedelta(hours=1)

    @property
    def key(self) -> str:
        """Return a hash by which the same question in the same place is recognised."""
        place = [str(self.spot.chat.id), self.spot.thread_id] if self.spot else None
        what = [self.text, list(self.options), place, sorted(map(str, self.asked_of))]
        return hashlib.sha256(json.dumps(what).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer: an option by its number from 0, or words. `by` and `via` are shown to people."""

    text: str = ""
    option: int | None = None
    user_id: uuid.UUID | None = None
    by: str = ""
    via: str = field(default="api")


def ask_question(actor: Actor, ask: Ask) -> Question:
    """Ask, or return the pending question that is the same.

    Locks: the task. Emits: QuestionAsked. Queues: ShowQuestion, where it is shown in a chat.
    Raises: NotPermitted for who is no agent at work, Invalid, RateLimited after fifty, TaskFinished.
    """
    require(actor, "tasks:write")
    if actor.kind != "agent" or actor.task_id is None:
        raise NotPermitted("Agents ask while they work.")
    _check(ask)
    with tenant_transaction(actor.org_id):
        task = lock_task(actor.task_id)
        if task.status in FINAL:
            raise TaskFinished("The task has ended already.", status=task.status)
        asked = Question.objects.filter(task=task)
        same = asked.filter(key=ask.key, status=QuestionStatus.PENDING, expires_at__gt=now()).first()
        if same is not None:
            return same
        if asked.count() >= MAX_OF_A_TASK:
            raise RateLimited(f"A task may ask {MAX_OF_A_TASK} questions.", limit=MAX_OF_A_TASK)
        for late in asked.select_for_update(of=("self",)).filter(key=ask.key, status=QuestionStatus.PENDING):
            close_locked_question(late, QuestionStatus.EXPIRED)
        question = _create(task, ask)
        event = QuestionAsked(
            question_id=str(question.id),
            text=question.text,
            options=question.options,
            asked_of=[str(user_id) for user_id in question.asked_of],
            expires_at=question.expires_at.isoformat(),
        )
        record_event(f"workspace:{task.workspace_id}", event, task_id=task.id, turn=task.turn)
        announce_change(QuestionChanged, question, "created")
        if question.chat_id is not None:
            enqueue(ShowQuestion(org_id=task.org_id, question_id=question.id))
        return question


def answer_question(
    actor: Actor, question_id: uuid.UUID, *, text: str = "", option: int | None = None, via: str = "api"
) -> Question:
    """Answer a question as a person. The same answer again is fine.

    Raises: QuestionMissing, QuestionClosed, NotTheDecider, NotPermitted, Invalid. Emits: QuestionAnswered.
    """
    if actor.kind == "agent":
        raise NotPermitted("A person answers this.")
    require(actor, "tasks:write", role="member")
    with tenant_transaction(actor.org_id):
        if not Question.objects.filter(of_named_agents(actor), id=question_id).exists():
            raise QuestionMissing("There is no such question.")
        question = _lock(question_id)
        given = _read(question, text, option)
        person = User.objects.filter(pk=actor.user_id).first() if actor.user_id else None
        by = person.shown_name if person else ""
        answer = Answer(given.text, given.option, actor.user_id, by, via)
        same = (QuestionStatus.ANSWERED, actor.user_id, answer.text, answer.option)
        if (question.status, question.answered_by_id, question.answer, question.option) == same:
            return question
        apply_answer(question, answer)
        return question


def apply_answer(question: Question, answer: Answer) -> None:
    """Take an answer to a question whose task and row are locked. Raises: QuestionClosed, NotTheDecider."""
    if question.status != QuestionStatus.PENDING or question.expires_at <= now():
        raise QuestionClosed(_why_closed(question))
    if question.asked_of and answer.user_id not in question.asked_of:
        raise NotTheDecider("Somebody else is asked this.")
    question.answer, question.option = answer.text, answer.option
    question.answered_by_id, question.answered_by_name = answer.user_id, answer.by[:200]
    question.answered_via = answer.via[:30]
    close_locked_question(question, QuestionStatus.ANSWERED)


def read_words(question: Question, words: str) -> tuple[str, int | None]:
    """Read what somebody wrote: an option by its number or its label, or an answer in their own words."""
    said = words.strip()
    number = _NUMBER.fullmatch(said)
    if number and 1 <= int(number[1]) <= len(question.options):
        index = int(number[1]) - 1
        return question.options[index], index
    for index, label in enumerate(question.options):
        if label.casefold() == said.casefold():
            return label, index
    return said[:MAX_ANSWER_CHARS], None


def lock_question(question_id: uuid.UUID) -> Question | None:
    """Return a question with its task, both locked in this order, or None; inside the tenant's transaction."""
    task_id = Question.objects.filter(id=question_id).values_list("task_id", flat=True).first()
    if task_id is None:
        return None
    task = lock_task(task_id)
    question = Question.objects.select_for_update(of=("self",)).filter(id=question_id).first()
    if question is not None:
        question.task = task
    return question


def all_tenants_expire_questions() -> int:
    """Close the questions that nobody answered in time; returns how many. Emits: QuestionAnswered."""
    late = Question.objects.using("operator").filter(status=QuestionStatus.PENDING, expires_at__lte=now())
    expired = 0
    for org_id, question_id in late.values_list("org_id", "id")[:_EXPIRE_AT_ONCE]:
        with tenant_transaction(org_id):
            question = lock_question(question_id)
            if question is not None and question.status == QuestionStatus.PENDING:
                close_locked_question(question, QuestionStatus.EXPIRED)
                expired += 1
    return expired


def _create(task: Task, ask: Ask) -> Question:
    moment = now()
    spot = ask.spot
    return Question.objects.create(
        org_id=task.org_id,
        task=task,
        workspace_id=task.workspace_id,
        agent_id=task.agent_id,
        chat_id=spot.chat.id if spot else None,
        thread_id=spot.thread_id if spot else "",
        reply_to=spot.reply_to if spot else "",
        text=ask.text.strip(),
        options=list(ask.options),
        asked_of=list(ask.asked_of),
        key=ask.key,
        asked_at=moment,
        expires_at=moment + ask.lifetime,
    )


def _check(ask: Ask) -> None:
    if not 1 <= len(ask.text.strip()) <= MAX_QUESTION_CHARS or "\x00" in ask.text:
        raise Invalid(f"A question has 1 to {MAX_QUESTION_CHARS} characters.", fields={"question": "length"})
    labels = [label.strip() for label in ask.options]
    if len(labels) > MAX_OPTIONS or any(not 1 <= len(label) <= MAX_OPTION_CHARS for label in labels):
        raise Invalid(
            f"There are at most {MAX_OPTIONS} options of 1 to {MAX_OPTION_CHARS} characters.",
            fields={"options": "number or length"},
        )
    if len({label.casefold() for label in labels}) < len(labels):
        raise Invalid("Each option must be another one.", fields={"options": "the same twice"})
    if not SHORTEST <= ask.lifetime <= LONGEST:
        raise Invalid("A question waits 10 seconds to 7 days.", fields={"timeout_s": "10 to 604800"})


def _read(question: Question, text: str, option: int | None) -> Answer:
    if option is not None:
        if not 0 <= option < len(question.options):
            raise Invalid("There is no such option.", fields={"option": f"0 to {len(question.options) - 1}"})
        return Answer(question.options[option], option)
    if not text.strip():
        raise Invalid("An answer is an option, or words.", fields={"text": "empty"})
    return Answer(*read_words(question, text))


def _lock(question_id: uuid.UUID) -> Question:
    question = lock_question(question_id)
    if question is None:
        raise QuestionMissing("There is no such question.")
    return question


def _why_closed(question: Question) -> str:
    match question.status:
        case QuestionStatus.ANSWERED:
            return f"This was answered already: {question.answer[:100]}"
        case QuestionStatus.WITHDRAWN:
            return "The work that asked this is over."
    return "The time to answer this is over."
