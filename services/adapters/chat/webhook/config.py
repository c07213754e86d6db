"""What a webhook link needs."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr

from services.adapters.chat.config import ChatConfig, secret_like

_PREFIX = "whsec_"
_SECRET_BYTES = range(24, 65)


def _check_key(secret: SecretStr) -> SecretStr:
    try:
        key = base64.b64decode(secret.get_secret_value().removeprefix(_PREFIX), validate=True)
    except binascii.Error as error:
        raise ValueError("this is not base64") from error
    if len(key) not in _SECRET_BYTES:
        raise ValueError("this does not have 24 to 64 bytes")
    return secret


def _check_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("https", "http") or not parts.hostname or parts.username or parts.fragment:
        raise ValueError("this is no address of a server")
    return url


class WebhookConfig(ChatConfig):
    """The secret that both sides sign with, and where what agents say is posted.

    The secret is base64 of 24 to 64 bytes, with or without `whsec_`: `openssl rand -base64 32` makes one.
    """

    signing_secret: Annotated[
        SecretStr, secret_like(r"(whsec_)?[A-Za-z0-9+/]{32,88}={0,2}"), AfterValidator(_check_key)
    ] = Field(title="Signing secret")
    url: Annotated[str, Field(max_length=1_000), AfterValidator(_check_url)] = Field(
        title="Address to post to"
    )

    @property
    def key(self) -> bytes:
        """The bytes that sign."""
        return base64.b64decode(self.signing_secret.get_secret_value().removeprefix(_PREFIX))
