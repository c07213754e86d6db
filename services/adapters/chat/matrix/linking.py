"""Joining a bot's account to Slipway, and asking whether it still works."""

from __future__ import annotations

from services.adapters.chat.matrix.client import Conversation, Homeserver, path
from services.adapters.chat.matrix.config import MatrixConfig
from services.domain.errors import PlatformRefused
from services.domain.ports.chat import LinkIdentity


def connect(homeserver: Homeserver, config: MatrixConfig) -> LinkIdentity:
    """Check the token, and learn who the bot is."""

    async def ask(talk: Conversation) -> LinkIdentity:
        user_id = str((await talk.get(path("account", "whoami"))).get("user_id", ""))
        try:
            profile = await talk.get(path("profile", user_id, "displayname"))
        except PlatformRefused:
            profile = {}
        name = profile.get("displayname")
        return LinkIdentity(user_id, name if isinstance(name, str) and name else _localpart(user_id))

    return homeserver.run(config, ask)


def check_health(homeserver: Homeserver, config: MatrixConfig) -> str | None:
    """Say what a person has to mend, or None."""

    async def ask(talk: Conversation) -> str:
        return str((await talk.get(path("account", "whoami"))).get("user_id", ""))

    try:
        user_id = homeserver.run(config, ask)
    except PlatformRefused as error:
        return f"{error.message} Make a new access token for the bot and enter it in the link."
    if config.bot_id and user_id != config.bot_id:
        return f"The access token is one of {user_id}, not of {config.bot_id}. Connect the link again."
    return None


def _localpart(user_id: str) -> str:
    return user_id.removeprefix("@").partition(":")[0]
