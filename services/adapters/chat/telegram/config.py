"""What a Telegram link needs."""

from __future__ import annotations

import hashlib
import hmac
from typing import Annotated

from pydantic import Field, SecretStr

from services.adapters.chat.config import ChatConfig, secret_like


class TelegramConfig(ChatConfig):
    """A bot's token, as BotFather gives it, and the secret that Telegram sends with each webhook call.

    Without a `secret_token` one is derived from the bot's token, so that nobody has to invent it.
    Source: https://core.telegram.org/bots/api#setwebhook (1-256 characters A-Z, a-z, 0-9, _ and -).
    """

    bot_token: Annotated[SecretStr, secret_like(r"[0-9]{1,20}:[A-Za-z0-9_-]{1,100}")] = Field(
        title="Bot token"
    )
    secret_token: Annotated[SecretStr, secret_like(r"[A-Za-z0-9_-]{1,256}")] | None = Field(
        default=None, title="Webhook secret"
    )

    @property
    def own_id(self) -> int:
        """The bot's user id: the first half of its token."""
        return int(self.bot_token.get_secret_value().partition(":")[0])

    @property
    def hook_secret(self) -> str:
        """The value expected in the secret header."""
        if self.secret_token is not None:
            return self.secret_token.get_secret_value()
        key = self.bot_token.get_secret_value().encode()
        return hmac.new(key, b"slipway telegram webhook", hashlib.sha256).hexdigest()
