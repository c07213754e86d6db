"""The tools about questions: ask, and wait for the answer."""

from __future__ import annotations

import asyncio
import time
import uuid
from datetime import timedelta
from typing import Annotated, Literal, Self

from pydantic import Field

from services.domain.actors import require
from services.domain.chats.sending import Spot
from services.domain.contacts.accounts import find_own_chat
from services.domain.contacts.destinations import find_origin, find_person_of, resolve_destination
from services.domain.questions.actions import (
    MAX_OPTION_CHARS,
    MAX_OPTIONS,
    MAX_QUESTION_CHARS,
    Ask,
    ask_question,
)
from services.domain.questions.models import Question, QuestionStatus
from services.domain.questions.queries import get_own_question
from services.domain.tenancy.transaction import tenant_transaction
from services.kit.clock import now
from services.mcp_gateway.callers import Caller
from services.mcp_gateway.holding.desk import DESK
from services.mcp_gateway.mcp_servers.tools import Tool, ToolInput, ToolOutput
from services.mcp_gateway.threads import run_in_thread

MAX_WAIT_S = 50
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 1.0

Wait = Annotated[float, Field(ge=0, le=MAX_WAIT_S, description="The most to wait now, in seconds.")]


class AskInput(ToolInput):
    question: str = Field(min_length=1, max_length=MAX_QUESTION_CHARS, description="What to ask. Markdown.")
    options: list[Annotated[str, Field(min_length=1, max_length=MAX_OPTION_CHARS)]] = Field(
        default_factory=list,
        max_length=MAX_OPTIONS,
        description="Answers to choose from, shown as buttons. People may answer in their own words all the same.",
    )
    to: str | None = Field(
        default=None,
        max_length=60,
        description="Where to ask: a name of list_destinations. Left out: the chat that asked you, else the person "
        "you work for. A person that you name is the only one who may answer.",
    )
    timeout_s: int = Field(
        default=3_600, ge=10, le=604_800, description="How long the question stays open, in seconds."
    )
    wait_s: Wait = MAX_WAIT_S


class WaitInput(ToolInput):
    question_id: uuid.UUID = Field(description="What asking returned.")
    wait_s: Wait = MAX_WAIT_S


class Asked(ToolOutput):
    """A question and its answer. While it is `pending`, call question_wait; do not ask again."""

    question_id: str = Field(description="Give it to question_wait.")
    status: Literal["pending", "answered", "expired", "withdrawn"] = Field(
        description="`pending`: call question_wait. `expired`: nobody answered in time. `withdrawn`: the task ended."
    )
    answer: str | None = Field(description="The chosen option's text, or the person's own words.")
    option: int | None = Field(description="The chosen option, counted from 1; null for own words.")
    answered_by: str | None = Field(description="The name of who answered; null while nobody has.")
    answered_via: str | None = Field(
        description="Where the answer was given, such as `dashboard` or `telegram`; null while there is none."
    )
    asked_in: str | None = Field(description="The chat where it is shown; null means the dashboard alone.")

    @classmethod
    def of(cls, question: Question) -> Self:
        """Show a row."""
        is_answered = question.status == QuestionStatus.ANSWERED
        is_late = question.status == QuestionStatus.PENDING and question.expires_at <= now()
        status: Literal["pending", "answered", "expired", "withdrawn"]
        status = "expired" if is_late else QuestionStatus(question.status).value  # type: ignore[assignment]
        return cls(
            question_id=str(question.id),
            status=status,
            answer=question.answer if is_answered else None,
            option=question.option + 1 if is_answered and question.option is not None else None,
            answered_by=question.answered_by_name or None,
            answered_via=question.answered_via or None,
            asked_in=question.chat.title or question.chat.platform_chat_id if question.chat else None,
        )


def _ask_now(caller: Caller, given: AskInput) -> Asked:
    require(caller.actor, "tasks:write")
    task = caller.task
    with tenant_transaction(caller.actor.org_id):
        asked_of: list[uuid.UUID] = []
        if given.to is not None:
            spot: Spot | None = resolve_destination(task, given.to)
            person_id = find_person_of(task, given.to)
            asked_of = [person_id] if person_id else []
        else:
            spot = find_origin(task)
            own = find_own_chat(task.user_id) if spot is None and task.user_id else None
            spot = Spot(own) if own is not None else spot
        ask = Ask(given.question, given.options, spot, asked_of, timedelta(seconds=given.timeout_s))
        return Asked.of(ask_question(caller.actor, ask))


def _read_now(caller: Caller, question_id: uuid.UUID) -> Asked:
    with tenant_transaction(caller.actor.org_id):
        return Asked.of(get_own_question(caller.task, question_id))


async def _wait_for(caller: Caller, question_id: uuid.UUID, wait_s: float) -> Asked:
    """Look again and again, holding neither a thread nor a connection in between; the turn's clock stands still."""
    deadline = time.monotonic() + wait_s
    pause_s = _FIRST_PAUSE_S
    async with DESK.clocks.stopped(caller.task, "question") as stop:
        while True:
            asked = await run_in_thread(_read_now, caller, question_id)
            left_s = deadline - time.monotonic()
            if asked.status != "pending" or left_s <= 0:
                return asked
            await stop.tick()
            await asyncio.sleep(min(pause_s, left_s))
            pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)


async def _ask(caller: Caller, given: AskInput) -> Asked:
    asked = await run_in_thread(_ask_now, caller, given)
    return await _wait_for(caller, uuid.UUID(asked.question_id), given.wait_s)


async def _wait(caller: Caller, given: WaitInput) -> Asked:
    return await _wait_for(caller, given.question_id, given.wait_s)


QUESTION_TOOLS = (
    Tool(
        "ask_user_question",
        "Ask people something that you cannot decide, and wait for the answer. They see it in their chat and in the "
        f"dashboard. It waits at most {MAX_WAIT_S} seconds; if `status` is `pending` then, call question_wait with the "
        "question_id. Asking the same again while it is pending waits for the same answer.",
        AskInput,
        Asked,
        _ask,
    ),
    Tool(
        "question_wait",
        f"Wait at most {MAX_WAIT_S} seconds for the answer to a question that you asked. Call again while `status` is "
        "`pending`; `expired` means that nobody answered in time.",
        WaitInput,
        Asked,
        _wait,
        reads_only=True,
    ),
)
