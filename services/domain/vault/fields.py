"""What a person may set on a secret, and which names and values are usable."""

from __future__ import annotations

import re
import uuid
from datetime import datetime
from typing import Any

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, SecretStr

from services.domain.errors import Invalid
from services.domain.vault.bindings import MAX_BINDINGS, Binding
from services.domain.vault.models import SecretApproval, SecretMode
from services.kit.clock import now

_NAME = re.compile(r"^[A-Z_][A-Z0-9_]{0,79}$")
_FORBIDDEN = ("ANTHROPIC_", "SLIPWAY_", "LD_", "PYTHON", "CLAUDE_", "OPENAI_")
_FORBIDDEN_NAMES = frozenset({"PATH", "HOME", "IFS", "ENV", "BASH_ENV", "SHELL", "USER"})
MAX_VALUE_BYTES = 32_768
# Short ones would blot out half of every answer in which the proxy looks for them; long ones fit no header.
_LEAST_BROKERED, _MOST_BROKERED = 8, 4_096
_BROKERED_VALUE = re.compile(rf"[\x20-\x7e]{{{_LEAST_BROKERED},{_MOST_BROKERED}}}")


class SecretFields(BaseModel):
    """What may be set at any time. `agent_ids` None is all agents: the owner's, or the organisation's."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    description: str = Field(default="", max_length=300)
    mode: SecretMode = SecretMode.ENV
    bindings: list[Binding] = Field(default_factory=list, max_length=MAX_BINDINGS)
    approval: SecretApproval = SecretApproval.NEVER
    agent_ids: list[uuid.UUID] | None = Field(
        default=None, max_length=1_000, description="Null for all agents: one's own, or the organisation's."
    )
    expires_at: AwareDatetime | None = None

    def checked(self) -> dict[str, Any]:
        """Return the row's values. Raises: Invalid for what does not go together."""
        is_brokered = self.mode == SecretMode.BROKERED
        if is_brokered and not self.bindings:
            raise Invalid("A brokered secret needs a binding.", fields={"bindings": "at least one is needed"})
        if self.bindings and not is_brokered:
            raise Invalid("Only a brokered secret has bindings.", fields={"bindings": "the mode is env"})
        if self.approval != SecretApproval.NEVER and not is_brokered:
            raise Invalid(
                "Only the use of a brokered secret can be asked about.",
                fields={"approval": "the mode is env"},
            )
        values = self.model_dump(exclude={"bindings"})
        return values | {"bindings": [binding.model_dump() for binding in self.bindings]}


class NewSecret(SecretFields):
    """A secret to keep. A personal one is for its owner's work only."""

    name: str = Field(max_length=80, description="Capital letters, digits and _.")
    value: SecretStr
    is_personal: bool = Field(default=False, description="Members keep these; the others are kept by admins.")


def check_name(name: str) -> None:
    """Refuse a name that is no variable, or one that would harm a provider. Raises: Invalid."""
    if not _NAME.match(name):
        raise Invalid("The name is not usable.", fields={"name": "capital letters, digits and _ only"})
    if name in _FORBIDDEN_NAMES or name.startswith(_FORBIDDEN):
        raise Invalid("The name is reserved.", fields={"name": "reserved"})


def check_value(value: str, mode: str) -> None:
    """Refuse a value that cannot be where its mode puts it. Raises: Invalid."""
    if "\x00" in value or len(value.encode()) > MAX_VALUE_BYTES:
        raise Invalid(
            "The value is not usable.", fields={"value": f"at most {MAX_VALUE_BYTES} bytes, no NUL"}
        )
    if mode == SecretMode.BROKERED and (not _BROKERED_VALUE.fullmatch(value) or value != value.strip()):
        raise Invalid(
            "The value is not usable in a request.",
            fields={"value": f"{_LEAST_BROKERED} to {_MOST_BROKERED} printable ASCII characters in one line"},
        )


def check_expiry(expires_at: datetime | None) -> None:
    """Refuse a date that is over. Raises: Invalid."""
    if expires_at is not None and expires_at <= now():
        raise Invalid("The date is over.", fields={"expires_at": "in the past"})
