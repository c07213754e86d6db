"""The sandbox plane: hosts, and sandboxes with their leases. It lies in a logical database of its own."""

from __future__ import annotations

from django.db import models
from django.db.models import Q

from services.kit.clock import now
from services.kit.ids import uuid7


class Host(models.Model):
    """A machine that runs sandboxes: how many it has room for, and when it last said that it is alive."""

    name = models.CharField(primary_key=True, max_length=60)
    driver = models.CharField(max_length=20)
    slots = models.PositiveIntegerField()
    engine_version = models.CharField(max_length=60, blank=True)
    missing_promises = models.JSONField(default=list)
    is_draining = models.BooleanField(default=False)
    last_beat_at = models.DateTimeField(default=now)

    class Meta:
        db_table = "host"

    def __str__(self) -> str:
        return self.name


class SandboxState(models.TextChoices):
    CREATING = "creating"
    WARM = "warm"
    BUSY = "busy"
    IDLE = "idle"
    PAUSED = "paused"
    STOPPED = "stopped"
    DESTROYED = "destroyed"
    FAILED = "failed"


HOLDS_SLOT = (
    SandboxState.CREATING,
    SandboxState.WARM,
    SandboxState.BUSY,
    SandboxState.IDLE,
    SandboxState.PAUSED,
)


class Sandbox(models.Model):
    """The container of a workspace. `task_id` is the task it was started for or works on.

    `link_until` is renewed by the gateway while the runner's link is open: a lease that proves the sandbox alive.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    host = models.ForeignKey(Host, on_delete=models.PROTECT, related_name="sandboxes")
    org_id = models.UUIDField()
    workspace_id = models.UUIDField()
    task_id = models.UUIDField(null=True)
    image = models.CharField(max_length=200)
    volume = models.CharField(max_length=80, blank=True)
    state = models.CharField(max_length=10, choices=SandboxState.choices, default=SandboxState.CREATING)
    state_at = models.DateTimeField(default=now)
    link_until = models.DateTimeField(null=True)
    idle_stop_s = models.PositiveIntegerField(default=600)
    error = models.CharField(max_length=300, blank=True)
    created_at = models.DateTimeField(default=now)

    class Meta:
        db_table = "sandbox"
        indexes = [
            models.Index(fields=["host", "state"], name="sandbox_on_host"),
            models.Index(fields=["workspace_id"], name="sandbox_of_workspace"),
        ]
        constraints = [
            # A workspace has one sandbox that can work; a second dispatcher's row is refused here.
            models.UniqueConstraint(
                fields=["workspace_id"],
                name="sandbox_one_live",
                condition=Q(state__in=["creating", "warm", "busy", "idle", "paused"]),
            )
        ]
