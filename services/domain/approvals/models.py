"""Approvals: what an agent wanted and a person must allow; and the rules that say which tool calls need one."""

from __future__ import annotations

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q

from services.domain.agents.models import Agent
from services.domain.chats.models import Chat
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


class ApprovalRule(TenantModel):
    """What becomes of some tool calls. The fields are those of `rules.RuleFields`; an empty one is not looked at."""

    name = models.CharField(max_length=120, blank=True)
    effect = models.CharField(max_length=5)
    tool = models.CharField(max_length=200)
    agent = models.ForeignKey(Agent, on_delete=models.CASCADE, null=True, blank=True, related_name="+")
    chat = models.ForeignKey(Chat, on_delete=models.CASCADE, null=True, blank=True, related_name="+")
    arguments = models.JSONField(default=list, blank=True)
    priority = models.SmallIntegerField(default=0)
    people = models.PositiveSmallIntegerField(default=1)
    decider_role = models.CharField(max_length=10, default="member")
    decider_ids = ArrayField(models.UUIDField(), default=list, blank=True)
    may_decide_own = models.BooleanField(default=True)
    lifetime_s = models.PositiveIntegerField()
    is_enabled = models.BooleanField(default=True)
    created_by = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, related_name="+")
    updated_at = models.DateTimeField(default=now)

    class Meta:
        db_table = "approval_rule"


class Approval(TenantModel):
    """One thing asked for. `kind` says what `subject` is about; `subject_key` recognises the same question again.

    `people`, `decider_role`, `decider_ids` and `may_decide_own` are how it is decided, as `rules.Terms` has it;
    `for_user` is the person that the work is for. `choice` is what a yes chose, of kinds where it chooses. `used_at` is
    set where a yes is good for one use and was used.
    """

    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, null=True, related_name="approvals")
    task = models.ForeignKey(Task, on_delete=models.SET_NULL, null=True, related_name="+")
    agent = models.ForeignKey(Agent, on_delete=models.CASCADE, null=True, related_name="+")
    rule = models.ForeignKey(ApprovalRule, on_delete=models.SET_NULL, null=True, related_name="+")
    for_user = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, related_name="+")
    kind = models.CharField(max_length=20)
    subject = models.JSONField()
    subject_key = models.CharField(max_length=64)
    status = models.CharField(max_length=10, choices=ApprovalStatus.choices, default=ApprovalStatus.PENDING)
    scope = models.CharField(max_length=10, choices=ApprovalScope.choices, blank=True)
    choice = models.CharField(max_length=60, blank=True, default="", db_default="")
    people = models.PositiveSmallIntegerField(default=1)
    decider_role = models.CharField(max_length=10, default="member")
    decider_ids = ArrayField(models.UUIDField(), default=list, blank=True)
    may_decide_own = models.BooleanField(default=True)
    asked_at = models.DateTimeField(default=now)
    expires_at = models.DateTimeField()
    decided_by = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, related_name="+")
    decided_at = models.DateTimeField(null=True)
    used_at = models.DateTimeField(null=True)

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


class ApprovalVote(TenantModel):
    """One person's yes to something that two must agree to."""

    approval = models.ForeignKey(Approval, on_delete=models.CASCADE, related_name="votes")
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="+")
    scope = models.CharField(max_length=10, choices=ApprovalScope.choices)

    class Meta:
        db_table = "approval_vote"
        constraints = [models.UniqueConstraint(fields=["approval", "user"], name="approval_vote_once")]


class HeldState(models.TextChoices):
    """How far a held call is. `lost`: it was begun and nobody knows how it ended, so it is not begun again."""

    HELD = "held"
    RUNNING = "running"
    DONE = "done"
    REFUSED = "refused"
    LOST = "lost"


class HeldCall(TenantModel):
    """A tool call that waits for its approval. It is run at most once, by whoever claims it first.

    The arguments are sealed; the approval's subject shows them. `target` is a hash of what was to be called, so that
    something else of the same name is not. `claim_token` fences who runs it; `handed_at` says that the result went out.
    """

    approval = models.OneToOneField(Approval, on_delete=models.CASCADE, related_name="call")
    task = models.ForeignKey(Task, on_delete=models.CASCADE, related_name="+")
    server = models.CharField(max_length=60)
    tool = models.CharField(max_length=128)
    call_key = models.CharField(max_length=64)
    target = models.CharField(max_length=64)
    is_risky = models.BooleanField(default=False)
    sealed_arguments = models.BinaryField()
    key_id = models.CharField(max_length=40)
    state = models.CharField(max_length=8, choices=HeldState.choices, default=HeldState.HELD)
    claim_token = models.UUIDField(null=True)
    claim_until = models.DateTimeField(null=True)
    result = models.JSONField(null=True)
    reason = models.CharField(max_length=500, blank=True)
    finished_at = models.DateTimeField(null=True)
    handed_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "held_call"
        indexes = [
            models.Index(fields=["task", "call_key"], name="held_call_of_task"),
            models.Index(fields=["id"], name="held_call_open", condition=Q(state__in=["held", "running"])),
        ]
