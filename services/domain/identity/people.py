"""What a person says about themselves."""

from __future__ import annotations

import uuid
from typing import Any

from django.db import transaction
from pydantic import BaseModel, ConfigDict, Field

from services.domain.actors import Actor, require
from services.domain.errors import NotPermitted
from services.domain.events.announcing import all_tenants_announce_change, announce_change
from services.domain.events.listed import MemberChanged
from services.domain.identity.models import Membership, User
from services.domain.tenancy.transaction import tenant_transaction

# Source: RFC 5646, 2.1, without what is grandfathered.
LANGUAGE = r"^([A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*)?$"


class PersonFields(BaseModel):
    """What a person may set on their account. `language` is a tag of BCP 47, such as `de` or `pt-BR`; empty: unsaid."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    display_name: str = Field(default="", max_length=120)
    language: str = Field(default="", max_length=35, pattern=LANGUAGE)


def get_person(actor: Actor) -> User | None:
    """Return the acting person's account, None for who is no person."""
    return User.objects.filter(pk=actor.user_id).first() if actor.user_id is not None else None


def update_person(actor: Actor, changes: dict[str, Any]) -> User:
    """Change what the acting person says about themselves, in all their organisations. Emits: MemberChanged.

    Raises: NotPermitted.
    """
    require(actor, "members:write")
    with tenant_transaction(actor.org_id):
        person = get_person(actor) if actor.kind != "agent" else None
        if person is None:
            raise NotPermitted("Only people have an account.")
        current = {name: getattr(person, name) for name in PersonFields.model_fields}
        values = PersonFields.model_validate(current | changes).model_dump()
        for name, value in values.items():
            setattr(person, name, value)
        person.save(update_fields=list(values))
        announce_change(MemberChanged, Membership.objects.select_related("user").get(user_id=person.pk))
        # The others are other tenants: this transaction cannot write there.
        here, user_id = actor.org_id, person.pk
        transaction.on_commit(lambda: _all_tenants_tell_elsewhere(here, user_id), robust=True)
        return person


def _all_tenants_tell_elsewhere(here: uuid.UUID, user_id: uuid.UUID) -> None:
    """Tell a person's other organisations how they are shown now. Emits: MemberChanged."""
    with transaction.atomic(using="operator"):
        elsewhere = Membership.objects.using("operator").filter(user_id=user_id).exclude(org_id=here)
        for member in elsewhere.select_related("user").order_by("org_id"):
            all_tenants_announce_change(member.org_id, MemberChanged, member, "updated")
