"""Who may write in rooms: people, under their own names."""

from __future__ import annotations

import uuid

from services.domain.actors import Actor, require
from services.domain.contacts.models import PlatformAccount
from services.domain.errors import NotPermitted
from services.domain.identity.models import User
from services.domain.ports.chat import Sender


def require_person(actor: Actor) -> uuid.UUID:
    """Return which person acts. Raises: NotPermitted, RoleMissing, ScopeMissing."""
    require(actor, "chats:write", role="member")
    if actor.user_id is None or actor.kind == "agent":
        raise NotPermitted("Rooms are for people. Agents write by their tools.")
    return actor.user_id


def sender_of(actor: Actor, link_id: uuid.UUID, user_id: uuid.UUID) -> Sender:
    """Return the person as a sender of the link, where they are known from now on."""
    name = User.objects.get(id=user_id).shown_name
    PlatformAccount.objects.update_or_create(
        link_id=link_id,
        platform_user_id=str(user_id),
        defaults={"user_id": user_id, "display_name": name},
        create_defaults={"user_id": user_id, "display_name": name, "org_id": actor.org_id},
    )
    return Sender(str(user_id), name)
