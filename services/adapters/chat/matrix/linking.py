"""Joining a bot's account to Slipway, and asking whether it still works."""

from __future__ import annotations

import re

from services.adapters.chat.matrix.client import Conversation, Homeserver, path
from services.adapters.chat.matrix.config import MatrixConfig
from services.domain.errors import PlatformRefused
from services.domain.ports.chat import LinkIdentity, Place

PERSON_HINT = "the person's Matrix id, such as @bob:example.org"
_USER = re.compile(r"@[^\s:\x00]{1,200}:[^\s/?#]{1,200}")


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


def open_direct(homeserver: Homeserver, config: MatrixConfig, person_id: str) -> Place:
    """Return the room with a person: the one that the account's own list of direct chats has, else a new one.

    Source: https://spec.matrix.org/latest/client-server-api/#direct-messaging
    """
    if not _USER.fullmatch(person_id):
        raise PlatformRefused("This is no id of a person on Matrix.", answer="not an id")

    async def ask(talk: Conversation) -> Place:
        listed = path("user", config.bot_id, "account_data", "m.direct")
        try:
            chats = await talk.get(listed)
        except PlatformRefused as error:
            if error.details.get("answer") != "M_NOT_FOUND":
                raise
            chats = {}
        joined = await talk.get(path("joined_rooms"))
        known = chats.get(person_id) if isinstance(chats.get(person_id), list) else []
        for room_id in known or ():
            if room_id in joined.get("joined_rooms", ()):
                return Place(str(room_id))
        wanted = {"invite": [person_id], "is_direct": True, "preset": "trusted_private_chat"}
        room_id = str((await talk.post(path("createRoom"), wanted)).get("room_id", ""))
        await talk.put(listed, {**chats, person_id: [*(known or ()), room_id]})
        return Place(room_id)

    return homeserver.run(config, ask)


def _localpart(user_id: str) -> str:
    return user_id.removeprefix("@").partition(":")[0]
