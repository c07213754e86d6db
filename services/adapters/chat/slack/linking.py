"""Joining an app to Slipway. Slack has no call that sets the address of events: a person enters it once."""

from __future__ import annotations

from typing import Any

from services.adapters.chat.slack.client import call
from services.adapters.chat.slack.config import SlackConfig
from services.adapters.chat.slack.socket_mode import open_address
from services.domain.ports.chat import LinkIdentity, Place

PERSON_HINT = "the person's member id, such as U0123ABCD, which their profile shows"


def connect(base_url: str, config: SlackConfig) -> LinkIdentity:
    """Check the tokens, and learn who the bot is."""
    if config.app_token is not None:
        open_address(base_url, config)
    answer = call(base_url, config, lambda client: client.auth_test())
    return LinkIdentity(platform_id=str(answer.get("user_id", "")), display_name=str(answer.get("user", "")))


def open_direct(base_url: str, config: SlackConfig, person_id: str) -> Place:
    """Return the direct message with a person: Slack gives the same one each time.

    Source: https://docs.slack.dev/reference/methods/conversations.open (scope `im:write`)
    """
    answer = call(base_url, config, lambda client: client.conversations_open(users=person_id))
    channel: dict[str, Any] = answer.get("channel") or {}
    return Place(str(channel.get("id", "")))


def check_health(base_url: str, config: SlackConfig) -> str | None:
    """Ask whether the token is good, and still the same bot's. Raises: what a bad token means."""
    answer = call(base_url, config, lambda client: client.auth_test())
    if config.bot_id and answer.get("user_id") != config.bot_id:
        return "The token belongs to another bot now. Connect the link again."
    return None
