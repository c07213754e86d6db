"""Approvals: what an agent wanted and a person must allow."""

from __future__ import annotations

from django.db import models
from django.db.models import Q

from services.domain.agents.models import Agent
from services.domain.identity.models import User
from services.domain.tasks.models import Task
from services.domain.tenancy.models import TenantModel
from services.domain.workspaces.models import Workspace
from services.kit.clock import now


class ApprovalStatus(models.TextChoices):
    PENDING = "pending"
    ALLOWED = "allowed"
    DENIED = "denied"
    EXPIRED = "expired"


class ApprovalScope(models.TextChoices):
    """How far a yes reaches: this workspace, or the agent for good."""

    ONCE = "once"
    ALWAYS = "always"


class Approval(TenantModel):
    """One thing asked for. `kind` says what `subject` is about; `subject_key` recognises the same question again."""

    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, null=True, related_name="approvals")
    task = models.ForeignKey(Task, on_delete=models.SET_NULL, null=True, related_name="+")
    agent = models.ForeignKey(Agent, on_delete=models.CASCADE, null=True, related_name="+")
    kind = models.CharField(max_length=20)
    subject = models.JSONField()
    subject_key = models.CharField(max_length=64)
    status = models.CharField(max_length=10, choices=ApprovalStatus.choices, default=ApprovalStatus.PENDING)
    scope = models.CharField(max_length=10, choices=ApprovalScope.choices, blank=True)
    asked_at = models.DateTimeField(default=now)
    expires_at = models.DateTimeField()
    decided_by = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, related_name="+")
    decided_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "approval"
        constraints = [
            models.UniqueConstraint(
                fields=["org_id", "workspace", "kind", "subject_key"],
                name="approval_asked_once",
                condition=Q(status="pending"),
                nulls_distinct=False,
            )
        ]
        indexes = [
            models.Index(fields=["workspace", "kind", "status"], name="approval_of_workspace"),
            models.Index(fields=["expires_at"], name="approval_pending", condition=Q(status="pending")),
        ]
