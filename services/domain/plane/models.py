"""The sandbox plane: hosts, and sandboxes with their leases. It lies in a logical database of its own."""

from __future__ import annotations

from django.db import models
from django.db.models import Q

from services.kit.clock import now
from services.kit.ids import uuid7


class Host(models.Model):
    """A machine that runs sandboxes: what it has room for, and when it last said that it is alive.

    `epoch` changes each time the host is fenced: what it started under an earlier one is no longer its own.
    `accepted_gaps` are promises that the operator lets it break. `gateway_url` is where its gateway hears the others.
    """

    name = models.CharField(primary_key=True, max_length=60)
    driver = models.CharField(max_length=20)
    slots = models.PositiveIntegerField()
    engine_version = models.CharField(max_length=60, blank=True)
    gateway_url = models.CharField(max_length=200, blank=True)
    missing_promises = models.JSONField(default=list)
    accepted_gaps = models.JSONField(default=list)
    runtimes = models.JSONField(default=list)
    images = models.JSONField(default=list)
    memory_bytes = models.BigIntegerField(default=0)
    memory_free_bytes = models.BigIntegerField(default=0)
    is_draining = models.BooleanField(default=False)
    epoch = models.UUIDField(default=uuid7)
    fenced_at = models.DateTimeField(null=True, blank=True)
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
    """The container of a workspace, or a warm one that is nobody's yet. `task_id` is the task that it works on.

    `link_until` is renewed by the gateway while the runner's link is open: a lease that proves the sandbox alive.
    `held_until` is renewed while a person or a command uses it beside any task: it does not count as idle before.
    `profile` names what a warm one must have in common with what is wanted: image, runtime and limits.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    host = models.ForeignKey(Host, on_delete=models.PROTECT, related_name="sandboxes")
    host_epoch = models.UUIDField(null=True)
    org_id = models.UUIDField(null=True)
    workspace_id = models.UUIDField(null=True)
    task_id = models.UUIDField(null=True)
    image = models.CharField(max_length=200)
    runtime = models.CharField(max_length=60, blank=True)
    volume = models.CharField(max_length=80, blank=True)
    profile = models.CharField(max_length=64, blank=True)
    memory_bytes = models.BigIntegerField(default=1024**3)
    disk_bytes = models.BigIntegerField(default=2 * 1024**3)
    pids = models.PositiveIntegerField(default=256)
    cpus = models.FloatField(default=1.0)
    state = models.CharField(max_length=10, choices=SandboxState.choices, default=SandboxState.CREATING)
    state_at = models.DateTimeField(default=now)
    used_at = models.DateTimeField(default=now)
    held_until = models.DateTimeField(null=True)
    link_until = models.DateTimeField(null=True)
    idle_pause_s = models.PositiveIntegerField(default=120)
    idle_stop_s = models.PositiveIntegerField(default=600)
    error = models.CharField(max_length=300, blank=True)
    claimed_at = models.DateTimeField(null=True)
    metered_at = models.DateTimeField(null=True)
    metered_cpu_ms = models.BigIntegerField(default=0)
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


class Volume(models.Model):
    """A persistent workspace's files: on which host they lie, and their latest snapshot in object storage.

    `host` is None while they lie in the snapshot alone. `changed_at` is when a turn or a person may last have written.
    `lost_host` is the fenced host on which they lay: it may still bring them back, until they were restored elsewhere.
    """

    workspace_id = models.UUIDField(primary_key=True)
    org_id = models.UUIDField()
    host = models.ForeignKey(Host, on_delete=models.PROTECT, null=True, related_name="volumes")
    name = models.CharField(max_length=80)
    disk_bytes = models.BigIntegerField()
    changed_at = models.DateTimeField(default=now)
    archive_after_s = models.PositiveIntegerField(null=True)
    snapshot_key = models.CharField(max_length=200, blank=True)
    snapshot_at = models.DateTimeField(null=True)
    snapshot_bytes = models.BigIntegerField(default=0)
    snapshot_sha256 = models.CharField(max_length=64, blank=True)
    lost_host = models.CharField(max_length=60, blank=True)
    created_at = models.DateTimeField(default=now)

    class Meta:
        db_table = "volume"
        constraints = [models.UniqueConstraint(fields=["host", "name"], name="volume_once_on_host")]
        indexes = [models.Index(fields=["host", "changed_at"], name="volume_on_host")]


class WarmDemand(models.Model):
    """How often a profile was wanted on a host of late: what the warm pool is sized by. `rate` is a decaying count."""

    host = models.ForeignKey(Host, on_delete=models.CASCADE, related_name="demands")
    profile = models.CharField(max_length=64)
    wanted = models.JSONField()
    rate = models.FloatField(default=0.0)
    last_wanted_at = models.DateTimeField(default=now)

    class Meta:
        db_table = "warm_demand"
        constraints = [models.UniqueConstraint(fields=["host", "profile"], name="warm_demand_once")]
