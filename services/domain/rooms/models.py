"""What rooms have beside the messages of every chat: files that people bring in, and their reactions."""

from __future__ import annotations

from django.db import models

from services.domain.chats.models import Chat
from services.domain.identity.models import User
from services.domain.tenancy.models import TenantModel


class RoomFile(TenantModel):
    """A file that a person brought into a room. `message_id` is empty until the message is written that it is of.

    `key` is its place in object storage; `content_type` is what its bytes say.
    """

    chat = models.ForeignKey(Chat, on_delete=models.CASCADE, related_name="room_files")
    user = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, related_name="+")
    message_id = models.CharField(max_length=120, blank=True)
    name = models.CharField(max_length=200)
    content_type = models.CharField(max_length=120)
    size_bytes = models.BigIntegerField()
    key = models.CharField(max_length=200)

    class Meta:
        db_table = "room_file"
        indexes = [
            models.Index(fields=["chat", "message_id"], name="room_file_of_message"),
            models.Index(fields=["created_at"], name="room_file_unsaid", condition=models.Q(message_id="")),
        ]


class RoomReaction(TenantModel):
    """A person's reaction to a message of a room. Those of agents are deliveries."""

    chat = models.ForeignKey(Chat, on_delete=models.CASCADE, related_name="room_reactions")
    message_id = models.CharField(max_length=120)
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="+")
    emoji = models.CharField(max_length=40)

    class Meta:
        db_table = "room_reaction"
        constraints = [
            models.UniqueConstraint(fields=["chat", "message_id", "user", "emoji"], name="room_reaction_once")
        ]
