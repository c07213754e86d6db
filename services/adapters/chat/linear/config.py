"""What a Linear link needs."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, SecretStr, model_validator

from services.adapters.chat.config import ChatConfig, secret_like

_API_KEY = "lin_api_"


class LinearConfig(ChatConfig):
    """An app of Linear with client credentials, which is an agent there; or a token, or a person's API key."""

    webhook_secret: Annotated[SecretStr, secret_like(r"[\x21-\x7e]{8,256}")] = Field(
        title="Webhook signing secret"
    )
    client_id: str = Field(default="", pattern=r"^[\x21-\x7e]{0,200}$", title="Client ID")
    client_secret: Annotated[SecretStr, secret_like(r"[\x21-\x7e]{8,256}")] | None = Field(
        default=None, title="Client secret"
    )
    access_token: Annotated[SecretStr, secret_like(r"[\x21-\x7e]{8,512}")] | None = Field(
        default=None,
        title="Access token",
        description="Or an API key, instead of the client's ID and secret.",
    )

    @model_validator(mode="after")
    def _has_one_way_in(self) -> Self:
        has_client = bool(self.client_id) and self.client_secret is not None
        if has_client == (self.access_token is not None):
            raise ValueError("give the client's ID and secret, or an access token")
        return self

    @property
    def is_agent(self) -> bool:
        """Whether it is an app, which people talk to in sessions; an API key acts as the person that it is of."""
        token = self.access_token.get_secret_value() if self.access_token is not None else ""
        return not token.startswith(_API_KEY)
