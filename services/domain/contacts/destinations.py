"""Destinations: what people set, and how an agent's `to` is read."""

from __future__ import annotations

import re
import uuid
from typing import Any

from django.db.models import Q, QuerySet
from pydantic import BaseModel, ConfigDict, Field, field_validator

from services.domain.actors import Actor, may, require
from services.domain.agents.actions import get_usable_agent
from services.domain.agents.models import Agent
from services.domain.chats.models import Chat
from services.domain.chats.places import DeliverTo
from services.domain.chats.sending import Spot
from services.domain.contacts.accounts import find_own_chat
from services.domain.contacts.models import Destination
from services.domain.errors import (
    AgentMissing,
    ChatMissing,
    ConfigInvalid,
    DestinationMissing,
    Missing,
    NameTaken,
    RoleMissing,
)
from services.domain.events.announcing import announce_change
from services.domain.events.listed import DestinationChanged
from services.domain.identity.models import Membership
from services.domain.tasks.models import Task
from services.domain.tenancy.transaction import tenant_transaction
from services.kit.clock import now

HERE = "here"
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,58}[a-z0-9]|[a-z0-9]")


class DestinationFields(BaseModel):
    """What a person may set. Exactly one of `chat_id`, `person_id` and `agent_id`.

    A person is reached in their own direct chat; another agent in a workspace of its own for each that talks to it.
    """

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    name: str = Field(
        min_length=1, max_length=60, description="What agents call it: a-z, 0-9, dot, dash, underscore."
    )
    description: str = Field(default="", max_length=200)
    chat_id: uuid.UUID | None = None
    thread_id: str = Field(default="", max_length=120)
    person_id: uuid.UUID | None = None
    agent_id: uuid.UUID | None = None
    agent_ids: list[uuid.UUID] = Field(
        default_factory=list, max_length=50, description="The agents that may use it; empty means all."
    )
    is_shared: bool = Field(
        default=False, description="For everybody's work in the organisation, not only one's own."
    )

    @field_validator("name")
    @classmethod
    def _is_a_name(cls, name: str) -> str:
        if not _NAME.fullmatch(name) or name == HERE:
            raise ValueError("must be a-z, 0-9, dot, dash or underscore, and not `here`")
        return name


def create_destination(actor: Actor, fields: DestinationFields) -> Destination:
    """Add a destination. Shared ones need an admin.

    Raises: ChatMissing, Missing, AgentMissing, NameTaken, ConfigInvalid.
    """
    require(actor, "chats:write")
    owner_id = _owner(actor, fields.is_shared)
    with tenant_transaction(actor.org_id):
        _check(actor, fields)
        if Destination.objects.filter(owner_id=owner_id, name=fields.name).exists():
            raise NameTaken("There is a destination of this name.")
        row = Destination.objects.create(
            org_id=actor.org_id, owner_id=owner_id, **fields.model_dump(exclude={"is_shared"})
        )
        announce_change(DestinationChanged, row, "created")
        return row


def update_destination(actor: Actor, destination_id: uuid.UUID, changes: dict[str, Any]) -> Destination:
    """Change a destination; whose it is stays. Raises: as `create_destination`, and DestinationMissing."""
    require(actor, "chats:write")
    with tenant_transaction(actor.org_id):
        row = _lock(actor, destination_id)
        current = {name: getattr(row, name) for name in DestinationFields.model_fields if name != "is_shared"}
        fields = DestinationFields.model_validate(current | changes | {"is_shared": row.owner_id is None})
        _check(actor, fields)
        same = Destination.objects.filter(owner_id=row.owner_id, name=fields.name).exclude(id=row.id)
        if same.exists():
            raise NameTaken("There is a destination of this name.")
        for name, value in fields.model_dump(exclude={"is_shared"}).items():
            setattr(row, name, value)
        row.updated_at = now()
        row.save()
        announce_change(DestinationChanged, row)
        return row


def delete_destination(actor: Actor, destination_id: uuid.UUID) -> None:
    """Remove a destination: no agent can send there by this name any more. Raises: DestinationMissing."""
    require(actor, "chats:write")
    with tenant_transaction(actor.org_id):
        row = _lock(actor, destination_id)
        announce_change(DestinationChanged, row, "deleted")
        row.delete()


def list_destinations(actor: Actor) -> QuerySet[Destination]:
    """Return the shared destinations and the actor's own; to be read in the tenant's transaction."""
    require(actor, "chats:read")
    return Destination.objects.filter(Q(owner=None) | Q(owner=actor.user_id))


def get_destination(actor: Actor, destination_id: uuid.UUID) -> Destination:
    """Return one destination. Raises: DestinationMissing."""
    row = list_destinations(actor).filter(id=destination_id).first()
    if row is None:
        raise DestinationMissing("There is no such destination.")
    return row


def may_change(actor: Actor, row: Destination) -> bool:
    """Say whether the actor may change a destination: their own, and as an admin the shared ones."""
    if not may(actor, "chats:write"):
        return False
    return row.owner_id == actor.user_id if row.owner_id else actor.role in ("owner", "admin")


def list_usable_destinations(task: Task) -> list[Destination]:
    """List what a task's agent may send to, its person's own before shared ones; in the tenant's transaction."""
    rows = (
        Destination.objects.filter(Q(owner=None) | Q(owner=task.user_id) if task.user_id else Q(owner=None))
        .filter(Q(agent_ids=[]) | Q(agent_ids__contains=[task.agent_id]))
        .select_related("chat__link", "person", "agent")
        .defer("chat__link__sealed_config")
    )
    seen: dict[str, Destination] = {}
    for row in sorted(rows, key=lambda row: (row.name, row.owner_id is None)):
        seen.setdefault(row.name, row)
    return list(seen.values())


def find_origin(task: Task) -> Spot | None:
    """Return the chat that a task came from, or None; inside the tenant's transaction."""
    if not task.deliver_to:
        return None
    place = DeliverTo.model_validate(task.deliver_to)
    chat = Chat.objects.select_related("link").filter(id=place.chat_id).first()
    return Spot(chat, place.thread_id, place.reply_to) if chat is not None else None


def resolve_destination(task: Task, to: str) -> Spot:
    """Read an agent's `to`: empty or `here` is the chat that asked, all else a name it may use.

    Inside the tenant's transaction. Raises: DestinationMissing, alike for what is not there and what is not for it.
    """
    name = to.strip().lower()
    if name in ("", HERE):
        origin = find_origin(task)
        if origin is None:
            raise DestinationMissing(
                "This work did not come from a chat, so there is no `here`. Name one of list_destinations."
            )
        return origin
    found = next((row for row in list_usable_destinations(task) if row.name == name), None)
    if found is None:
        raise DestinationMissing(
            f"You may not send to {to!r}: it is not one of your destinations. list_destinations shows them."
        )
    if found.agent_id is not None:
        raise DestinationMissing(f"{found.name} is another agent: it is sent messages, and nothing else.")
    spot = _spot_of(found)
    if spot is None:
        raise DestinationMissing(
            f"{found.name} is a person who has linked no chat yet, so nothing can be sent there."
        )
    return spot


def find_person_of(task: Task, to: str) -> uuid.UUID | None:
    """Return the person that a name stands for, None when it stands for a chat. In the tenant's transaction."""
    name = to.strip().lower()
    return next((row.person_id for row in list_usable_destinations(task) if row.name == name), None)


def find_agent_of(task: Task, to: str) -> uuid.UUID | None:
    """Return the agent that a name stands for, None when it stands for no agent. In the tenant's transaction."""
    name = to.strip().lower()
    return next((row.agent_id for row in list_usable_destinations(task) if row.name == name), None)


def _spot_of(row: Destination) -> Spot | None:
    if row.chat is not None:
        return Spot(row.chat, row.thread_id)
    chat = find_own_chat(row.person_id) if row.person_id else None
    return Spot(chat) if chat is not None else None


def _owner(actor: Actor, is_shared: bool) -> uuid.UUID | None:
    if not is_shared and actor.user_id is not None:
        return actor.user_id
    require(actor, "chats:write", role="admin")
    return None


def _check(actor: Actor, fields: DestinationFields) -> None:
    if [fields.chat_id, fields.person_id, fields.agent_id].count(None) != 2:
        raise ConfigInvalid(
            "Give a chat, a person or an agent.",
            fields={"chat_id": "exactly one of chat_id, person_id, agent_id"},
        )
    if fields.agent_id is not None:
        get_usable_agent(actor, fields.agent_id)
    if fields.chat_id is not None and not Chat.objects.filter(id=fields.chat_id).exists():
        raise ChatMissing("There is no such chat.")
    if fields.person_id is not None and not Membership.objects.filter(user_id=fields.person_id).exists():
        raise Missing("There is no such member.")
    if Agent.objects.filter(id__in=fields.agent_ids).count() != len(set(fields.agent_ids)):
        raise AgentMissing("There is no such agent.")


def _lock(actor: Actor, destination_id: uuid.UUID) -> Destination:
    row = Destination.objects.select_for_update().filter(id=destination_id).first()
    is_theirs = row is not None and row.owner_id in (None, actor.user_id)
    if row is None or not is_theirs:
        raise DestinationMissing("There is no such destination.")
    if not may_change(actor, row):
        raise RoleMissing("Shared destinations are changed by admins.", role="admin")
    return row
