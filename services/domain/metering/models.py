"""What sandboxes used, by the hour, and up to where each of them has been counted."""

from __future__ import annotations

from django.db import models

from services.domain.tenancy.models import TenantModel


class SandboxUsageRecord(TenantModel):
    """What one sandbox used of a workspace in one hour; all sums are whole numbers.

    `sandbox_id` None is what belongs to no sandbox: the disk of a workspace at rest, and its network. The ids are
    plain: a record outlives its workspace, for what was used was used.
    """

    workspace_id = models.UUIDField()
    agent_id = models.UUIDField()
    sandbox_id = models.UUIDField(null=True)
    bucket = models.DateTimeField()
    cpu_ms = models.BigIntegerField(default=0)
    memory_byte_seconds = models.BigIntegerField(default=0)
    disk_byte_seconds = models.BigIntegerField(default=0)
    network_up_bytes = models.BigIntegerField(default=0)
    network_down_bytes = models.BigIntegerField(default=0)

    class Meta:
        db_table = "sandbox_usage_record"
        constraints = [
            models.UniqueConstraint(
                fields=["org_id", "workspace_id", "agent_id", "sandbox_id", "bucket"],
                name="sandbox_usage_once",
                nulls_distinct=False,
            )
        ]
        indexes = [models.Index(fields=["org_id", "bucket"], name="sandbox_usage_recent")]


class Meter(TenantModel):
    """Up to where a sandbox's counters (`subject_id` is the sandbox) or a workspace's disk (the workspace) are counted.

    It moves in the transaction that writes the record, so nothing is counted twice and nothing is lost. `counted_at`
    is a whole second; `read_at` is when the last reading had ended, and one that began before is not newer.
    """

    subject_id = models.UUIDField()
    workspace_id = models.UUIDField()
    agent_id = models.UUIDField()
    counted_at = models.DateTimeField()
    read_at = models.DateTimeField()
    cpu_ms = models.BigIntegerField(default=0)
    disk_bytes = models.BigIntegerField(default=0)

    class Meta:
        db_table = "meter"
        constraints = [models.UniqueConstraint(fields=["org_id", "subject_id"], name="meter_once")]
        indexes = [models.Index(fields=["read_at"], name="meter_read")]
