"""Sending to WhatsApp: texts, cards, reactions, the template that opens a chat, and that something was read.

Source: https://developers.facebook.com/docs/whatsapp/cloud-api/reference/messages
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import Any

from services.adapters.chat.emoji import emoji_named
from services.adapters.chat.whatsapp.client import ask
from services.adapters.chat.whatsapp.config import WhatsappConfig
from services.adapters.chat.whatsapp.failures import WINDOW_CLOSED
from services.adapters.chat.whatsapp.places import is_group, recipient
from services.domain.errors import PlatformRefused
from services.domain.ports.chat import Place, Receipt
from services.domain.ports.chat_abilities import Button, ButtonLimits
from services.kit.emoji import bare

# Up to three are buttons, more are rows of a list; 20 characters fit on both, and 200 bytes come back from both.
# Source: https://developers.facebook.com/docs/whatsapp/cloud-api/messages/interactive-list-messages
BUTTON_LIMITS = ButtonLimits(
    buttons=10,
    label_chars=20,
    value_bytes=200,
    source="https://developers.facebook.com/docs/whatsapp/cloud-api/messages/interactive-reply-buttons-messages",
    max_text=1024 - 100,
)
MAX_BODY = 1024
MAX_EMOJI = 12
MAX_KEY = 512
_REPLY_BUTTONS = 3
_LIST_LABEL = "Choose"


def send(
    base_url: str,
    config: WhatsappConfig,
    place: Place,
    part: str,
    *,
    reply_to: str | None = None,
    key: str = "",
) -> Receipt:
    """Send one part; if the chat is closed and the link has a template, in that. Reports on it have the key."""
    text = {"body": part, "preview_url": False}
    try:
        return post(base_url, config, place, {"type": "text", "text": text}, reply_to=reply_to, key=key)
    except PlatformRefused as error:
        if error.details.get("code") != WINDOW_CLOSED or not config.template:
            raise
    return send_opening(base_url, config, place, part, key=key)


def send_opening(base_url: str, config: WhatsappConfig, place: Place, part: str, *, key: str = "") -> Receipt:
    """Send one part as the variable of the link's template, which is one line of at most 1,024 characters."""
    line = " ".join(part.split())
    if not config.template:
        raise PlatformRefused("The link has no template, which alone goes through while a chat is closed.")
    if len(line) > MAX_BODY:
        raise PlatformRefused(
            "The person has not written for 24 hours, and the text is too long for the template, which alone goes "
            f"through until they do. It takes {MAX_BODY:,} characters."
        )
    template = {
        "name": config.template,
        "language": {"code": config.template_language},
        "components": [{"type": "body", "parameters": [{"type": "text", "text": line}]}],
    }
    return post(base_url, config, place, {"type": "template", "template": template}, key=key)


def post(
    base_url: str,
    config: WhatsappConfig,
    place: Place,
    message: dict[str, Any],
    *,
    reply_to: str | None = None,
    key: str = "",
) -> Receipt:
    """Post a message of any type to a person."""
    context = {"context": {"message_id": reply_to}} if reply_to else {}
    kept = {"biz_opaque_callback_data": key[:MAX_KEY]} if key else {}
    answer = _post(base_url, config, recipient(place) | context | kept | message)
    sent = answer.get("messages") or [{}]
    return Receipt(message_id=str(sent[0].get("id", "")))


def send_card(
    base_url: str,
    config: WhatsappConfig,
    place: Place,
    part: str,
    buttons: Sequence[Button],
    *,
    reply_to: str | None = None,
    key: str = "",
) -> Receipt:
    """Send a message with buttons, or with a list if there are more than three.

    An address is written below the text, or before it, if both are too long for one message. Groups take neither
    buttons nor lists: there the choices are numbered below the text.
    """
    if is_group(place):
        listed = "\n".join(
            f"{number}. {button.label}{f': {button.url}' if button.url else ''}"
            for number, button in enumerate(buttons, 1)
        )
        return send(base_url, config, place, f"{part}\n\n{listed}".strip(), reply_to=reply_to)
    links = "\n".join(f"{button.label}: {button.url}" for button in buttons if button.url)
    pressed = [button for button in buttons if not button.url]
    body = "\n\n".join(filter(None, (part, links)))
    if not pressed:
        return send(base_url, config, place, body, reply_to=reply_to, key=key)
    if len(body) > MAX_BODY and links:
        send(base_url, config, place, links, reply_to=reply_to)
        body = part
    labels = {button.label for button in pressed}
    # Two buttons of one label are not taken; two rows are.
    if len(pressed) <= _REPLY_BUTTONS and len(labels) == len(pressed):
        replies = [{"type": "reply", "reply": {"id": each.value, "title": each.label}} for each in pressed]
        card = {"type": "button", "action": {"buttons": replies}}
    else:
        rows = [{"id": each.value, "title": each.label} for each in pressed]
        card = {"type": "list", "action": {"button": _LIST_LABEL, "sections": [{"rows": rows}]}}
    interactive = card | {"body": {"text": body}}
    message = {"type": "interactive", "interactive": interactive}
    return post(base_url, config, place, message, reply_to=reply_to, key=key)


def find_emoji(emoji: str) -> str | None:
    """Return the emoji, of which WhatsApp takes any."""
    found = emoji_named(emoji) or bare(emoji)
    return found if _is_emoji(found) else None


def react(base_url: str, config: WhatsappConfig, place: Place, message_id: str, emoji: str) -> None:
    """Set the number's reaction, which replaces an earlier one of its own."""
    if is_group(place):
        raise PlatformRefused("WhatsApp takes no reactions of businesses in groups.")
    reaction = {"message_id": message_id, "emoji": emoji}
    post(base_url, config, place, {"type": "reaction", "reaction": reaction})


def acknowledge(base_url: str, config: WhatsappConfig, place: Place, message_id: str) -> None:
    """Mark a message as read, and show "typing" for 25 seconds or until there is an answer; in groups neither is."""
    if is_group(place):
        return
    given = {"status": "read", "message_id": message_id, "typing_indicator": {"type": "text"}}
    _post(base_url, config, given)


def _post(base_url: str, config: WhatsappConfig, given: dict[str, Any]) -> dict[str, Any]:
    message = {"messaging_product": "whatsapp"} | given
    return ask(base_url, config, "POST", f"{config.phone_number_id}/messages", json=message)


def _is_emoji(text: str) -> bool:
    """Say whether a text is symbols, with their skin tones and what joins and varies them, and nothing else."""
    categories = {unicodedata.category(char) for char in text}
    return len(text) <= MAX_EMOJI and "So" in categories and categories <= {"So", "Sk", "Cf", "Mn", "Me"}
