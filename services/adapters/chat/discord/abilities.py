"""What Discord can do beyond sending text: editing, deleting, reacting, files, buttons."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import quote

from services.adapters.chat.discord.config import DiscordConfig
from services.adapters.chat.discord.failures import (
    INVALID_WEBHOOK_TOKEN,
    UNKNOWN_INTERACTION,
    UNKNOWN_MESSAGE,
    UNKNOWN_WEBHOOK,
    is_refused_as,
)
from services.adapters.chat.discord.outbound import SUPPRESS_EMBEDS, at_message, post
from services.adapters.chat.discord.rest import Rest
from services.adapters.chat.emoji import NAMES, emoji_named
from services.domain.errors import PlatformRefused
from services.domain.ports.chat import Place, Receipt
from services.domain.ports.chat_abilities import Button, ButtonLimits
from services.kit.emoji import bare

# Source: https://docs.discord.com/developers/reference#uploading-files
MAX_FILE_BYTES = 10 * 1024**2
# Five messages in five seconds for a channel, edits among them.
EDIT_INTERVAL_S = 1.2
BUTTON_LIMITS = ButtonLimits(
    buttons=25,
    label_chars=80,
    value_bytes=100,
    source="https://docs.discord.com/developers/components/reference#button",
)
_PER_ROW = 5
_ACTION_ROW, _BUTTON = 1, 2
_SECONDARY, _LINK = 2, 5
EPHEMERAL = 1 << 6
MAX_NOTE = 1_900


def edit(rest: Rest, config: DiscordConfig, place: Place, message_id: str, part: str) -> None:
    """Replace a message's text; its buttons go away."""
    body = {
        "content": part,
        "components": [],
        "flags": SUPPRESS_EMBEDS,
        "allowed_mentions": {"parse": ["users"]},
    }

    def change(channel_id: str, edited: str) -> None:
        rest.call(config, "PATCH", f"/channels/{channel_id}/messages/{edited}", body)

    at_message(place, message_id, change)


def delete(rest: Rest, config: DiscordConfig, place: Place, message_id: str) -> None:
    """Delete a message."""

    def remove(channel_id: str, deleted: str) -> None:
        rest.call(config, "DELETE", f"/channels/{channel_id}/messages/{deleted}")

    _unless(lambda: at_message(place, message_id, remove), UNKNOWN_MESSAGE)


def find_emoji(emoji: str) -> str | None:
    """Return the emoji itself, of those that we know by name."""
    found = emoji_named(emoji) or bare(emoji)
    return found if found in NAMES else None


def react(rest: Rest, config: DiscordConfig, place: Place, message_id: str, emoji: str) -> None:
    """Add a reaction."""

    def add(channel_id: str, reacted: str) -> None:
        path = f"/channels/{channel_id}/messages/{reacted}/reactions/{quote(emoji, safe='')}/@me"
        rest.call(config, "PUT", path)

    at_message(place, message_id, add)


def send_card(
    rest: Rest,
    config: DiscordConfig,
    place: Place,
    part: str,
    buttons: Sequence[Button],
    *,
    key: str | None = None,
    reply_to: str | None = None,
) -> Receipt:
    """Post a message with rows of buttons below it."""
    shown = [_button(button) for button in buttons]
    rows = [
        {"type": _ACTION_ROW, "components": shown[start : start + _PER_ROW]}
        for start in range(0, len(shown), _PER_ROW)
    ]
    return post(rest, config, place, part, key=key, components=rows, reply_to=reply_to)


def answer_press(rest: Rest, config: DiscordConfig, press_ref: str, text: str) -> None:
    """Show words to whoever pressed, and to nobody else. Discord takes them for 15 minutes after the press."""
    application_id, _, token = press_ref.partition(":")
    if not token or not application_id.isascii() or not application_id.isdigit():
        return
    path = f"/webhooks/{application_id}/{quote(token, safe='')}"
    note = {"content": text[:MAX_NOTE], "flags": EPHEMERAL, "allowed_mentions": {"parse": []}}
    _unless(
        lambda: rest.call(config, "POST", path, note, is_authorized=False),
        UNKNOWN_WEBHOOK,
        INVALID_WEBHOOK_TOKEN,
        UNKNOWN_INTERACTION,
    )


def _button(button: Button) -> dict[str, Any]:
    made: dict[str, Any] = {"type": _BUTTON, "label": button.label}
    if button.url:
        return made | {"style": _LINK, "url": button.url}
    return made | {"style": _SECONDARY, "custom_id": button.value}


def _unless(make: Callable[[], object], *codes: int) -> None:
    """Make a call; a refusal that says it is so already, or too late, is none."""
    try:
        make()
    except PlatformRefused as error:
        if not is_refused_as(error, *codes):
            raise
