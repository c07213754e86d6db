"""What a Google Chat link needs."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any

from cryptography.hazmat.primitives.serialization import load_pem_private_key
from pydantic import AfterValidator, Field, SecretStr

from services.adapters.chat.config import ChatConfig

MAX_KEY_CHARS = 10_000


def _check_key(secret: SecretStr) -> SecretStr:
    """Check that this is a service account's key; what is said of a wrong one does not contain it."""
    try:
        given = json.loads(secret.get_secret_value()[:MAX_KEY_CHARS])
        load_pem_private_key(given["private_key"].encode(), password=None)
        is_one = given["type"] == "service_account" and "@" in given["client_email"] + given["private_key_id"]
    except (ValueError, TypeError, KeyError, AttributeError):
        is_one = False
    if not is_one:
        raise ValueError("this is not the JSON key of a service account")
    return secret


class GoogleChatConfig(ChatConfig):
    """The key of the app's service account, and how Google says for whom its calls are.

    `endpoint_url` is set where the app's "authentication audience" is its endpoint's address; it is this link's own.
    """

    service_account: Annotated[SecretStr, AfterValidator(_check_key)] = Field(
        title="Service account key (JSON)", json_schema_extra={"is_long": True}
    )
    project_number: str = Field(title="Project number", pattern=r"^[0-9]{6,20}$")
    endpoint_url: str = Field(
        default="", title="HTTP endpoint URL", max_length=400, pattern=r"^(?:https?://\S+)?$"
    )

    @property
    def key(self) -> dict[str, Any]:
        """The service account's key, as Google gives it."""
        found: dict[str, Any] = json.loads(self.service_account.get_secret_value())
        return found

    @property
    def token_key(self) -> str:
        """Under what the access token of this account is kept."""
        return hashlib.sha256(self.service_account.get_secret_value().encode()).hexdigest()
