"""What goes out by webhook: events in the same JSON that comes in, each under an id by which a repeat is known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from services.adapters.chat.webhook.client import post
from services.adapters.chat.webhook.config import WebhookConfig
from services.domain.errors import PlatformRefused
from services.domain.ports.chat import LinkIdentity, Place, Receipt
from services.domain.ports.chat_abilities import Button, ButtonLimits

# A receiver that keeps up with a text as it grows once a second keeps up with all of ours.
EDIT_INTERVAL_S = 1.0
_THERE = ("400", "422", "501")
BUTTON_LIMITS = ButtonLimits(
    buttons=25,
    label_chars=75,
    value_bytes=500,
    source="https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md",
)


def connect(base_url: str, config: WebhookConfig, hook_url: str) -> LinkIdentity:
    """Post a signed `link.connected` with the address to post back to. The answer may name the agent there."""
    said = post(base_url, config, {"type": "link.connected", "hook_url": hook_url})
    named = said.get("bot")
    bot = named if isinstance(named, dict) else {}
    host = urlsplit(config.url).hostname or "receiver"
    platform_id, name = str(bot.get("id") or f"slipway@{host}"), str(bot.get("name") or host)
    return LinkIdentity(platform_id[:100], name[:200])


def disconnect(base_url: str, config: WebhookConfig) -> None:
    """Say that the link is gone. One that refuses to hear it has forgotten it already."""
    try:
        post(base_url, config, {"type": "link.disconnected"})
    except PlatformRefused:
        return


def check_health(base_url: str, config: WebhookConfig) -> str | None:
    """Post a `link.check`. A receiver that does not know the question is there, and took the signature."""
    try:
        post(base_url, config, {"type": "link.check"})
    except PlatformRefused as error:
        if error.details.get("answer") not in _THERE:
            raise
    return None


def send(
    base_url: str,
    config: WebhookConfig,
    place: Place,
    part: str,
    *,
    reply_to: str | None = None,
    buttons: Sequence[Button] = (),
    key: str | None = None,
) -> Receipt:
    """Post a message. Its id is the receiver's, or else the one by which a repeat is known."""
    body = _event("message", config, place) | {"text": part}
    if reply_to:
        body["reply_to"] = reply_to
    if buttons:
        body["buttons"] = [
            {"label": button.label, **({"url": button.url} if button.url else {"value": button.value})}
            for button in buttons
        ]
    said = post(base_url, config, body, webhook_id=key)
    return Receipt(_id_in(said) or key or "")


def find_sent(base_url: str, config: WebhookConfig, place: Place, key: str) -> Receipt | None:
    """Ask for what was taken under an id. A receiver that has not kept it, or does not answer such, refuses."""
    try:
        said = post(base_url, config, _event("message.find", config, place) | {"webhook_id": key})
    except PlatformRefused:
        return None
    found = _id_in(said)
    return Receipt(found) if found else None


def change(base_url: str, config: WebhookConfig, place: Place, message_id: str, text: str | None) -> None:
    """Post the new text of a message, or without one that it is gone."""
    kind = "message.deleted" if text is None else "message.edited"
    said = {"message_id": message_id} | ({} if text is None else {"text": text})
    try:
        post(base_url, config, _event(kind, config, place) | said)
    except PlatformRefused as error:
        if text is not None or not _is_unknown(error):
            raise


def answer_press(
    base_url: str,
    config: WebhookConfig,
    place: Place,
    press_ref: str,
    person_id: str,
    text: str,
    *,
    is_refusal: bool,
) -> None:
    """Post what came of a press, for the person who pressed."""
    said = {"press_id": press_ref, "person_id": person_id, "text": text, "is_refusal": is_refusal}
    try:
        post(base_url, config, _event("press.answered", config, place) | said)
    except PlatformRefused as error:
        if not _is_unknown(error):
            raise


def _is_unknown(error: PlatformRefused) -> bool:
    """Say whether the receiver does not know (any more) what a call is about."""
    return error.details.get("answer") == "404"


def _event(kind: str, config: WebhookConfig, place: Place) -> dict[str, Any]:
    return {
        "type": kind,
        "chat": {"id": place.chat_id},
        "thread": place.thread_id,
        "sender": {"id": config.bot_id, "name": config.bot_name, "is_bot": True},
    }


def _id_in(said: dict[str, Any]) -> str:
    given = said.get("id")
    return given[:120] if isinstance(given, str) else ""
