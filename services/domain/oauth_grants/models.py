"""What a row has that keeps a grant, and what an authorization that is under way has. The tables are the apps' own."""

from __future__ import annotations

from typing import Any

from django.db import models

from services.domain.identity.models import User
from services.domain.tenancy.models import TenantModel
from services.kit.clock import now


class GrantedModel(TenantModel):
    """A row with sealed values, one of which may be a `grant`. `refresh_claim` fences whoever refreshes its token.

    Each kind has a `name` and a `status` of its own; one of the latter is `unauthorised`.
    """

    name: Any
    status: Any

    sealed = models.BinaryField(null=True)
    key_id = models.CharField(max_length=40, blank=True)
    last_error = models.CharField(max_length=500, blank=True)
    checked_at = models.DateTimeField(null=True)
    refresh_claim = models.UUIDField(null=True)
    refresh_until = models.DateTimeField(null=True)
    updated_at = models.DateTimeField(default=now)

    class Meta:
        abstract = True


class AuthorizationModel(TenantModel):
    """An authorization that a person began: good once, for this person in this browser, for some minutes."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="+")
    state_hash = models.CharField(max_length=64, unique=True)
    browser_hash = models.CharField(max_length=64, blank=True)
    sealed = models.BinaryField()
    key_id = models.CharField(max_length=40)
    expires_at = models.DateTimeField()

    class Meta:
        abstract = True
