"""Sending to Google Chat, under a key of ours, and changing what was sent.

Source: https://developers.google.com/workspace/chat/api/reference/rest/v1/spaces.messages/create
"""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import Sequence
from typing import Any

from services.adapters.chat.googlechat.client import GoogleChatClient
from services.adapters.chat.googlechat.config import GoogleChatConfig
from services.adapters.chat.googlechat.inbound import VALUE
from services.domain.errors import PlatformRefused
from services.domain.ports.chat import Place, Receipt
from services.domain.ports.chat_abilities import Button, ButtonLimits

# 60 writes a minute are shared by all apps of a space. Source: https://developers.google.com/workspace/chat/limits
EDIT_INTERVAL_S = 3.0
# Google names no bound for buttons; these leave a card well within what a message may have beside its text.
BUTTON_LIMITS = ButtonLimits(
    buttons=20,
    label_chars=60,
    value_bytes=128,
    source="https://developers.google.com/workspace/chat/api/reference/rest/v1/cards#button",
)
FUNCTION = "slipway"
_SPACE = re.compile(r"spaces/[A-Za-z0-9_-]+")
_MESSAGE = re.compile(r"spaces/[A-Za-z0-9_-]+/messages/[A-Za-z0-9._-]+")
_PERSON = re.compile(r"users/[A-Za-z0-9_-]+")
_GONE = "NOT_FOUND"
PERSON_HINT = "the person's e-mail address, or users/ and their number"
NOT_MET = "This person has not written to the app yet, and no admin has installed it for them. Only then can it write."


def find_direct(client: GoogleChatClient, config: GoogleChatConfig, person_id: str) -> Place:
    """Return the space of a person and the app. An app by itself can find one and cannot make one.

    Source: https://developers.google.com/workspace/chat/api/reference/rest/v1/spaces/findDirectMessage, and
    …/spaces/setup, which needs a person's authorization.
    """
    name = person_id if person_id.startswith("users/") else f"users/{person_id}"
    try:
        space = client.call(config, "GET", "spaces:findDirectMessage", params={"name": name})
    except PlatformRefused as error:
        if _answer(error) == _GONE:
            raise PlatformRefused(NOT_MET, answer=_GONE) from error
        raise
    return Place(str(space.get("name", "")))


def post(
    client: GoogleChatClient,
    config: GoogleChatConfig,
    place: Place,
    part: str,
    *,
    key: str | None = None,
    buttons: Sequence[Button] = (),
) -> Receipt:
    """Post one part, in its thread if there is one; the same key again is the same message."""
    space = _space(place)
    params = {"requestId": _request_id(key) if key else str(uuid.uuid4())}
    if key:
        params["messageId"] = _message_id(key)
    body: dict[str, Any] = {"text": part}
    if place.thread_id:
        body["thread"] = {"name": place.thread_id}
        params["messageReplyOption"] = "REPLY_MESSAGE_FALLBACK_TO_NEW_THREAD"
    if buttons:
        body["cardsV2"] = [_card(config, buttons)]
    try:
        made = client.call(config, "POST", f"{space}/messages", params=params, body=body)
    except PlatformRefused as error:
        found = find(client, config, place, key) if key and _answer(error) == "ALREADY_EXISTS" else None
        if found is None:
            raise
        return found
    return Receipt(message_id=str(made.get("name", "")))


def tell_privately(
    client: GoogleChatClient, config: GoogleChatConfig, place: Place, person_id: str, part: str
) -> None:
    """Post a text that one person alone sees. Somebody who is gone needs no answer."""
    if not _PERSON.fullmatch(person_id):
        return
    body: dict[str, Any] = {"text": part, "privateMessageViewer": {"name": person_id}}
    if place.thread_id:
        body["thread"] = {"name": place.thread_id}
    params = {"messageReplyOption": "REPLY_MESSAGE_FALLBACK_TO_NEW_THREAD"} if place.thread_id else None
    client.call(config, "POST", f"{_space(place)}/messages", params=params, body=body)


def find(client: GoogleChatClient, config: GoogleChatConfig, place: Place, key: str) -> Receipt | None:
    """Look for the message under a key."""
    try:
        found = client.call(config, "GET", f"{_space(place)}/messages/{_message_id(key)}")
    except PlatformRefused:
        return None
    return Receipt(message_id=str(found.get("name", "")))


def edit(client: GoogleChatClient, config: GoogleChatConfig, message_id: str, part: str) -> None:
    """Replace a message's text; its cards go away."""
    body = {"text": part, "cardsV2": []}
    client.call(config, "PATCH", _message(message_id), params={"updateMask": "text,cardsV2"}, body=body)


def delete(client: GoogleChatClient, config: GoogleChatConfig, message_id: str) -> None:
    """Delete a message; one that is gone is as good."""
    try:
        client.call(config, "DELETE", _message(message_id))
    except PlatformRefused as error:
        if _answer(error) != _GONE:
            raise


def _card(config: GoogleChatConfig, buttons: Sequence[Button]) -> dict[str, Any]:
    shown = [_button(config, button) for button in buttons]
    return {
        "cardId": FUNCTION,
        "card": {"sections": [{"widgets": [{"buttonList": {"buttons": shown}}]}]},
    }


def _button(config: GoogleChatConfig, button: Button) -> dict[str, Any]:
    if button.url:
        return {"text": button.label, "onClick": {"openLink": {"url": button.url}}}
    action = {
        # An add-on is called at the address that its button names; a plain app takes any name.
        "function": config.endpoint_url or FUNCTION,
        "parameters": [{"key": VALUE, "value": button.value}],
    }
    return {"text": button.label, "onClick": {"action": action}}


def _space(place: Place) -> str:
    if not _SPACE.fullmatch(place.chat_id):
        raise PlatformRefused("This is no space of Google Chat.")
    return place.chat_id


def _message(message_id: str) -> str:
    if not _MESSAGE.fullmatch(message_id):
        raise PlatformRefused("This is no message of Google Chat.")
    return message_id


def _message_id(key: str) -> str:
    """Return a key as an id that an app may give: `client-` and at most 56 of a-z, 0-9 and `-`."""
    return f"client-{hashlib.sha256(key.encode()).hexdigest()[:48]}"


def _request_id(key: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_OID, key))


def _answer(error: PlatformRefused) -> object:
    return error.details.get("answer")
