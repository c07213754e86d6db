"""Ending a task: in exactly one final state, with everything that hangs on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from django.db.models import Sum

from services.domain.approvals.ending import close_calls_of
from services.domain.events.announcing import announce_change
from services.domain.events.listed import TaskChanged
from services.domain.events.log import NewEvent, record_events
from services.domain.events.types import TaskFinished, TurnDone
from services.domain.outbox.jobs import DeliverAnswer, DispatchTask, ReturnAnswer, SettleSandbox, enqueue
from services.domain.questions.closing import withdraw_questions
from services.domain.tasks.follow_ups import settle_messages
from services.domain.tasks.models import FINAL, Task, UsageRecord
from services.domain.tasks.tokens import revoke_tokens
from services.kit import tracing
from services.kit.clock import now

MAX_RESULT_CHARS = 200_000


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a task ended. `error` is (code, message); `turn_done` is set when its runner said so."""

    status: Literal["succeeded", "failed", "cancelled", "expired"]
    text: str = ""
    error: tuple[str, str] | None = None
    turns: int = 0
    tool_calls: int = 0
    turn_done: TurnDone | None = None


def finish_locked_task(task: Task, outcome: Outcome) -> bool:
    """End a task whose row is locked; False when it has ended already, and then nothing changes.

    Its tokens die here. Emits: TurnDone when the runner said so, TaskFinished, TaskChanged.
    Queues: SettleSandbox, which frees the slot, or DispatchTask; DeliverAnswer when somebody waits for an answer in a
    chat, ReturnAnswer when an agent does.
    """
    if task.status in FINAL:
        return False
    with tracing.span("task.finish", parent=task.traceparent, status=outcome.status):
        _finish(task, outcome)
    return True


def _finish(task: Task, outcome: Outcome) -> None:
    moment = now()
    task.status = outcome.status
    task.finished_at = moment
    task.result_text = outcome.text[:MAX_RESULT_CHARS]
    task.error_code, task.error_message = outcome.error or ("", "")
    task.turns, task.tool_calls = outcome.turns, outcome.tool_calls
    task.lease_token = task.lease_until = None
    # From now on it has its place in the chat, whenever the job comes that writes the answer down.
    task.answer_due_at = moment if task.deliver_to else None
    sums = UsageRecord.objects.filter(task=task).aggregate(
        given=Sum("input_tokens"), made=Sum("output_tokens"), cost=Sum("cost_microusd")
    )
    task.input_tokens, task.output_tokens = sums["given"] or 0, sums["made"] or 0
    task.cost_microusd = sums["cost"] or 0
    task.save()
    revoke_tokens(task)
    close_calls_of(task)
    withdraw_questions(task)
    record_events(f"workspace:{task.workspace_id}", [*_events(task, outcome), *settle_messages(task)])
    announce_change(TaskChanged, task)
    if task.sandbox_id is None:
        enqueue(DispatchTask())
    else:
        # Only a runner that ended its turn by itself is known to be in order; any other is not used again.
        keep = outcome.turn_done is not None and task.workspace.is_persistent
        enqueue(SettleSandbox(sandbox_id=task.sandbox_id, task_id=task.id, keep=keep))
    if task.return_to_id is not None:
        enqueue(ReturnAnswer(org_id=task.org_id, task_id=task.id))
    # Blocks for others go out also when no chat asked. What they are is read when they are delivered.
    if task.deliver_to or "<message" in task.result_text:
        enqueue(DeliverAnswer(org_id=task.org_id, task_id=task.id))


def usage_of(task: Task) -> dict[str, Any]:
    """Return a task's usage as the contract shows it: tokens, and money both exact and as a decimal text."""
    return {
        "input_tokens": task.input_tokens,
        "output_tokens": task.output_tokens,
        "cost_microusd": task.cost_microusd,
        "cost_usd": f"{task.cost_microusd / 1_000_000:.6f}",
    }


def _events(task: Task, outcome: Outcome) -> list[NewEvent]:
    error = {"code": task.error_code, "message": task.error_message} if task.error_code else None
    finished = TaskFinished(
        task_id=str(task.id), status=task.status, text=task.result_text, error=error, usage=usage_of(task)
    )
    events = [NewEvent(outcome.turn_done, task.id, task.turn)] if outcome.turn_done else []
    return [*events, NewEvent(finished, task.id, task.turn)]
