"""Buttons as an Adaptive Card, for the platforms that show such cards.

Source: https://adaptivecards.io/explorer/Action.Submit.html
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from services.domain.ports.chat_abilities import Button

CONTENT_TYPE = "application/vnd.microsoft.card.adaptive"
_VALUE = "slipway"


def card_attachment(buttons: Sequence[Button], *, version: str, text: str = "") -> dict[str, Any]:
    """Make the attachment of a message: buttons, below `text` where the platform hides the message's own."""
    body = [{"type": "TextBlock", "text": text, "wrap": True}] if text else []
    content = {
        "type": "AdaptiveCard",
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "version": version,
        "body": body,
        "actions": [_action(button) for button in buttons],
    }
    return {"contentType": CONTENT_TYPE, "content": content}


def read_value(submitted: object) -> str | None:
    """Return the value of the button whose press submitted this, or None if it is none of ours."""
    value = submitted.get(_VALUE) if isinstance(submitted, Mapping) else None
    return value if isinstance(value, str) else None


def _action(button: Button) -> dict[str, Any]:
    if button.url:
        return {"type": "Action.OpenUrl", "title": button.label, "url": button.url}
    return {"type": "Action.Submit", "title": button.label, "data": {_VALUE: button.value}}
