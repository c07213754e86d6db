"""What was answered to a request with an Idempotency-Key."""

from __future__ import annotations

from django.db import models

from services.domain.tenancy.models import TenantModel
from services.kit.clock import now


class KeptAnswer(TenantModel):
    """An answer, sealed, because some name a token or a secret. Without one, the request is under way since then."""

    actor_key = models.CharField(max_length=60)
    key = models.CharField(max_length=150)
    request_hash = models.CharField(max_length=64)
    begun_at = models.DateTimeField(default=now)
    status = models.PositiveSmallIntegerField(null=True)
    sealed = models.BinaryField(null=True)
    key_id = models.CharField(max_length=40, blank=True)

    class Meta:
        db_table = "kept_answer"
        constraints = [
            models.UniqueConstraint(fields=["org_id", "actor_key", "key"], name="kept_answer_once")
        ]
        indexes = [models.Index(fields=["begun_at"], name="kept_answer_begun")]
