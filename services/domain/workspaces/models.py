"""Workspaces: one conversation with an agent, its files, and what its provider remembers of it."""

from __future__ import annotations

from django.db import models

from services.domain.agents.models import Agent
from services.domain.identity.models import User
from services.domain.tenancy.models import TenantModel
from services.kit.clock import now


class Workspace(TenantModel):
    """An instance of an agent. `sandbox_state` mirrors the sandbox plane for readers; the plane decides.

    Its stream's name is `workspace:<id>`.
    """

    agent = models.ForeignKey(Agent, on_delete=models.PROTECT, related_name="workspaces")
    user = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    name = models.CharField(max_length=120, blank=True)
    source = models.CharField(max_length=20, default="api")
    is_persistent = models.BooleanField(default=True)
    sandbox_state = models.CharField(max_length=12, default="none")
    turn_count = models.PositiveIntegerField(default=0)
    last_active_at = models.DateTimeField(default=now)
    archived_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        db_table = "workspace"
        indexes = [models.Index(fields=["org_id", "-last_active_at"], name="workspace_recent")]

    @property
    def stream(self) -> str:
        """Return the name of this workspace's event stream."""
        return f"workspace:{self.id}"


class SessionEntry(TenantModel):
    """One entry of a provider's session, appended in order, so that a turn can resume in a new sandbox."""

    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="session_entries")
    provider_session_id = models.CharField(max_length=120)
    seq = models.BigIntegerField()
    entry = models.JSONField()

    class Meta:
        db_table = "session_entry"
        constraints = [
            models.UniqueConstraint(
                fields=["workspace", "provider_session_id", "seq"], name="session_entry_in_order"
            )
        ]
