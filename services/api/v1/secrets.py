"""Secrets over REST. A value goes in and never comes out."""

from __future__ import annotations

import uuid
from typing import Self

from pydantic import Field, SecretStr

from services.api.http.bodies import Closed
from services.api.http.operations import Call, Endpoint, operation
from services.api.http.paging import PageQuery, page_of
from services.api.http.shapes import Moment, Page, Shape
from services.domain.errors import AgentMissing, Invalid, Missing, NameTaken
from services.domain.vault.actions import create_secret, delete_secret, list_secrets, update_secret
from services.domain.vault.models import Secret
from services.domain.vault.queries import get_secret


class SecretBody(Closed):
    """A value, the environment variable it becomes, and the agents that get it: null for all of them."""

    name: str = Field(max_length=80, description="Capital letters, digits and _.")
    value: SecretStr
    agent_ids: list[uuid.UUID] | None = Field(default=None, max_length=1_000)


class SecretChanges(Closed):
    """A new value, new grants, or both; what is not sent stays as it is."""

    value: SecretStr | None = None
    agent_ids: list[uuid.UUID] | None = Field(default=None, max_length=1_000)


class SecretShape(Shape):
    """A secret without its value."""

    id: uuid.UUID
    name: str
    agent_ids: list[uuid.UUID] | None
    created_at: Moment
    updated_at: Moment
    last_used_at: Moment | None

    @classmethod
    def of(cls, secret: Secret) -> Self:
        """Show a row."""
        return cls.model_validate(secret)


class Secrets(Endpoint):
    """All secrets."""

    tag = "secrets"

    @operation()
    def get(self, call: Call, query: PageQuery) -> Page[SecretShape]:
        """List the secrets, newest first, without their values."""
        return page_of(list_secrets(call.actor), query, SecretShape.of)

    @operation(status=201, errors=(NameTaken, AgentMissing, Invalid))
    def post(self, call: Call, body: SecretBody) -> SecretShape:
        """Keep a value."""
        secret = create_secret(
            call.actor, name=body.name, value=body.value.get_secret_value(), agent_ids=body.agent_ids
        )
        return SecretShape.of(secret)


class OneSecret(Endpoint):
    """One secret."""

    tag = "secrets"

    @operation(errors=(Missing,))
    def get(self, call: Call, secret_id: uuid.UUID) -> SecretShape:
        """Show a secret without its value."""
        return SecretShape.of(get_secret(call.actor, secret_id))

    @operation(errors=(Missing, AgentMissing, Invalid))
    def patch(self, call: Call, secret_id: uuid.UUID, body: SecretChanges) -> SecretShape:
        """Replace the value, the grants, or both."""
        secret = update_secret(
            call.actor,
            secret_id,
            value=body.value.get_secret_value() if body.value is not None else None,
            agent_ids=body.agent_ids,
            changes_agents="agent_ids" in body.model_fields_set,
        )
        return SecretShape.of(secret)

    @operation(errors=(Missing,))
    def delete(self, call: Call, secret_id: uuid.UUID) -> None:
        """Delete a secret."""
        delete_secret(call.actor, secret_id)
