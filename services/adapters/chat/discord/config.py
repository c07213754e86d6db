"""What a Discord link needs."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, SecretStr

from services.adapters.chat.config import ChatConfig, secret_like


class DiscordConfig(ChatConfig):
    """The token of the bot, and the key with which Discord signs, if interactions come by webhook.

    Both are in the developer portal, on the pages "Bot" and "General Information".
    """

    bot_token: Annotated[SecretStr, secret_like(r"[\x21-\x7e]{1,512}")] = Field(title="Bot token")
    public_key: str | None = Field(
        default=None, pattern=r"^[0-9a-fA-F]{64}$", title="Public key, for interactions by webhook"
    )
