"""What agents remember, by user and agent, searchable by full text."""

from __future__ import annotations

from django.contrib.postgres.indexes import GinIndex
from django.contrib.postgres.search import SearchVectorField
from django.db import models

from services.domain.agents.models import Agent
from services.domain.identity.models import User
from services.domain.tenancy.models import TenantModel
from services.kit.clock import now


class Memory(TenantModel):
    """One remembered note. `name` is its key within (user, agent); writing the same name again replaces it."""

    agent = models.ForeignKey(Agent, on_delete=models.CASCADE, related_name="+")
    user = models.ForeignKey(User, on_delete=models.CASCADE, null=True, related_name="+")
    name = models.CharField(max_length=120)
    body = models.TextField()
    search = SearchVectorField(null=True)
    updated_at = models.DateTimeField(default=now)

    class Meta:
        db_table = "memory"
        constraints = [
            models.UniqueConstraint(
                fields=["org_id", "agent", "user", "name"], name="memory_once", nulls_distinct=False
            )
        ]
        indexes = [GinIndex(fields=["search"], name="memory_search")]
