"""What an iMessage link needs."""

from __future__ import annotations

import hashlib
import hmac
from typing import Annotated, Literal

from pydantic import Field, SecretStr

from services.adapters.chat.config import ChatConfig, secret_like


class IMessageConfig(ChatConfig):
    """A BlueBubbles server: its address, its password, and whether its Private API is set up.

    The server signs nothing, so that the webhook's own address has a secret in it, derived from the password. Where the
    operator has a server for all links, `server_url` stays empty.
    """

    server_url: str = Field(
        default="", title="Server address", max_length=300, pattern=r"^(?:https://[^\s/?#@]+/?)?$"
    )
    password: Annotated[SecretStr, secret_like(r"[\x21-\x7e]{8,128}")] = Field(title="Server password")
    private_api: Literal["yes", "no"] = Field(
        default="no",
        title="Private API",
        description="yes or no. With it the bot can type, react and reply.",
    )

    @property
    def hook_secret(self) -> str:
        """The value expected in the webhook's query."""
        key = self.password.get_secret_value().encode()
        return hmac.new(key, b"slipway bluebubbles webhook", hashlib.sha256).hexdigest()

    @property
    def has_private_api(self) -> bool:
        """Say whether the server can do more than send."""
        return self.private_api == "yes"
