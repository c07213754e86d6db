"""Uses of credentials over REST; each kind of credential lists its own."""

from __future__ import annotations

import uuid
from typing import Self

from pydantic import Field

from services.api.http.shapes import Moment, Shape
from services.domain.vault.models import AccessWay, CredentialAccess


class AccessShape(Shape):
    """Uses of one credential by one piece of work, or by a person who had it tried."""

    id: uuid.UUID
    version: int | None = Field(description="Of a secret; other credentials have no versions.")
    way: AccessWay
    user_id: uuid.UUID | None
    agent_id: uuid.UUID | None
    workspace_id: uuid.UUID | None
    task_id: uuid.UUID | None
    host: str = Field(description="Where it went; several with a comma.")
    method: str
    path: str
    count: int
    first_at: Moment
    last_at: Moment
    approval_id: uuid.UUID | None

    @classmethod
    def of(cls, row: CredentialAccess) -> Self:
        """Show a row."""
        return cls.model_validate(row)
