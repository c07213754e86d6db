"""What agents called through the gateway: which tool or model, how it went, how long it took. Never what was said."""

from __future__ import annotations

from django.db import models

from services.domain.tenancy.models import TenantModel


class CallKind(models.TextChoices):
    """Whose the called thing is: a server of ours, one that a tenant registered, a model's vendor."""

    OWN = "own"
    UPSTREAM = "upstream"
    MODEL = "model"


class CallOutcome(models.TextChoices):
    """How a call went, in few words; `code` says it exactly."""

    OK = "ok"
    ERROR = "error"
    REFUSED = "refused"
    LIMITED = "limited"
    HELD = "held"
    TIMEOUT = "timeout"
    CANCELLED = "cancelled"


class McpCall(TenantModel):
    """One call that ended. It holds sizes and names, never arguments or results.

    The ids are plain: a record outlives its task, for what was called was called. `task_id` is null where a person's
    own client called. `attempts` is how often a vendor was asked for a model's answer; null for tools.
    """

    kind = models.CharField(max_length=8, choices=CallKind.choices)
    server = models.CharField(max_length=80)
    tool = models.CharField(max_length=200)
    outcome = models.CharField(max_length=10, choices=CallOutcome.choices)
    code = models.CharField(max_length=60, blank=True)
    task_id = models.UUIDField(null=True)
    agent_id = models.UUIDField(null=True)
    user_id = models.UUIDField(null=True)
    started_at = models.DateTimeField()
    duration_ms = models.FloatField()
    request_bytes = models.PositiveIntegerField()
    result_bytes = models.PositiveIntegerField()
    attempts = models.PositiveSmallIntegerField(null=True)

    class Meta:
        db_table = "mcp_call"
        indexes = [
            models.Index(fields=["org_id", "id"], name="mcp_call_recent"),
            models.Index(fields=["org_id", "task_id", "id"], name="mcp_call_of_task"),
        ]
