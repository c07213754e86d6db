"""Derived images: an agent's packages on its provider's image, and how the build of them went."""

from __future__ import annotations

from django.db import models

from services.domain.agents.models import Agent
from services.domain.tenancy.models import TenantModel


class ImageStatus(models.TextChoices):
    QUEUED = "queued"
    BUILDING = "building"
    READY = "ready"
    FAILED = "failed"


class AgentImage(TenantModel):
    """One build for one agent. `number` orders an agent's builds; only the newest may change what the agent uses.

    `base` is the tag it was ordered on, `recipe_hash` covers the base's digest and the packages. `hosts` says which
    hosts have the image: host → {"digest", "base"}, for two engines never build the same bytes. `lease_token` fences
    whoever builds it. `unused_at` is since when nobody needs it.
    """

    agent = models.ForeignKey(Agent, on_delete=models.CASCADE, related_name="images")
    number = models.PositiveIntegerField()
    base = models.CharField(max_length=200)
    packages = models.JSONField()
    is_fresh = models.BooleanField(default=False)
    recipe_hash = models.CharField(max_length=64, blank=True)
    status = models.CharField(max_length=10, choices=ImageStatus.choices, default=ImageStatus.QUEUED)
    log = models.TextField(blank=True)
    error_code = models.CharField(max_length=60, blank=True)
    error_message = models.CharField(max_length=300, blank=True)
    tag = models.CharField(max_length=200, blank=True)
    digest = models.CharField(max_length=100, blank=True)
    size_bytes = models.BigIntegerField(default=0)
    hosts = models.JSONField(default=dict)
    attempt = models.PositiveSmallIntegerField(default=0)
    lease_token = models.UUIDField(null=True)
    lease_until = models.DateTimeField(null=True)
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    unused_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "agent_image"
        constraints = [models.UniqueConstraint(fields=["agent", "number"], name="agent_image_once")]
        indexes = [models.Index(fields=["org_id", "recipe_hash"], name="agent_image_recipe")]
