"""Connected accounts, and the authorizations that people have begun and not finished."""

from __future__ import annotations

from django.contrib.postgres.fields import ArrayField
from django.db import models

from services.domain.identity.models import User
from services.domain.oauth_grants.models import AuthorizationModel, GrantedModel


class IntegrationStatus(models.TextChoices):
    """What was found when the account was used or tried last. `unauthorised` ones wait for a person."""

    UNCHECKED = "unchecked"
    OK = "ok"
    UNAUTHORISED = "unauthorised"
    BROKEN = "broken"


class Integration(GrantedModel):
    """An account elsewhere. With an `owner` only that person's work uses it, else the organisation's.

    `agent_ids` None grants it to all agents, a list to those named. `identity` is who the provider says it is.
    Sealed are `credentials`, as the kind's model has them, and `grant`, the tokens of an OAuth kind. `updated_at`
    is the version of settings and credentials.
    """

    owner = models.ForeignKey(User, on_delete=models.CASCADE, null=True, blank=True, related_name="+")
    created_by = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, related_name="+")
    kind = models.CharField(max_length=40)
    name = models.CharField(max_length=80)
    identity = models.CharField(max_length=200, blank=True)
    agent_ids = ArrayField(models.UUIDField(), null=True, blank=True)
    is_enabled = models.BooleanField(default=True)
    settings = models.JSONField(default=dict, blank=True)

    status = models.CharField(
        max_length=14, choices=IntegrationStatus.choices, default=IntegrationStatus.UNCHECKED
    )
    last_used_at = models.DateTimeField(null=True)

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


class IntegrationAuthorization(AuthorizationModel):
    """An authorization of an account. `version` is the account's then: what is changed meanwhile cannot be finished."""

    integration = models.ForeignKey(Integration, on_delete=models.CASCADE, related_name="+")
    version = models.DateTimeField()

    class Meta:
        db_table = "integration_authorization"
