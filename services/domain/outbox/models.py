"""Jobs on their way to the broker, and jobs that failed for good."""

from __future__ import annotations

from django.db import models

from services.kit.clock import now


class OutboxJob(models.Model):
    """A job that was decided on together with a state change. The relay publishes it, then deletes the row.

    The tenants' role may only insert; a role of the relay's own reads and deletes.
    """

    id = models.BigAutoField(primary_key=True)
    org_id = models.UUIDField(null=True)
    type = models.CharField(max_length=60)
    queue = models.CharField(max_length=80)
    payload = models.JSONField(default=dict)
    attempt = models.PositiveSmallIntegerField(default=0)
    not_before = models.DateTimeField(default=now)
    created_at = models.DateTimeField(default=now)
    traceparent = models.CharField(max_length=55, blank=True, default="", db_default="")

    class Meta:
        db_table = "outbox_job"
        indexes = [models.Index(fields=["not_before", "id"], name="outbox_due")]


class DeadJob(models.Model):
    """A job that failed for good. An operator reads why, and may put it back."""

    id = models.BigAutoField(primary_key=True)
    org_id = models.UUIDField(null=True)
    type = models.CharField(max_length=60)
    queue = models.CharField(max_length=80)
    payload = models.JSONField(default=dict)
    error = models.TextField()
    attempt = models.PositiveSmallIntegerField(default=0)
    died_at = models.DateTimeField(default=now)
    retried_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        db_table = "dead_job"
