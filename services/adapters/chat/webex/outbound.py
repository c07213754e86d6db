"""Sending to Webex, and changing what was sent.

Source: https://developer.webex.com/docs/api/v1/messages
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from urllib.parse import quote

from services.adapters.chat.adaptive_cards import card_attachment
from services.adapters.chat.webex.client import WebexClient
from services.adapters.chat.webex.config import WebexConfig
from services.domain.errors import PlatformRefused
from services.domain.ports.chat import Place, Receipt
from services.domain.ports.chat_abilities import Button, ButtonLimits, OutgoingFile

# Webex takes 100 MB; what we hold in memory is less.
MAX_FILE_BYTES = 50_000_000
MAX_CAPTION = 7_000
LOOK_BACK = 50
CARD_VERSION = "1.3"
# Webex names no bound for actions; more than these are hard to press on a telephone.
BUTTON_LIMITS = ButtonLimits(
    buttons=10,
    label_chars=60,
    value_bytes=1_000,
    source="https://developer.webex.com/docs/buttons-and-cards",
)


def post(
    client: WebexClient,
    config: WebexConfig,
    place: Place,
    part: str,
    *,
    buttons: Sequence[Button] = (),
) -> Receipt:
    """Post one part, in its thread if there is one. With a card Webex shows only that, so the text is in it too."""
    body: dict[str, Any] = _target(place) | {"markdown": part}
    if buttons:
        body["attachments"] = [card_attachment(buttons, version=CARD_VERSION, text=part)]
    return _receipt(client.call(config, "POST", "messages", json=body))


def list_sent(
    client: WebexClient, config: WebexConfig, place: Place, part: str, since: datetime
) -> list[str] | None:
    """List our messages that say just this; None in groups, where a bot is shown those only that mention it.

    Source: https://developer.webex.com/docs/api/v1/messages/list-messages
    """
    asked = {"roomId": place.chat_id, "max": str(LOOK_BACK)}
    try:
        found = client.get(
            config, "messages", asked | ({"parentId": place.thread_id} if place.thread_id else {})
        )
    except PlatformRefused:
        return None
    return [
        str(message["id"])
        for message in reversed(found.get("items") or [])
        if message.get("personId") == config.bot_id
        and message.get("markdown") == part
        and datetime.fromisoformat(str(message["created"])) >= since
    ]


def send_file(
    client: WebexClient, config: WebexConfig, place: Place, file: OutgoingFile, caption: str
) -> Receipt:
    """Upload a file with its caption."""
    fields = _target(place) | ({"markdown": caption} if caption else {})
    upload = {"files": (file.name, file.data, file.content_type)}
    return _receipt(client.call(config, "POST", "messages", data=fields, files=upload))


def edit(client: WebexClient, config: WebexConfig, place: Place, message_id: str, part: str) -> None:
    """Replace a message's text. One with a card or a file cannot be edited: it goes, and the text is sent anew."""
    path = _path(message_id)
    try:
        client.call(config, "PUT", path, json={"roomId": place.chat_id, "markdown": part})
    except PlatformRefused as error:
        if error.details.get("answer") != "400" or not _has_attachment(client.get(config, path)):
            raise
        client.call(config, "DELETE", path)
        post(client, config, place, part)


def delete(client: WebexClient, config: WebexConfig, message_id: str) -> None:
    """Delete a message; one that is gone is as good."""
    try:
        client.call(config, "DELETE", _path(message_id))
    except PlatformRefused as error:
        if error.details.get("answer") != "404":
            raise


def _target(place: Place) -> dict[str, Any]:
    return {"roomId": place.chat_id} | ({"parentId": place.thread_id} if place.thread_id else {})


def _path(message_id: str) -> str:
    return f"messages/{quote(message_id, safe='')}"


def _has_attachment(message: dict[str, Any]) -> bool:
    return bool(message.get("attachments") or message.get("files"))


def _receipt(answer: dict[str, Any]) -> Receipt:
    return Receipt(message_id=str(answer.get("id", "")))
