"""Questions that agents ask people, and the presses of buttons that answer them."""

from __future__ import annotations

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q

from services.domain.agents.models import Agent
from services.domain.chats.models import Chat, Link
from services.domain.identity.models import User
from services.domain.tasks.models import Task
from services.domain.tenancy.models import TenantModel
from services.domain.workspaces.models import Workspace
from services.kit.clock import now


class QuestionStatus(models.TextChoices):
    """`withdrawn`: its task ended before anybody answered."""

    PENDING = "pending"
    ANSWERED = "answered"
    EXPIRED = "expired"
    WITHDRAWN = "withdrawn"


class Question(TenantModel):
    """One question. It is answered once, from wherever the first answer comes.

    `asked_of` names the people who may answer; empty means whoever may work with the task, or is in the chat.
    `option` counts from 0; None for an answer in the person's own words. `key` recognises the same question again.
    """

    task = models.ForeignKey(Task, on_delete=models.CASCADE, related_name="+")
    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="+")
    agent = models.ForeignKey(Agent, on_delete=models.CASCADE, related_name="+")
    chat = models.ForeignKey(Chat, on_delete=models.SET_NULL, null=True, related_name="+")
    thread_id = models.CharField(max_length=120, blank=True)
    reply_to = models.CharField(max_length=120, blank=True)
    text = models.TextField()
    options = ArrayField(models.CharField(max_length=200), default=list, blank=True)
    asked_of = ArrayField(models.UUIDField(), default=list, blank=True)
    key = models.CharField(max_length=64)
    status = models.CharField(max_length=10, choices=QuestionStatus.choices, default=QuestionStatus.PENDING)
    asked_at = models.DateTimeField(default=now)
    expires_at = models.DateTimeField()
    answer = models.TextField(blank=True)
    option = models.PositiveSmallIntegerField(null=True)
    answered_by = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, related_name="+")
    answered_by_name = models.CharField(max_length=200, blank=True)
    answered_via = models.CharField(max_length=30, blank=True)
    answered_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "question"
        constraints = [
            models.UniqueConstraint(
                fields=["task", "key"], name="question_asked_once", condition=Q(status="pending")
            )
        ]
        indexes = [
            models.Index(fields=["task"], name="question_of_task"),
            models.Index(fields=["chat"], name="question_in_chat", condition=Q(status="pending")),
            models.Index(fields=["expires_at"], name="question_pending", condition=Q(status="pending")),
        ]


class ButtonPress(TenantModel):
    """One press as it came. `outcome` is empty until it was dealt with; it then says what became of it."""

    link = models.ForeignKey(Link, on_delete=models.CASCADE, related_name="+")
    chat = models.ForeignKey(Chat, on_delete=models.CASCADE, related_name="+")
    dedupe_key = models.CharField(max_length=200)
    thread_id = models.CharField(max_length=120, blank=True)
    platform_message_id = models.CharField(max_length=120)
    sender_id = models.CharField(max_length=120)
    sender_name = models.CharField(max_length=200, blank=True)
    value = models.CharField(max_length=200)
    press_ref = models.CharField(max_length=400, blank=True)
    outcome = models.CharField(max_length=40, blank=True)
    handled_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "button_press"
        constraints = [models.UniqueConstraint(fields=["link", "dedupe_key"], name="button_press_once")]
