"""What a Webex link needs."""

from __future__ import annotations

import hashlib
import hmac
from typing import Annotated

from pydantic import Field, SecretStr

from services.adapters.chat.config import ChatConfig, secret_like


class WebexConfig(ChatConfig):
    """A bot's access token. The secret of its webhooks is derived from it, so that nobody has to invent one."""

    bot_token: Annotated[SecretStr, secret_like(r"[\x21-\x7e]{20,512}")] = Field(title="Bot access token")

    @property
    def hook_secret(self) -> bytes:
        """The key with which Webex signs its calls."""
        key = self.bot_token.get_secret_value().encode()
        return hmac.new(key, b"slipway webex webhook", hashlib.sha256).hexdigest().encode()
