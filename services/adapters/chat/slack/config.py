"""What a Slack link needs."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, SecretStr, model_validator

from services.adapters.chat.config import ChatConfig, secret_like


class SlackConfig(ChatConfig):
    """The tokens and the signing secret of a Slack app, from its pages "OAuth" and "Basic Information".

    With an app-level token Slipway connects to Slack (Socket Mode); without one Slack calls Slipway, and signs.
    """

    bot_token: Annotated[SecretStr, secret_like(r"[\x21-\x7e]{1,512}")] = Field(title="Bot token")
    signing_secret: Annotated[SecretStr, secret_like(r"[\x21-\x7e]{1,256}")] | None = Field(
        default=None, title="Signing secret"
    )
    app_token: Annotated[SecretStr, secret_like(r"xapp-[\x21-\x7e]{1,512}")] | None = Field(
        default=None, title="App-level token, for Socket Mode"
    )

    @model_validator(mode="after")
    def _has_a_way_in(self) -> Self:
        if self.signing_secret is None and self.app_token is None:
            raise ValueError("a signing secret is needed, or an app-level token for Socket Mode")
        return self
