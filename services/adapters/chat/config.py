"""The base of every platform's configuration: closed, frozen, and silent about its secrets."""

from __future__ import annotations

import re
from typing import Any, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr

from services.domain.ports.chat import LinkIdentity


def secret_like(pattern: str) -> AfterValidator:
    """Make a validator of secrets; what it says of a wrong one does not contain it."""

    def check(secret: SecretStr) -> SecretStr:
        if not re.fullmatch(pattern, secret.get_secret_value()):
            raise ValueError("this does not have the form of such a secret")
        return secret

    return AfterValidator(check)


class ChatConfig(BaseModel):
    """What a link needs to talk to its platform.

    `bot_id` and `bot_name` are not asked of a person: `connect` learns them and `with_identity` keeps them,
    so that parsing, which is pure, knows who is meant by a mention. Validation errors never repeat the input.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, hide_input_in_errors=True, str_strip_whitespace=True
    )

    bot_id: str = Field(default="", max_length=100, json_schema_extra={"filled_by": "connect"})
    bot_name: str = Field(default="", max_length=200, json_schema_extra={"filled_by": "connect"})

    def with_identity(self, identity: LinkIdentity) -> Self:
        """Return a copy that knows who the bot is on its platform."""
        known = {"bot_id": identity.platform_id, "bot_name": identity.display_name}
        return self.model_copy(update=known)

    def revealed(self) -> dict[str, Any]:
        """Return all set fields as JSON values, secrets in clear: for the vault and nothing else."""
        values = self.model_dump(exclude_defaults=True)
        return {
            name: value.get_secret_value() if isinstance(value, SecretStr) else value
            for name, value in values.items()
        }
