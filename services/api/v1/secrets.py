"""Secrets over REST. A value goes in and never comes out."""

from __future__ import annotations

import uuid
from typing import Self

from pydantic import Field, SecretStr

from services.api.http.bodies import Closed
from services.api.http.operations import Call, Endpoint, operation
from services.api.http.paging import PageQuery, page_of
from services.api.http.shapes import Changes, Moment, Page, Shape
from services.api.v1.accesses import AccessShape
from services.domain.errors import AgentMissing, AgentNotOwned, Invalid, Missing, NameTaken, QueueFull
from services.domain.vault.actions import (
    create_secret,
    delete_secret,
    list_secrets,
    put_secret_value,
    roll_back_secret,
    update_secret,
)
from services.domain.vault.bindings import Binding
from services.domain.vault.fields import NewSecret, SecretFields
from services.domain.vault.models import Secret, SecretApproval, SecretMode, SecretVersion
from services.domain.vault.queries import get_secret, list_secret_accesses, list_secret_versions


class SecretBody(NewSecret):
    """A value, its name in the environment, and who may have it. `brokered` ones never enter a sandbox."""


class SecretChanges(SecretFields, Changes):
    """What is to be changed. A new mode or binding needs the value again, and forgets older versions."""

    value: SecretStr | None = None


class SecretValue(Closed):
    """A new value."""

    value: SecretStr


class VersionChoice(Closed):
    """A version that is still kept."""

    version: int = Field(ge=1, le=2**31 - 1)


class SecretShape(Shape):
    """A secret without its value."""

    id: uuid.UUID
    name: str
    description: str
    owner_id: uuid.UUID | None = Field(description="Whose work it is for; null for everybody's.")
    mode: SecretMode
    bindings: list[Binding]
    approval: SecretApproval
    agent_ids: list[uuid.UUID] | None
    trusted_agent_ids: list[uuid.UUID] = Field(description="Agents that are not asked about any more.")
    version: int
    expires_at: Moment | None
    created_at: Moment
    updated_at: Moment
    last_used_at: Moment | None

    @classmethod
    def of(cls, secret: Secret) -> Self:
        """Show a row."""
        return cls.model_validate(secret)


class SecretVersionShape(Shape):
    """A version that is kept, without its value."""

    version: int
    is_current: bool
    created_at: Moment
    retired_at: Moment | None
    last_used_at: Moment | None

    @classmethod
    def of(cls, row: SecretVersion) -> Self:
        """Show a row."""
        return cls(
            version=row.number,
            is_current=row.number == row.secret.version,
            created_at=row.created_at,
            retired_at=row.retired_at,
            last_used_at=row.last_used_at,
        )


class Secrets(Endpoint):
    """All secrets."""

    tag = "secrets"

    @operation()
    def get(self, call: Call, query: PageQuery) -> Page[SecretShape]:
        """List the secrets, newest first, without their values."""
        return page_of(list_secrets(call.actor), query, SecretShape.of)

    @operation(status=201, errors=(NameTaken, AgentMissing, AgentNotOwned, Invalid, QueueFull))
    def post(self, call: Call, body: SecretBody) -> SecretShape:
        """Keep a value."""
        return SecretShape.of(create_secret(call.actor, body))


class OneSecret(Endpoint):
    """One secret."""

    tag = "secrets"

    @operation(errors=(Missing,))
    def get(self, call: Call, secret_id: uuid.UUID) -> SecretShape:
        """Show a secret without its value."""
        return SecretShape.of(get_secret(call.actor, secret_id))

    @operation(errors=(Missing, AgentMissing, AgentNotOwned, Invalid))
    def patch(self, call: Call, secret_id: uuid.UUID, body: SecretChanges) -> SecretShape:
        """Change where a secret may go and who may have it, its value, or both."""
        changes = body.model_dump(exclude_unset=True, exclude={"value"})
        return SecretShape.of(update_secret(call.actor, secret_id, changes, body.value))

    @operation(errors=(Missing,))
    def delete(self, call: Call, secret_id: uuid.UUID) -> None:
        """Delete a secret with all its versions."""
        delete_secret(call.actor, secret_id)


class SecretValues(Endpoint):
    """The value of a secret."""

    tag = "secrets"

    @operation(errors=(Missing, Invalid))
    def put(self, call: Call, secret_id: uuid.UUID, body: SecretValue) -> SecretShape:
        """Seal a new value. It is a new version, in use at once."""
        return SecretShape.of(put_secret_value(call.actor, secret_id, body.value))


class SecretVersions(Endpoint):
    """The versions of a secret."""

    tag = "secrets"

    @operation(errors=(Missing,))
    def get(self, call: Call, secret_id: uuid.UUID, query: PageQuery) -> Page[SecretVersionShape]:
        """List the versions that are kept, without their values."""
        return page_of(list_secret_versions(call.actor, secret_id), query, SecretVersionShape.of)


class SecretRollback(Endpoint):
    """Going back."""

    tag = "secrets"

    @operation(errors=(Missing,))
    def post(self, call: Call, secret_id: uuid.UUID, body: VersionChoice) -> SecretShape:
        """Put a version that is still kept back into use."""
        return SecretShape.of(roll_back_secret(call.actor, secret_id, body.version))


class SecretAccesses(Endpoint):
    """Who had a secret."""

    tag = "secrets"

    @operation(errors=(Missing,))
    def get(self, call: Call, secret_id: uuid.UUID, query: PageQuery) -> Page[AccessShape]:
        """List who had which version, when and how."""
        return page_of(list_secret_accesses(call.actor, secret_id), query, AccessShape.of)
