"""What agents remember, by user and agent, searchable by full text."""

from __future__ import annotations

from django.contrib.postgres.indexes import GinIndex
from django.contrib.postgres.lookups import TrigramWordSimilar
from django.contrib.postgres.search import SearchVectorField
from django.db import models

from services.domain.agents.models import Agent
from services.domain.identity.models import User
from services.domain.tenancy.models import TenantModel
from services.kit.clock import now

# Django registers it with an app that nothing else here needs.
models.TextField.register_lookup(TrigramWordSimilar)


class Memory(TenantModel):
    """One remembered note. `name` is its key within (user, agent); writing the same name again replaces it.

    `version` counts its changes, so that a writer can say which one it has read. `words` holds each word of `search`
    once, for finding misspelt ones: an index over whole bodies would be larger than the bodies.
    """

    agent = models.ForeignKey(Agent, on_delete=models.CASCADE, related_name="+")
    user = models.ForeignKey(User, on_delete=models.CASCADE, null=True, related_name="+")
    name = models.CharField(max_length=120)
    body = models.TextField()
    search = SearchVectorField(null=True)
    words = models.TextField(default="", blank=True)
    version = models.PositiveIntegerField(default=1)
    updated_at = models.DateTimeField(default=now)

    class Meta:
        db_table = "memory"
        constraints = [
            models.UniqueConstraint(
                fields=["org_id", "agent", "user", "name"], name="memory_once", nulls_distinct=False
            )
        ]
        indexes = [
            GinIndex(fields=["search"], name="memory_search"),
            GinIndex(fields=["words"], opclasses=["gin_trgm_ops"], name="memory_words"),
        ]
