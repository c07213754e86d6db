"""The next prompt of a workspace, said while its agent may be at work: into that turn, after it, or instead of it."""

from __future__ import annotations

from typing import Literal

from services.domain.actors import Actor
from services.domain.errors import Invalid, TaskFinished
from services.domain.tasks.messages import send_message
from services.domain.tasks.models import ACTIVE, Task, TaskMessage
from services.domain.tasks.queries import list_tasks
from services.domain.tasks.submit import TaskOrder, cancel_task, submit_task
from services.domain.tenancy.transaction import tenant_transaction

WhenBusy = Literal["steer", "queue", "interrupt"]


def prompt_workspace(
    actor: Actor, order: TaskOrder, when_busy: WhenBusy, *, idempotency_key: str, source: str = "web"
) -> Task:
    """Give a workspace its next prompt; return the task in which it is worked on.

    A turn that ends before it can be steered or stopped leaves the prompt a turn of its own.
    Emits: as `send_message`, `cancel_task` and `submit_task`. Raises: what they raise, Invalid for a model or a budget
    of a message that steers: the turn at work has its own.
    """
    steered = _find_steered(actor, idempotency_key)
    if steered is not None:
        return steered
    at_work = _find_at_work(actor, order) if when_busy != "queue" else None
    if at_work is None:
        return submit_task(actor, order, source=source, idempotency_key=idempotency_key)
    if when_busy == "interrupt":
        return _take_its_place(actor, at_work, order, source, idempotency_key)
    if order.model is not None or order.max_budget_microusd is not None:
        raise Invalid(
            "The turn at work keeps its model and its budget. Send this after it, or leave them out.",
            fields={"when_busy": "the turn at work keeps its model and its budget"},
        )
    try:
        return send_message(actor, at_work.id, order.prompt, idempotency_key=idempotency_key).task
    except TaskFinished:
        return submit_task(actor, order, source=source, idempotency_key=idempotency_key)


def _find_steered(actor: Actor, key: str) -> Task | None:
    """Return the task that this key's message steered already: sent again after its end it is no turn of its own."""
    with tenant_transaction(actor.org_id):
        earlier = TaskMessage.objects.select_related("task").filter(actor=actor.key, key=key).first()
        return earlier.task if earlier is not None else None


def _find_at_work(actor: Actor, order: TaskOrder) -> Task | None:
    if order.workspace_id is None:
        return None
    with tenant_transaction(actor.org_id):
        return list_tasks(actor).filter(workspace_id=order.workspace_id, status__in=ACTIVE).first()


def _take_its_place(actor: Actor, at_work: Task, order: TaskOrder, source: str, key: str) -> Task:
    """Submit first: a prompt that is refused must stop nothing."""
    task = submit_task(actor, order, source=source, idempotency_key=key)
    try:
        cancel_task(actor, at_work.id)
    except TaskFinished:
        return task
    return task
