"""Connected accounts, and the authorizations that people have begun and not finished."""

from __future__ import annotations

from django.contrib.postgres.fields import ArrayField
from django.db import models

from services.domain.identity.models import User
from services.domain.tenancy.models import TenantModel
from services.kit.clock import now


class IntegrationStatus(models.TextChoices):
    """What was found when the account was used or tried last. `unauthorised` ones wait for a person."""

    UNCHECKED = "unchecked"
    OK = "ok"
    UNAUTHORISED = "unauthorised"
    BROKEN = "broken"


class Integration(TenantModel):
    """An account elsewhere. With an `owner` only that person's work uses it, else the organisation's.

    `agent_ids` None grants it to all agents, a list to those named. `identity` is who the provider says it is.
    Sealed are `credentials`, as the kind's model has them, and `grant`, the tokens of an OAuth kind. `refresh_claim`
    fences whoever refreshes the access token. `updated_at` is the version of settings and credentials.
    """

    owner = models.ForeignKey(User, on_delete=models.CASCADE, null=True, blank=True, related_name="+")
    created_by = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, related_name="+")
    kind = models.CharField(max_length=40)
    name = models.CharField(max_length=80)
    identity = models.CharField(max_length=200, blank=True)
    agent_ids = ArrayField(models.UUIDField(), null=True, blank=True)
    is_enabled = models.BooleanField(default=True)
    settings = models.JSONField(default=dict, blank=True)
    sealed = models.BinaryField(null=True)
    key_id = models.CharField(max_length=40, blank=True)

    status = models.CharField(
        max_length=14, choices=IntegrationStatus.choices, default=IntegrationStatus.UNCHECKED
    )
    last_error = models.CharField(max_length=500, blank=True)
    checked_at = models.DateTimeField(null=True)
    last_used_at = models.DateTimeField(null=True)
    refresh_claim = models.UUIDField(null=True)
    refresh_until = models.DateTimeField(null=True)
    updated_at = models.DateTimeField(default=now)

    class Meta:
        db_table = "integration"
        constraints = [
            models.UniqueConstraint(
                fields=["org_id", "kind", "owner", "name"],
                name="integration_name_once",
                nulls_distinct=False,
            )
        ]

    def __str__(self) -> str:
        return self.name


class IntegrationAuthorization(TenantModel):
    """An authorization that a person began: good once, for this person in this browser, for some minutes.

    `version` is the account's when it was begun: what is changed meanwhile cannot be finished.
    """

    integration = models.ForeignKey(Integration, on_delete=models.CASCADE, related_name="+")
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="+")
    version = models.DateTimeField()
    state_hash = models.CharField(max_length=64, unique=True)
    browser_hash = models.CharField(max_length=64, blank=True)
    sealed = models.BinaryField()
    key_id = models.CharField(max_length=40)
    expires_at = models.DateTimeField()

    class Meta:
        db_table = "integration_authorization"
