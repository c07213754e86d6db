"""Joining a bot to Slipway: its token is checked and its webhooks are made.

Source: https://developer.webex.com/docs/api/v1/webhooks
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from services.adapters.chat.webex.client import WebexClient
from services.adapters.chat.webex.config import WebexConfig
from services.domain.errors import PlatformRefused
from services.domain.ports.chat import LinkIdentity, Place

NAME = "slipway"
PERSON_HINT = "the person's e-mail address, or their Webex id"
GREETING = "Hello, this is {name}."
WANTED = (
    ("messages", "created"),
    ("messages", "updated"),
    ("messages", "deleted"),
    ("attachmentActions", "created"),
)
_MAX_LISTED = "100"


def connect(client: WebexClient, config: WebexConfig, hook_url: str) -> LinkIdentity:
    """Ask who the bot is, then have its events sent to `hook_url`, signed. May be done again."""
    person = client.get(config, "people/me")
    _remove_hooks(client, config)
    for resource, event in WANTED:
        hook = {
            "name": NAME,
            "targetUrl": hook_url,
            "resource": resource,
            "event": event,
            "secret": config.hook_secret.decode(),
        }
        client.call(config, "POST", "webhooks", json=hook)
    return LinkIdentity(
        platform_id=str(person.get("id", "")), display_name=str(person.get("displayName", ""))
    )


def open_direct(client: WebexClient, config: WebexConfig, person_id: str) -> Place:
    """Return the room with a person. A room for two comes to be with its first message, and in no other way.

    Source: https://developer.webex.com/docs/api/v1/messages/list-direct-messages, …/create-a-message
    """
    name = "Email" if "@" in person_id else "Id"
    try:
        items = client.get(config, "messages/direct", {f"person{name}": person_id}).get("items")
    except PlatformRefused as error:
        if error.details.get("answer") != "404":
            raise
        items = None
    message = items[0] if isinstance(items, list) and items else None
    if not isinstance(message, dict):
        greeting = {f"toPerson{name}": person_id, "markdown": GREETING.format(name=config.bot_name)}
        message = client.call(config, "POST", "messages", json=greeting)
    return Place(str(message.get("roomId", "")))


def disconnect(client: WebexClient, config: WebexConfig) -> None:
    """Remove our webhooks. A bot whose token is revoked has none any more, so that a refusal is as good."""
    try:
        _remove_hooks(client, config)
    except PlatformRefused:
        return


def check_health(client: WebexClient, config: WebexConfig, hook_url: str) -> str | None:
    """Look whether the webhooks are there and active: Webex switches off those whose calls fail."""
    try:
        hooks = _list_hooks(client, config)
    except PlatformRefused as error:
        return f"{error.message} Enter the token that the bot's page gives when it is made anew."
    good = {
        (hook.get("resource"), hook.get("event"))
        for hook in hooks
        if hook.get("status") == "active" and hook.get("targetUrl") == hook_url
    }
    if set(WANTED) - good:
        return "Webex has switched off the bot's webhooks, or they are gone. Connect the link again."
    return None


def _remove_hooks(client: WebexClient, config: WebexConfig) -> None:
    for hook in _list_hooks(client, config):
        client.call(config, "DELETE", f"webhooks/{quote(str(hook['id']), safe='')}")


def _list_hooks(client: WebexClient, config: WebexConfig) -> list[dict[str, Any]]:
    listed = client.get(config, "webhooks", {"max": _MAX_LISTED}).get("items")
    hooks = listed if isinstance(listed, list) else []
    return [hook for hook in hooks if isinstance(hook, dict) and hook.get("name") == NAME and hook.get("id")]
