"""What an e-mail link needs."""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import Annotated

from pydantic import Field, SecretStr

from services.adapters.chat.config import ChatConfig, secret_like
from services.adapters.mailbox.servers import HOST_PATTERN, Security, Server, SignIn

_ONE_LINE = r"^[^\x00-\x1f\x7f]*$"
ADDRESS_PATTERN = r"^[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9]([A-Za-z0-9.-]{0,120}[A-Za-z0-9])?$"


class EmailConfig(ChatConfig):
    """A mailbox of the agent's own, and the servers of it. Both are reached over TLS only.

    `bot_id` is the address in lower case.
    """

    address: str = Field(max_length=110, pattern=ADDRESS_PATTERN, title="Address")
    display_name: str = Field(default="", max_length=100, pattern=_ONE_LINE, title="Name of the sender")
    imap_host: str = Field(pattern=HOST_PATTERN, title="IMAP server")
    imap_port: int = Field(default=993, ge=1, le=65_535, title="Its port")
    imap_security: Security = Field(default="tls", title="Its security")
    smtp_host: str = Field(pattern=HOST_PATTERN, title="SMTP server")
    smtp_port: int = Field(default=465, ge=1, le=65_535, title="Its port")
    smtp_security: Security = Field(default="tls", title="Its security")
    user: str = Field(min_length=1, max_length=200, pattern=_ONE_LINE, title="User name")
    password: Annotated[SecretStr, secret_like(r"[^\x00-\x1f\x7f]{1,500}")] = Field(title="Password")
    authserv_id: str = Field(
        default="",
        max_length=200,
        pattern=r"^[A-Za-z0-9._-]*$",
        title="Checked by",
        description=(
            "The name with which your mail server begins its Authentication-Results, such as mx.google.com. "
            "Empty: nobody's checks are trusted, and every sender counts as unverified."
        ),
    )
    has_plus_addresses: bool = Field(
        default=True,
        title="Takes plus addresses",
        description="Mail to name+anything@ reaches this mailbox too, as it does with most providers.",
    )

    @property
    def imap(self) -> Server:
        """Where mail is read."""
        return Server(self.imap_host, self.imap_port, self.imap_security)

    @property
    def smtp(self) -> Server:
        """Where mail is sent."""
        return Server(self.smtp_host, self.smtp_port, self.smtp_security)

    @property
    def sign_in(self) -> SignIn:
        """Who signs in at both."""
        return SignIn(self.user, self.password, self.address, self.display_name)

    def is_own(self, address: str) -> bool:
        """Say whether an address is the mailbox's own, plus addresses included."""
        local, _, domain = address.lower().rpartition("@")
        own_local, _, own_domain = self.address.lower().rpartition("@")
        return domain == own_domain and local.partition("+")[0] == own_local.partition("+")[0]

    def sign(self, text: str) -> str:
        """Return twenty letters that only this mailbox can make of a text."""
        key = hmac.new(self.password.get_secret_value().encode(), b"slipway reply address", hashlib.sha256)
        digest = hmac.new(key.digest(), text.encode(), hashlib.sha256).digest()
        return base64.b32encode(digest[:13]).decode().lower()[:20]
