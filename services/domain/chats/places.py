"""Where an answer goes: the closed form of a task's `deliver_to`."""

from __future__ import annotations

import uuid
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from services.domain.chats.models import Chat
from services.domain.errors import ChatMissing, Invalid


class DeliverTo(BaseModel):
    """A chat, a thread in it, and the message that is answered.."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    chat_id: uuid.UUID
    thread_id: str = Field(default="", max_length=120)
    reply_to: str = Field(default="", max_length=120)


def check_deliver_to(value: dict[str, Any] | None) -> dict[str, Any] | None:
    """Check a destination, inside the tenant's transaction, and return its normal form.

    Raises: Invalid, ChatMissing.
    """
    if value is None:
        return None
    try:
        place = DeliverTo.model_validate(value)
    except ValidationError as error:
        raise Invalid(
            "The destination is not usable.", fields={"deliver_to": "chat_id, thread_id"}
        ) from error
    if not Chat.objects.filter(id=place.chat_id).exists():
        raise ChatMissing("There is no such chat.")
    return place.model_dump(mode="json")
