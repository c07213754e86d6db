"""What people chose for a conversation by command."""

from __future__ import annotations

from django.db import models

from services.domain.agents.models import Agent
from services.domain.tenancy.models import TenantModel
from services.kit.clock import now


class ConversationSetting(TenantModel):
    """The model that one conversation asks for; empty is its agent's usual one.

    `agent` and `scope` name the conversation as `Conversation` does, and outlive the workspace that it is in.
    """

    agent = models.ForeignKey(Agent, on_delete=models.CASCADE, related_name="+")
    scope = models.CharField(max_length=300)
    model = models.CharField(max_length=100, blank=True)
    updated_at = models.DateTimeField(default=now)

    class Meta:
        db_table = "conversation_setting"
        constraints = [models.UniqueConstraint(fields=["agent", "scope"], name="conversation_setting_once")]
