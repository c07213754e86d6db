"""Skills: what an organisation teaches its agents, as files that are in the workspace of every turn."""

from __future__ import annotations

from django.db import models

from services.domain.tenancy.models import TenantModel
from services.kit.clock import now


class Skill(TenantModel):
    """How to do one kind of work. `body` is Markdown; `files` maps paths beside it to texts that it refers to."""

    name = models.CharField(max_length=60)
    description = models.CharField(max_length=500)
    body = models.TextField()
    files = models.JSONField(default=dict)
    updated_at = models.DateTimeField(default=now)

    class Meta:
        db_table = "skill"
        constraints = [models.UniqueConstraint(fields=["org_id", "name"], name="skill_once")]
