"""What a Matrix link needs."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Self

from pydantic import Field, PrivateAttr, SecretStr

from services.adapters.chat.config import ChatConfig, secret_like
from services.domain.ports.chat_abilities import Drawer


class Invites(StrEnum):
    """Whose invitations the bot follows."""

    EVERYONE = "everyone"
    OWN_SERVER = "own_server"
    NOBODY = "nobody"


class MatrixConfig(ChatConfig):
    """The access token of the bot's account, and where its homeserver is.

    `bot_id` is the account's full name, `@bot:example.org`. The keys of encrypted rooms lie in the link's drawer.
    """

    access_token: Annotated[SecretStr, secret_like(r"[\x21-\x7e]{1,2000}")] = Field(title="Access token")
    homeserver: str = Field(
        default="",
        max_length=300,
        pattern=r"^(https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?/?)?$",
        title="Homeserver",
        description="Such as https://matrix.example.org. Empty: the installation's own, else matrix.org.",
    )
    invites: Invites = Field(
        default=Invites.OWN_SERVER,
        title="Follows invitations",
        description="Of everyone, of people on the bot's own server, or of nobody.",
    )

    _drawer: Drawer | None = PrivateAttr(default=None)

    @property
    def drawer(self) -> Drawer | None:
        """Return the link's drawer, where it was given."""
        return self._drawer

    def with_drawer(self, drawer: Drawer) -> Self:
        """Return a copy that has the link's drawer."""
        copy = self.model_copy()
        copy._drawer = drawer
        return copy

    def is_invited_by(self, sender: str) -> bool:
        """Say whether an invitation of this person is followed."""
        if self.invites is Invites.OWN_SERVER:
            return sender.partition(":")[2] == self.bot_id.partition(":")[2] != ""
        return self.invites is Invites.EVERYONE
