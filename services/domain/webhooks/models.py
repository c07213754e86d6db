"""Addresses that an organisation wants told of events, what they are told, and every attempt to tell them."""

from __future__ import annotations

from typing import Any

from django.contrib.postgres.fields import ArrayField
from django.db import models

from services.domain.identity.models import User
from services.domain.tenancy.models import TenantModel
from services.kit.clock import now


class WebhookEndpoint(TenantModel):
    """An address and the types of events that it is told. Its secrets are sealed: the one in use, and the one before.

    `disabled_reason` is set when the platform gave it up, and empty when a person switched it off.
    """

    name = models.CharField(max_length=80)
    url = models.CharField(max_length=500)
    event_types: ArrayField[Any, Any] = ArrayField(models.CharField(max_length=60))
    is_enabled = models.BooleanField(default=True)
    disabled_reason = models.CharField(max_length=200, blank=True)
    sealed = models.BinaryField()
    key_id = models.CharField(max_length=40)
    old_secret_until = models.DateTimeField(null=True, help_text="Until then the secret before signs too.")
    last_success_at = models.DateTimeField(null=True)
    last_failure_at = models.DateTimeField(null=True)
    made_by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    updated_at = models.DateTimeField(default=now)

    class Meta:
        db_table = "webhook_endpoint"
        indexes = [
            models.Index(fields=["org_id"], name="webhook_of_org", condition=models.Q(is_enabled=True))
        ]


class WebhookStatus(models.TextChoices):
    QUEUED = "queued"
    SENT = "sent"
    FAILED = "failed"


class WebhookDelivery(TenantModel):
    """One event for one address, as it was when it happened. `next_attempt_at` is also the lease of who sends it."""

    # No constraint: it would make whatever happens fail when a webhook is removed at that moment.
    endpoint = models.ForeignKey(
        WebhookEndpoint, on_delete=models.CASCADE, related_name="deliveries", db_constraint=False
    )
    event_type = models.CharField(max_length=60)
    stream = models.CharField(max_length=80, blank=True)
    seq = models.BigIntegerField(null=True)
    body = models.JSONField()
    status = models.CharField(max_length=10, choices=WebhookStatus.choices, default=WebhookStatus.QUEUED)
    attempts = models.PositiveIntegerField(default=0)
    next_attempt_at = models.DateTimeField(default=now)
    expires_at = models.DateTimeField()
    error = models.CharField(max_length=200, blank=True)
    finished_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "webhook_delivery"
        constraints = [
            models.UniqueConstraint(fields=["endpoint", "stream", "seq"], name="webhook_told_once"),
        ]
        indexes = [
            models.Index(
                fields=["next_attempt_at"],
                name="webhook_due",
                condition=models.Q(status=WebhookStatus.QUEUED),
            ),
            models.Index(fields=["endpoint", "-id"], name="webhook_newest"),
            models.Index(fields=["created_at"], name="webhook_old"),
        ]


class WebhookAttempt(TenantModel):
    """One call. `status_code` is empty when there was no answer; `answer` is its beginning."""

    delivery = models.ForeignKey(WebhookDelivery, on_delete=models.CASCADE, related_name="log")
    number = models.PositiveIntegerField()
    duration_ms = models.PositiveIntegerField()
    status_code = models.PositiveSmallIntegerField(null=True)
    error = models.CharField(max_length=200, blank=True)
    answer = models.CharField(max_length=1_000, blank=True)

    class Meta:
        db_table = "webhook_attempt"
