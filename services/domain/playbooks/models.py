"""Playbooks: a prompt that a schedule, a webhook or a person fires; and each time that it did."""

from __future__ import annotations

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q

from services.domain.agents.models import Agent
from services.domain.identity.models import User
from services.domain.tasks.models import Task
from services.domain.tenancy.models import TenantModel
from services.domain.workspaces.models import Workspace
from services.kit.clock import now


class Playbook(TenantModel):
    """A prompt with its trigger. `cron` is five fields, read in `timezone`; `next_run_at` is when it is due.

    `run_at` is a moment at which it is due once. `made_by` is the agent that made it: then `hops` says how often work
    had been passed on before, and each run may cost at most `max_budget_microusd`, if that is set.
    """

    agent = models.ForeignKey(Agent, on_delete=models.CASCADE, related_name="playbooks")
    user = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, related_name="+")
    name = models.CharField(max_length=80)
    prompt = models.TextField()
    cron = models.CharField(max_length=100, blank=True)
    timezone = models.CharField(max_length=60, default="UTC")
    is_enabled = models.BooleanField(default=True)
    keeps_workspace = models.BooleanField(
        default=False, help_text="Each run goes on in the same workspace instead of a new one."
    )
    workspace = models.ForeignKey(Workspace, on_delete=models.SET_NULL, null=True, related_name="+")
    deliver_to = models.JSONField(null=True, blank=True)
    run_at = models.DateTimeField(null=True, blank=True)
    made_by = models.ForeignKey(Agent, on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    hops = models.PositiveSmallIntegerField(default=0)
    max_budget_microusd = models.BigIntegerField(null=True, blank=True)
    sealed_hook_secret = models.BinaryField(null=True)
    hook_key_id = models.CharField(max_length=40, blank=True)
    next_run_at = models.DateTimeField(null=True, blank=True)
    updated_at = models.DateTimeField(default=now)

    class Meta:
        db_table = "playbook"
        indexes = [models.Index(fields=["next_run_at"], name="playbook_due", condition=Q(is_enabled=True))]


class PlaybookRun(TenantModel):
    """One firing. `key` is unique for each reason to fire: a due time, a hook's idempotency key, a click."""

    playbook = models.ForeignKey(Playbook, on_delete=models.CASCADE, related_name="runs")
    task = models.ForeignKey(Task, on_delete=models.SET_NULL, null=True, related_name="+")
    trigger = models.CharField(max_length=10)
    key = models.CharField(max_length=200)
    due_at = models.DateTimeField(null=True)
    error = models.CharField(max_length=300, blank=True)
    signatures = ArrayField(
        models.CharField(max_length=64),
        default=list,
        blank=True,
        help_text="Of the hook's calls that named this run.",
    )

    class Meta:
        db_table = "playbook_run"
        constraints = [models.UniqueConstraint(fields=["playbook", "key"], name="playbook_run_once")]
