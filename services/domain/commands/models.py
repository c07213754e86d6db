"""Durable commands: what a person runs in a workspace beside any task, and what became of it."""

from __future__ import annotations

from django.db import models
from django.db.models import Q

from services.domain.identity.models import User
from services.domain.tenancy.models import TenantModel
from services.domain.workspaces.models import Workspace

MAX_TEXT_CHARS = 100_000
TAIL_CHARS = 64 * 1024


class CommandStatus(models.TextChoices):
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    LOST = "lost"


OPEN = (CommandStatus.QUEUED, CommandStatus.RUNNING)


class Command(TenantModel):
    """One command. `sandbox_id` is set once a sandbox was told of it, and no other is told after that.

    `output` is the end of what it printed, `output_bytes` how long all of it was.
    """

    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="commands")
    started_by = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, related_name="+")
    text = models.TextField()
    status = models.CharField(max_length=10, choices=CommandStatus.choices, default=CommandStatus.QUEUED)
    timeout_s = models.PositiveIntegerField()
    sandbox_id = models.UUIDField(null=True)
    exit_code = models.IntegerField(null=True)
    error = models.CharField(max_length=300, blank=True)
    output = models.TextField(blank=True)
    output_bytes = models.BigIntegerField(default=0)
    cancel_requested_at = models.DateTimeField(null=True)
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "command"
        indexes = [
            models.Index(fields=["workspace", "-id"], name="command_of_workspace"),
            models.Index(fields=["workspace"], name="command_open", condition=Q(finished_at=None)),
        ]
