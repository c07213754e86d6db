"""What a WhatsApp link needs."""

from __future__ import annotations

import hashlib
import hmac
from typing import Annotated

from pydantic import Field, SecretStr

from services.adapters.chat.config import ChatConfig, secret_like


class WhatsappConfig(ChatConfig):
    """One number of a WhatsApp business account, and the template that opens a chat which is closed.

    Without a `verify_token` one is derived from the app's secret, so that nobody has to invent it.
    """

    phone_number_id: str = Field(
        pattern=r"^[0-9]{5,30}$", title="Phone number ID", description="Not the number itself."
    )
    access_token: Annotated[SecretStr, secret_like(r"[\x21-\x7e]{20,1024}")] = Field(
        title="Access token", description="A lasting one, of a system user."
    )
    app_secret: Annotated[SecretStr, secret_like(r"[\x21-\x7e]{8,256}")] = Field(title="App secret")
    verify_token: Annotated[SecretStr, secret_like(r"[\x21-\x7e]{8,256}")] | None = Field(
        default=None, title="Verify token", description="Only if the webhook is set by hand."
    )
    template: str = Field(
        default="",
        pattern=r"^([a-z0-9_]{1,512})?$",
        title="Template",
        description="Sent when a person has not written for 24 hours. Its body has one variable, for the text.",
    )
    template_language: str = Field(
        default="en", pattern=r"^[a-z]{2,3}(_[A-Z]{2})?$", title="Language of the template"
    )

    @property
    def hook_token(self) -> str:
        """The value that is expected when the webhook is set."""
        if self.verify_token is not None:
            return self.verify_token.get_secret_value()
        key = self.app_secret.get_secret_value().encode()
        return hmac.new(key, b"slipway whatsapp webhook", hashlib.sha256).hexdigest()
