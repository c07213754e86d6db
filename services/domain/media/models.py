"""A file that came with a message, and its place in the workspaces that are to have it."""

from __future__ import annotations

from django.db import models
from django.db.models import Q

from services.domain.agents.models import Agent
from services.domain.chats.models import InboundMessage
from services.domain.tasks.models import Task
from services.domain.tenancy.models import TenantModel
from services.domain.workspaces.models import Workspace
from services.kit.clock import now


class FileState(models.TextChoices):
    """Nobody fetches what no agent is asked about: a file is `offered` until one of its message's readers wants it."""

    OFFERED = "offered"
    AWAITED = "awaited"
    KEPT = "kept"
    FAILED = "failed"


class InboundFile(TenantModel):
    """A file of a message. What the platform claims of it stands apart from what its bytes say.

    `ref` is what the platform wants to be asked for it. `key` and `text_key` are its places in object storage, and
    `text_key` has the text that was read out of it. `error` says, in words for the agent, why it could not be had.
    `agent` is who asked for it first: what reading it costs is charged to that agent.
    """

    message = models.ForeignKey(InboundMessage, on_delete=models.CASCADE, related_name="files")
    number = models.PositiveSmallIntegerField()
    ref = models.TextField()
    name = models.CharField(max_length=200)
    claimed_type = models.CharField(max_length=120, blank=True)
    claimed_bytes = models.BigIntegerField(null=True)
    is_voice = models.BooleanField(default=False)
    agent = models.ForeignKey(Agent, on_delete=models.SET_NULL, null=True, related_name="+")
    state = models.CharField(max_length=8, choices=FileState.choices, default=FileState.OFFERED)
    error = models.CharField(max_length=200, blank=True)
    attempts = models.PositiveSmallIntegerField(default=0)
    next_attempt_at = models.DateTimeField(default=now)
    give_up_at = models.DateTimeField(null=True)
    content_type = models.CharField(max_length=120, blank=True)
    size_bytes = models.BigIntegerField(null=True)
    key = models.CharField(max_length=200, blank=True)
    text_key = models.CharField(max_length=200, blank=True)
    transcript = models.TextField(blank=True)
    note = models.CharField(max_length=200, blank=True)

    class Meta:
        db_table = "inbound_file"
        constraints = [models.UniqueConstraint(fields=["message", "number"], name="inbound_file_once")]
        indexes = [
            models.Index(
                fields=["next_attempt_at"], name="inbound_file_awaited", condition=Q(state="awaited")
            )
        ]

    @property
    def path(self) -> str:
        """Where it lies in a workspace: a folder for each message, as two may have files of one name."""
        moment = self.message.sent_at
        return f"inbox/{moment:%Y%m%d-%H%M%S}-{self.message_id.hex[-6:]}/{self.name}"

    @property
    def text_path(self) -> str:
        """Where the text that was read out of it lies."""
        return f"{self.path}.txt"


class InboxFile(TenantModel):
    """A file that a workspace is to have before the turn that is asked about it. `task` is that turn's.

    It came with a message (`file`), or from another agent's workspace: then `key` is its place in object storage, and
    `path` that in the workspace.
    """

    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="+")
    task = models.ForeignKey(Task, on_delete=models.SET_NULL, null=True, related_name="+")
    file = models.ForeignKey(InboundFile, on_delete=models.CASCADE, null=True, related_name="+")
    key = models.CharField(max_length=200, blank=True, db_default="")
    path = models.CharField(max_length=300, blank=True, db_default="")
    placed_at = models.DateTimeField(null=True)
    error = models.CharField(max_length=200, blank=True)

    class Meta:
        db_table = "inbox_file"
        constraints = [models.UniqueConstraint(fields=["workspace", "file"], name="inbox_file_once")]
