"""Secrets: sealed values, and which agents may have them."""

from __future__ import annotations

from django.contrib.postgres.fields import ArrayField
from django.db import models

from services.domain.identity.models import User
from services.domain.tenancy.models import TenantModel
from services.kit.clock import now


class Secret(TenantModel):
    """A sealed value. `agent_ids` None grants it to all agents of the organisation; a list, to those named."""

    name = models.CharField(max_length=80)
    sealed = models.BinaryField()
    key_id = models.CharField(max_length=40)
    agent_ids = ArrayField(models.UUIDField(), null=True, blank=True)
    created_by = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, related_name="+")
    updated_at = models.DateTimeField(default=now)
    last_used_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        db_table = "secret"
        constraints = [models.UniqueConstraint(fields=["org_id", "name"], name="secret_name_once")]
