"""Whom agents may write to, which platform accounts are whose, and when a person wants to be left alone."""

from __future__ import annotations

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q

from services.domain.agents.models import Agent
from services.domain.approvals.models import Approval
from services.domain.chats.models import Chat, InboundMessage, Link
from services.domain.identity.models import User
from services.domain.tenancy.models import TenantModel
from services.kit.clock import now


class Destination(TenantModel):
    """A name that an agent may send to: a chat, a person's own direct chat, another agent.

    It is address book and access list in one. With an `owner` only that person's work may use it. `agent_ids` names
    the agents that may; empty means all.
    """

    name = models.CharField(max_length=60)
    description = models.CharField(max_length=200, blank=True)
    owner = models.ForeignKey(User, on_delete=models.CASCADE, null=True, blank=True, related_name="+")
    chat = models.ForeignKey(Chat, on_delete=models.CASCADE, null=True, blank=True, related_name="+")
    thread_id = models.CharField(max_length=120, blank=True)
    person = models.ForeignKey(User, on_delete=models.CASCADE, null=True, blank=True, related_name="+")
    agent = models.ForeignKey(Agent, on_delete=models.CASCADE, null=True, blank=True, related_name="+")
    agent_ids = ArrayField(models.UUIDField(), default=list, blank=True)
    updated_at = models.DateTimeField(default=now)

    class Meta:
        db_table = "destination"
        constraints = [
            models.UniqueConstraint(
                fields=["org_id", "owner", "name"], name="destination_name_once", nulls_distinct=False
            ),
            models.CheckConstraint(
                condition=Q(chat__isnull=False, person__isnull=True, agent__isnull=True)
                | Q(chat__isnull=True, person__isnull=False, agent__isnull=True)
                | Q(chat__isnull=True, person__isnull=True, agent__isnull=False),
                name="destination_is_one_thing",
            ),
        ]

    def __str__(self) -> str:
        return self.name


class PlatformAccount(TenantModel):
    """An account on a platform that belongs to a member, who has proved it with a code sent from there.

    `chat` is where it is reached alone; one of rooms of our own is not.
    """

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="+")
    link = models.ForeignKey(Link, on_delete=models.CASCADE, related_name="+")
    platform_user_id = models.CharField(max_length=120)
    display_name = models.CharField(max_length=200, blank=True)
    chat = models.ForeignKey(Chat, on_delete=models.CASCADE, null=True, related_name="+")

    class Meta:
        db_table = "platform_account"
        constraints = [
            models.UniqueConstraint(fields=["link", "platform_user_id"], name="platform_account_once")
        ]
        indexes = [models.Index(fields=["user"], name="platform_account_of_user")]


class SenderStanding(models.TextChoices):
    """What a person has said about somebody: nothing yet, or for good."""

    UNKNOWN = "unknown"
    ALLOWED = "allowed"
    DENIED = "denied"


class LinkSender(TenantModel):
    """Somebody who wrote to a bot and was nobody here then, and what a person has said about them since.

    `chat` is where they were heard last; `refused_messages` counts what reached no agent.
    """

    link = models.ForeignKey(Link, on_delete=models.CASCADE, related_name="senders")
    platform_user_id = models.CharField(max_length=120)
    display_name = models.CharField(max_length=200, blank=True)
    chat = models.ForeignKey(Chat, on_delete=models.CASCADE, related_name="+")
    standing = models.CharField(max_length=10, choices=SenderStanding.choices, default=SenderStanding.UNKNOWN)
    refused_messages = models.PositiveIntegerField(default=0)
    last_heard_at = models.DateTimeField(default=now)
    decided_by = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, related_name="+")
    decided_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "link_sender"
        constraints = [models.UniqueConstraint(fields=["link", "platform_user_id"], name="link_sender_once")]


class HeldMessageState(models.TextChoices):
    WAITING = "waiting"
    LET_IN = "let_in"
    REFUSED = "refused"


class HeldMessage(TenantModel):
    """A message that waits, or waited, for a person's word about who wrote it. `approval` is the question."""

    message = models.OneToOneField(InboundMessage, on_delete=models.CASCADE, related_name="hold")
    sender = models.ForeignKey(LinkSender, on_delete=models.CASCADE, related_name="held_messages")
    approval = models.ForeignKey(Approval, on_delete=models.SET_NULL, null=True, related_name="+")
    state = models.CharField(max_length=8, choices=HeldMessageState.choices, default=HeldMessageState.WAITING)

    class Meta:
        db_table = "held_message"


class AccountCode(TenantModel):
    """A code by which a member's account on a platform is recognised: good once, for some minutes, on `link` if set."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="+")
    link = models.ForeignKey(Link, on_delete=models.CASCADE, null=True, related_name="+")
    code_hash = models.CharField(max_length=64, unique=True)
    expires_at = models.DateTimeField()

    class Meta:
        db_table = "account_code"


class NotificationSettings(TenantModel):
    """When a person wants no messages: from-to in their time zone, over midnight if `quiet_to` is the earlier."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="+")
    time_zone = models.CharField(max_length=60, default="UTC")
    quiet_from = models.TimeField(null=True, blank=True)
    quiet_to = models.TimeField(null=True, blank=True)
    updated_at = models.DateTimeField(default=now)

    class Meta:
        db_table = "notification_settings"
        constraints = [models.UniqueConstraint(fields=["org_id", "user"], name="notification_settings_once")]
