"""Doing one delivery on its platform: sending a text, a card or a file, or changing what was sent."""

from __future__ import annotations

from typing import Any

from services.adapters.chat.emoji import bare
from services.domain.chats.models import DeliveryKind
from services.domain.chats.outbound import PartDue
from services.domain.errors import ObjectMissing, PlatformRefused
from services.domain.ports.chat import ChatAdapter
from services.domain.ports.chat_abilities import (
    Button,
    Deletes,
    Edits,
    FindsSent,
    FindsSentCards,
    HasButtons,
    OutgoingFile,
    Reacts,
    SendsFiles,
)
from services.worker.jobs.volumes import storage


def perform(adapter: ChatAdapter, part: PartDue) -> str:
    """Do a delivery, and return the platform's id of the message it made or changed.

    Raises: PlatformThrottled, PlatformAway, PlatformRefused.
    """
    config = adapter.config_model.model_validate(part.config)
    match part.what:
        case DeliveryKind.TEXT:
            return _send_text(adapter, config, part)
        case DeliveryKind.CARD:
            return _send_card(adapter, config, part)
        case DeliveryKind.FILE:
            return _send_file(adapter, config, part)
        case DeliveryKind.EDIT if isinstance(adapter, Edits):
            adapter.edit(config, part.place, part.target_message_id, part.text)
        case DeliveryKind.DELETE if isinstance(adapter, Deletes):
            adapter.delete(config, part.place, part.target_message_id)
        case DeliveryKind.REACT if isinstance(adapter, Reacts):
            emoji = adapter.find_emoji(str(part.payload["emoji"])) or bare(str(part.payload["emoji"]))
            adapter.react(config, part.place, part.target_message_id, emoji)
        case _:
            raise PlatformRefused("This platform cannot do this.")
    return part.target_message_id


def _send_text(adapter: ChatAdapter, config: Any, part: PartDue) -> str:
    if isinstance(adapter, FindsSent):
        earlier = _find_earlier(adapter, config, part)
        return earlier or adapter.send_with_key(config, part.place, part.text, part.key).message_id
    return adapter.send(config, part.place, part.text, reply_to=part.reply_to).message_id


def _send_card(adapter: ChatAdapter, config: Any, part: PartDue) -> str:
    if not isinstance(adapter, HasButtons):
        return _send_text(adapter, config, part)
    buttons = [Button(**button) for button in part.payload.get("buttons", [])]
    if isinstance(adapter, FindsSentCards):
        earlier = _find_earlier(adapter, config, part)
        return (
            earlier or adapter.send_card_with_key(config, part.place, part.text, buttons, part.key).message_id
        )
    return adapter.send_card(config, part.place, part.text, buttons, reply_to=part.reply_to).message_id


def _send_file(adapter: ChatAdapter, config: Any, part: PartDue) -> str:
    if not isinstance(adapter, SendsFiles):
        raise PlatformRefused("This platform takes no files.")
    try:
        with storage().open(part.payload["key"]) as stream:
            data = stream.read()
    except ObjectMissing as error:
        raise PlatformRefused("The file is not kept any more.") from error
    file = OutgoingFile(part.payload["name"], part.payload["content_type"], data)
    receipt = adapter.send_file(config, part.place, file, part.text, reply_to=part.reply_to)
    return receipt.message_id


def forget_file(part: PartDue) -> None:
    """Remove the kept bytes of a file that has arrived."""
    if part.what == DeliveryKind.FILE:
        storage().delete(part.payload["key"])


def _find_earlier(adapter: FindsSent, config: Any, part: PartDue) -> str:
    """Return the id of what an attempt before this one may have sent without living to record it, or an empty text."""
    if part.attempts <= 1:
        return ""
    found = adapter.find_sent(config, part.place, part.key)
    return found.message_id if found else ""
