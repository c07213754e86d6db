"""Joining a bot to Slipway: who it is, what it may read, its commands, and where Discord sends interactions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from services.adapters.chat.discord.config import DiscordConfig
from services.adapters.chat.discord.interactions import COMMAND, COMMAND_OPTION
from services.adapters.chat.discord.rest import Rest, snowflake
from services.domain.errors import PlatformRefused
from services.domain.ports.chat import LinkIdentity, Place
from services.domain.ports.chat_abilities import CommandHint

# Bots in a hundred servers and more need Discord's leave; smaller ones are only switched on.
# Source: https://docs.discord.com/developers/resources/application#application-object-application-flags
_READS_CONTENT = 1 << 18 | 1 << 19
NO_CONTENT = (
    "The bot may not read what people write. "
    'Switch on "Message Content Intent" on the page "Bot" of the developer portal.'
)
NO_ENDPOINT = (
    "Discord sends the interactions elsewhere. "
    'Connect the link again, or enter its address as "Interactions Endpoint URL" in the developer portal.'
)
_TEXT = 3
_MAX_DESCRIPTION = 100
PERSON_HINT = "the person's user id, a number that Discord shows in developer mode"


def connect(rest: Rest, config: DiscordConfig, hook_url: str) -> LinkIdentity:
    """Check the token and what the bot may read, and have interactions sent here if it is so set."""
    me = rest.object(config, "GET", "/users/@me")
    application = rest.object(config, "GET", "/applications/@me")
    if not int(application.get("flags") or 0) & _READS_CONTENT:
        raise PlatformRefused(NO_CONTENT)
    if config.public_key is not None and hook_url.startswith("https://"):
        # Discord calls the address before it answers.
        rest.call(config, "PATCH", "/applications/@me", {"interactions_endpoint_url": hook_url})
    return LinkIdentity(platform_id=str(me.get("id", "")), display_name=str(me.get("username", "")))


def show_commands(rest: Rest, config: DiscordConfig, commands: Sequence[CommandHint]) -> None:
    """Set the bot's commands, in place of those before: one that asks the agent, and each of ours.

    Source: https://docs.discord.com/developers/interactions/application-commands
    """
    application = rest.object(config, "GET", "/applications/@me")
    ask = _command(COMMAND, "Ask the agent", "What to do", is_required=True)
    listed = [_command(hint.name, hint.help, hint.usage) for hint in commands if hint.name != COMMAND]
    path = f"/applications/{snowflake(str(application.get('id')))}/commands"
    rest.call(config, "PUT", path, [ask, *listed])


def open_direct(rest: Rest, config: DiscordConfig, person_id: str) -> Place:
    """Return the direct channel with a person: Discord gives the same one each time.

    Source: https://docs.discord.com/developers/resources/user#create-dm
    """
    channel = rest.object(config, "POST", "/users/@me/channels", {"recipient_id": snowflake(person_id)})
    return Place(snowflake(str(channel.get("id"))))


def _command(name: str, help: str, usage: str, *, is_required: bool = False) -> dict[str, Any]:
    command: dict[str, Any] = {"name": name, "type": 1, "description": help[:_MAX_DESCRIPTION]}
    if usage:
        option = {"type": _TEXT, "name": COMMAND_OPTION, "description": usage[:_MAX_DESCRIPTION]}
        command["options"] = [option | {"required": is_required}]
    return command


def disconnect(rest: Rest, config: DiscordConfig) -> None:
    """Have interactions come over the gateway again, so that Discord calls nobody who is not there."""
    if config.public_key is not None:
        rest.call(config, "PATCH", "/applications/@me", {"interactions_endpoint_url": None})


def check_health(rest: Rest, config: DiscordConfig, hook_url: str) -> str | None:
    """Return what a person has to mend, or None. Raises: PlatformThrottled, PlatformAway."""
    try:
        application = rest.object(config, "GET", "/applications/@me")
    except PlatformRefused as error:
        return error.message
    if not int(application.get("flags") or 0) & _READS_CONTENT:
        return NO_CONTENT
    endpoint = application.get("interactions_endpoint_url")
    is_by_hook = config.public_key is not None and hook_url.startswith("https://")
    if (endpoint and endpoint != hook_url) or (is_by_hook and not endpoint):
        return NO_ENDPOINT
    return None
