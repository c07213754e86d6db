"""Follow-up messages to a task that has not ended: they steer the turn at work, or become the next one."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

from django.db import connection, transaction

from services.domain.actors import Actor, require
from services.domain.errors import (
    Conflict,
    IdempotencyKeyReused,
    Invalid,
    Missing,
    PromptInvalid,
    QueueFull,
    TaskFinished,
    Temporary,
)
from services.domain.events.log import NewEvent, record_events
from services.domain.events.types import MessageCreated
from services.domain.tasks.follow_ups import settled
from services.domain.tasks.models import (
    FINAL,
    MAX_PROMPT_CHARS,
    MessageState,
    Task,
    TaskMessage,
    TaskMode,
)
from services.domain.tasks.submit import TaskOrder, lock_task, submit_task
from services.domain.tenancy.transaction import tenant_transaction
from services.kit.redisbus import nudge

MAX_WAITING = 100
_BETWEEN = "\n\n"


def send_message(
    actor: Actor, task_id: uuid.UUID, text: str, *, idempotency_key: str | None = None
) -> TaskMessage:
    """Send a message to a task: its runner gets it now, or as soon as the turn starts.

    With a key that this actor used before, the first message is returned again.
    Emits: MessageCreated. Raises: TaskMissing, TaskFinished, PromptInvalid, QueueFull, IdempotencyKeyReused, Invalid.
    """
    require(actor, "tasks:write")
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    _check_text(text)
    with tenant_transaction(actor.org_id):
        earlier = _claim_key(actor, idempotency_key)
        if earlier is not None:
            if (earlier.task_id, earlier.text) != (task_id, text):
                raise IdempotencyKeyReused("This Idempotency-Key was used with another body.")
            return earlier
        task = lock_task(task_id)
        if task.status in FINAL:
            raise TaskFinished("The task has ended already.", status=task.status)
        waiting = TaskMessage.objects.filter(task=task, state=MessageState.WAITING).count()
        if waiting >= MAX_WAITING:
            raise QueueFull("The task has enough messages waiting.", retry_after_s=5, limit=MAX_WAITING)
        message = TaskMessage.objects.create(
            org_id=actor.org_id,
            task=task,
            user_id=actor.user_id,
            actor=actor.key,
            key=idempotency_key,
            text=text,
        )
        created = MessageCreated(role="user", text=text, id=str(message.id))
        record_events(f"workspace:{task.workspace_id}", [NewEvent(created, task.id, task.turn)])
        if task.sandbox_id is not None:
            sandbox = str(task.sandbox_id)
            # The commit may be a caller's: whoever is woken before it sees no message.
            transaction.on_commit(lambda: nudge("gateway", sandbox), robust=True)
        return message


def submit_left_messages(org_id: uuid.UUID, task_id: uuid.UUID) -> list[Task]:
    """Submit what an ended task did not take as the next work of its workspace; for the job, which may run twice.

    Messages whose workspace or agent is gone meanwhile are dropped, with the reason.
    Emits: MessageSettled, and what `submit_task` does. Raises: Temporary when the queue is full.
    """
    with tenant_transaction(org_id):
        messages = list(
            TaskMessage.objects.select_for_update(of=("self",))
            .select_related("task")
            .filter(task_id=task_id, state=MessageState.WAITING)
            .order_by("id")
        )
        submitted = []
        for together in _that_fit(messages):
            task = together[0].task
            try:
                following = submit_task(_author(together[-1]), _order(task, together), source="message")
            except QueueFull as error:
                raise Temporary(error.message, retry_after_s=error.retry_after_s or 1.0) from error
            except (Missing, Conflict) as error:
                events = settled(together, MessageState.DROPPED, reason=error.code)
            else:
                submitted.append(following)
                events = settled(together, MessageState.MOVED, moved_to=following)
            record_events(f"workspace:{task.workspace_id}", events)
        return submitted


def submit_all_left(org_id: uuid.UUID, workspace_id: uuid.UUID) -> None:
    """Submit what ended tasks of a workspace did not take, before their job comes: it was said before what is said now.

    Emits and raises: as `submit_left_messages`.
    """
    with tenant_transaction(org_id):
        left = TaskMessage.objects.filter(
            task__workspace_id=workspace_id, task__status__in=FINAL, state=MessageState.WAITING
        )
        for task_id in sorted(set(left.values_list("task_id", flat=True))):
            submit_left_messages(org_id, task_id)


def _check_text(text: str) -> None:
    if not text.strip():
        raise PromptInvalid("The message is empty.", fields={"text": "empty"})
    if len(text) > MAX_PROMPT_CHARS:
        raise PromptInvalid(
            f"The message is longer than {MAX_PROMPT_CHARS} characters.", fields={"text": "too long"}
        )
    if "\x00" in text:
        raise PromptInvalid("The message holds a NUL character.", fields={"text": "NUL"})


def _claim_key(actor: Actor, key: str | None) -> TaskMessage | None:
    """Return the message that this key made, or None after locking the key for this transaction."""
    if key is None:
        return None
    if not key or len(key) > 200:
        raise Invalid("An Idempotency-Key has 1 to 200 characters.")
    with connection.cursor() as cursor:
        # Two requests with one key must not both miss the row that neither has committed.
        name = f"message/{actor.org_id}/{actor.key}/{key}"
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [name])
    return TaskMessage.objects.filter(actor=actor.key, key=key).first()


def _that_fit(messages: list[TaskMessage]) -> Iterator[list[TaskMessage]]:
    """Yield the messages in groups that fit into one prompt each."""
    group: list[TaskMessage] = []
    for message in messages:
        if group and len(_prompt_of([*group, message])) > MAX_PROMPT_CHARS:
            yield group
            group = []
        group.append(message)
    if group:
        yield group


def _prompt_of(messages: list[TaskMessage]) -> str:
    return _BETWEEN.join(message.text for message in messages)


def _author(message: TaskMessage) -> Actor:
    return Actor(org_id=message.org_id, kind="system", role="owner", user_id=message.user_id)


def _order(task: Task, messages: list[TaskMessage]) -> TaskOrder:
    return TaskOrder(
        workspace_id=task.workspace_id,
        prompt=_prompt_of(messages),
        mode=TaskMode(task.mode),
        model=task.model or None,
        max_turns=task.max_turns,
        max_budget_microusd=task.max_budget_microusd,
        timeout_s=task.timeout_s,
        output_schema=task.output_schema,
        deliver_to=task.deliver_to,
    )
