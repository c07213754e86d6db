"""What a Slack link needs."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, SecretStr

from services.adapters.chat.config import ChatConfig, secret_like


class SlackConfig(ChatConfig):
    """The bot token and the signing secret of a Slack app, from its pages "OAuth" and "Basic Information"."""

    bot_token: Annotated[SecretStr, secret_like(r"[\x21-\x7e]{1,512}")] = Field(title="Bot token")
    signing_secret: Annotated[SecretStr, secret_like(r"[\x21-\x7e]{1,256}")] = Field(title="Signing secret")
