"""Joining a BlueBubbles server to Slipway: its password is checked and its webhook made."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from services.adapters.chat.imessage.client import BlueBubblesClient
from services.adapters.chat.imessage.config import IMessageConfig
from services.adapters.chat.imessage.inbound import NEW, SECRET, UPDATED
from services.domain.errors import PlatformRefused
from services.domain.ports.chat import LinkIdentity

WANTED = [NEW, UPDATED]


def connect(client: BlueBubblesClient, config: IMessageConfig, hook_url: str) -> LinkIdentity:
    """Ask whose account the Mac is signed in with, then have messages sent to `hook_url`. May be done again."""
    account = _account(client.call(config, "GET", "server/info"))
    if not account:
        raise PlatformRefused("The Mac is not signed in to iMessage.")
    _remove_hooks(client, config)
    hook = {"url": _hook_address(config, hook_url), "events": WANTED}
    client.call(config, "POST", "webhook", json=hook)
    return LinkIdentity(platform_id=account, display_name=account)


def disconnect(client: BlueBubblesClient, config: IMessageConfig) -> None:
    """Remove our webhook. A server that does not know us any more has none, so that a refusal is as good."""
    try:
        _remove_hooks(client, config)
    except PlatformRefused:
        return


def check_health(client: BlueBubblesClient, config: IMessageConfig, hook_url: str) -> str | None:
    """Look whether the Mac is signed in, the webhook there, and the Private API connected if it is wanted."""
    try:
        told = client.call(config, "GET", "server/info")
        hooks = _list_hooks(client, config)
    except PlatformRefused as error:
        return error.message
    if not _account(told):
        return "The Mac is not signed in to iMessage."
    if config.has_private_api and not told.get("helper_connected"):
        return "The Private API's helper is not connected."
    if _hook_address(config, hook_url) not in {hook.get("url") for hook in hooks}:
        return "The server's webhook is gone. Connect the link again."
    return None


def _account(told: Any) -> str:
    given = told if isinstance(told, dict) else {}
    return str(given.get("detected_imessage") or given.get("detected_icloud") or "")[:100]


def _hook_address(config: IMessageConfig, hook_url: str) -> str:
    return f"{hook_url}?{urlencode({SECRET: config.hook_secret})}"


def _remove_hooks(client: BlueBubblesClient, config: IMessageConfig) -> None:
    for hook in _list_hooks(client, config):
        client.call(config, "DELETE", f"webhook/{hook['id']}")


def _list_hooks(client: BlueBubblesClient, config: IMessageConfig) -> list[dict[str, Any]]:
    """List the webhooks that are ours, by the secret in their addresses."""
    listed = client.call(config, "GET", "webhook")
    hooks = [hook for hook in listed if isinstance(hook, dict)] if isinstance(listed, list) else []
    ours = f"{SECRET}={config.hook_secret}"
    return [hook for hook in hooks if ours in str(hook.get("url")) and isinstance(hook.get("id"), int)]
