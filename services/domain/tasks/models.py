"""Tasks: submitted work, its lease, its tokens, its result; and the keys that make a retry harmless."""

from __future__ import annotations

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q

from services.domain.agents.models import Agent
from services.domain.identity.models import User
from services.domain.tenancy.models import TenantModel
from services.domain.workspaces.models import Workspace


class TaskStatus(models.TextChoices):
    QUEUED = "queued"
    STARTING = "starting"
    RUNNING = "running"
    WAITING = "waiting"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


ACTIVE = (TaskStatus.STARTING, TaskStatus.RUNNING, TaskStatus.WAITING)
FINAL = (TaskStatus.SUCCEEDED, TaskStatus.FAILED, TaskStatus.CANCELLED, TaskStatus.EXPIRED)
MAX_PROMPT_CHARS = 200_000


class TaskMode(models.TextChoices):
    SESSION = "session"
    BATCH = "batch"


class Task(TenantModel):
    """One submitted piece of work. It ends in exactly one of the FINAL states.

    `lease_token` fences whoever starts it: an action guarded by a token that is not the row's own changes nothing.
    `sandbox_id` names the sandbox at work on it; events of any other sandbox are dropped. Money is in micro-dollars.
    `answer_due_at` is set from its end until its answer to a chat is written down as deliveries.
    `waited_ms` is how long it waited for people, which does not count towards its timeout; `waiting_seen_at` is when
    somebody last saw it wait.
    """

    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="tasks")
    agent = models.ForeignKey(Agent, on_delete=models.PROTECT, related_name="+")
    user = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    parent = models.ForeignKey("self", on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    hops = models.PositiveSmallIntegerField(default=0)
    return_to = models.ForeignKey(
        Workspace,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
        help_text="The workspace of the agent that asked for it, to which its answer goes.",
    )
    source = models.CharField(max_length=20)
    prompt = models.TextField()
    mode = models.CharField(max_length=8, choices=TaskMode.choices, default=TaskMode.SESSION)
    status = models.CharField(max_length=10, choices=TaskStatus.choices, default=TaskStatus.QUEUED)
    model = models.CharField(max_length=100, blank=True)
    max_turns = models.PositiveIntegerField(null=True)
    max_budget_microusd = models.BigIntegerField(null=True)
    timeout_s = models.PositiveIntegerField()
    output_schema = models.JSONField(null=True)
    deliver_to = models.JSONField(null=True)
    turn = models.PositiveIntegerField(default=0)
    agent_version = models.PositiveIntegerField(null=True, help_text="The version of the agent that did it.")

    attempt = models.PositiveSmallIntegerField(default=0)
    lease_token = models.UUIDField(null=True)
    lease_until = models.DateTimeField(null=True)
    sandbox_id = models.UUIDField(null=True)
    started_at = models.DateTimeField(null=True)
    deadline_at = models.DateTimeField(null=True)
    waiting_seen_at = models.DateTimeField(null=True)
    waited_ms = models.BigIntegerField(default=0)
    cancel_requested_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    answer_due_at = models.DateTimeField(null=True)

    result_text = models.TextField(blank=True)
    error_code = models.CharField(max_length=60, blank=True)
    error_message = models.TextField(blank=True)
    tool_calls = models.PositiveIntegerField(default=0)
    turns = models.PositiveIntegerField(default=0)
    input_tokens = models.BigIntegerField(default=0)
    output_tokens = models.BigIntegerField(default=0)
    cost_microusd = models.BigIntegerField(default=0)
    reserved_microusd = models.BigIntegerField(default=0)

    traceparent = models.CharField(max_length=55, blank=True, default="", db_default="")

    class Meta:
        db_table = "task"
        indexes = [
            models.Index(fields=["org_id", "id"], name="task_queued", condition=Q(status="queued")),
            models.Index(
                fields=["workspace"],
                name="task_active",
                condition=Q(status__in=["starting", "running", "waiting"]),
            ),
            models.Index(fields=["workspace", "id"], name="task_of_workspace"),
            models.Index(
                fields=["workspace", "id"],
                name="task_answer_due",
                condition=Q(answer_due_at__isnull=False),
            ),
            models.Index(
                fields=["org_id", "user", "created_at"], name="task_passed_on", condition=Q(hops__gt=0)
            ),
        ]
        constraints = [
            # A workspace works on one task at a time; two dispatchers cannot both win.
            models.UniqueConstraint(
                fields=["workspace"],
                name="task_one_active",
                condition=Q(status__in=["starting", "running", "waiting"]),
            )
        ]


class TaskToken(TenantModel):
    """A token that a sandbox carries for one task and one audience (`llm`, `mcp:memory`). Dies with the task."""

    task = models.ForeignKey(Task, on_delete=models.CASCADE, related_name="tokens")
    audience = models.CharField(max_length=80)
    token_hash = models.CharField(max_length=64, unique=True)
    expires_at = models.DateTimeField()
    revoked_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "task_token"


class MessageState(models.TextChoices):
    """How far a follow-up is: consumed ones are in the provider's hands, and taken once that turn has ended."""

    WAITING = "waiting"
    CONSUMED = "consumed"
    TAKEN = "taken"
    MOVED = "moved"
    DROPPED = "dropped"


class TaskMessage(TenantModel):
    """A message to a task that had not ended. `moved_to` is the task that it became, when its own did not take it."""

    task = models.ForeignKey(Task, on_delete=models.CASCADE, related_name="messages")
    moved_to = models.ForeignKey(Task, on_delete=models.SET_NULL, null=True, related_name="+")
    user = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, related_name="+")
    actor = models.CharField(max_length=80)
    key = models.CharField(max_length=200, null=True)
    text = models.TextField()
    state = models.CharField(max_length=10, choices=MessageState.choices, default=MessageState.WAITING)
    consumed_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "task_message"
        indexes = [
            models.Index(
                fields=["task", "id"],
                name="task_message_open",
                condition=Q(state__in=["waiting", "consumed"]),
            )
        ]
        constraints = [models.UniqueConstraint(fields=["org_id", "actor", "key"], name="task_message_once")]


class IdempotencyKey(TenantModel):
    """The remembered outcome of a POST, by the key that its caller chose."""

    actor = models.CharField(max_length=80)
    key = models.CharField(max_length=200)
    request_hash = models.CharField(max_length=64)
    task = models.ForeignKey(Task, on_delete=models.CASCADE, related_name="+")

    class Meta:
        db_table = "idempotency_key"
        constraints = [models.UniqueConstraint(fields=["org_id", "actor", "key"], name="idempotency_once")]


class UsageRecord(TenantModel):
    """What one model call used; the sums of a task are exact because each call is a row.

    `rates` is the price at which it is settled, that of its start. `period_ids` are the periods of budgets in which the
    money is set aside, `llm_key_id` the organisation's own key that paid. A call before there is a task, such as a
    voice message put into text, names whom it is for by `agent_id`, `user_id` and `chat_id`; else the task does.
    """

    task = models.ForeignKey(Task, on_delete=models.CASCADE, null=True, related_name="usage_records")
    agent_id = models.UUIDField(null=True)
    user_id = models.UUIDField(null=True)
    chat_id = models.UUIDField(null=True)
    kind = models.CharField(max_length=20)
    model = models.CharField(max_length=100, blank=True)
    input_tokens = models.BigIntegerField(default=0)
    output_tokens = models.BigIntegerField(default=0)
    reserved_microusd = models.BigIntegerField(default=0)
    cost_microusd = models.BigIntegerField(null=True)
    rates = models.JSONField(null=True)
    period_ids = ArrayField(models.UUIDField(), default=list)
    llm_key_id = models.UUIDField(null=True)

    class Meta:
        db_table = "usage_record"
        indexes = [
            models.Index(fields=["created_at"], name="usage_unsettled", condition=Q(cost_microusd=None)),
        ]
