"""A browser that a person wants notifications in, and the key by which push services know this installation."""

from __future__ import annotations

from django.db import models

from services.domain.identity.models import User
from services.domain.tenancy.models import TenantModel
from services.kit.ids import uuid7


class PushSubscription(TenantModel):
    """A browser of a person's. Whoever has its address and keys can show things there, so these are sealed.

    `host` is the push service's. `last_error` is what became of the last notification, if it did not go out.
    """

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="+")
    label = models.CharField(max_length=80, blank=True)
    host = models.CharField(max_length=255)
    endpoint_hash = models.CharField(max_length=64)
    sealed = models.BinaryField()
    key_id = models.CharField(max_length=40)
    last_sent_at = models.DateTimeField(null=True)
    last_error = models.CharField(max_length=200, blank=True)

    class Meta:
        db_table = "push_subscription"
        constraints = [
            models.UniqueConstraint(fields=["org_id", "endpoint_hash"], name="push_subscription_once")
        ]
        indexes = [models.Index(fields=["user"], name="push_subscription_of_user")]


class PushKey(models.Model):
    """The installation's VAPID key, the only one. Browsers subscribe for it, so it stays as long as they do."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    is_current = models.BooleanField(default=True, unique=True)
    sealed = models.BinaryField()
    key_id = models.CharField(max_length=40)
    public = models.CharField(max_length=100)

    class Meta:
        db_table = "push_key"
        constraints = [models.CheckConstraint(condition=models.Q(is_current=True), name="push_key_one_row")]

    def __str__(self) -> str:
        return "The installation's key for web push"
