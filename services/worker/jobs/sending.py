"""Doing one delivery on its platform: sending a text, a card or a file, or changing what was sent."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from services.domain.chats.drawers import configured
from services.domain.chats.models import SENDS, DeliveryKind
from services.domain.chats.outbound import PartDue, find_unrecorded
from services.domain.chats.reports import OPENS_CHAT
from services.domain.chats.shows import Segment
from services.domain.errors import ObjectMissing, PlatformRefused
from services.domain.ports.chat import ChatAdapter
from services.domain.ports.chat_abilities import (
    Button,
    Deletes,
    Edits,
    FindsSent,
    FindsSentCards,
    HasButtons,
    LooksBack,
    OutgoingFile,
    ReachesClosedChats,
    Reacts,
    ReportsKeys,
    SendsFiles,
    SendsOnce,
    ShowsStored,
    Streams,
)
from services.kit.emoji import bare
from services.worker.jobs.volumes import storage


@dataclass(frozen=True, slots=True)
class Done:
    """What was done: the platform's id of the message that was made or changed.

    `is_found` says that an earlier attempt had made it; `note` what is to be known about a repeat.
    """

    message_id: str
    is_found: bool = False
    note: str = ""


REPLACED = "Took the place of what was shown while it was written."
LOST = "What was shown while it was written could not be replaced."
LOOKED = "Looked first: the attempt before had sent nothing."
SAME_KEY = "Sent under the key of the attempt before: the platform makes one message of both."
NOT_REPORTED = "The platform, which reports what it takes, had reported nothing of the attempt before."
NOT_ASKED = (
    "This platform cannot be asked whether an attempt before this one arrived, so it may be there twice."
)
# How far a platform's clock may be behind ours.
_SKEW = timedelta(seconds=5)


def perform(adapter: ChatAdapter, org_id: uuid.UUID, part: PartDue) -> Done:
    """Do a delivery. Raises: PlatformThrottled, PlatformAway, PlatformRefused."""
    config = configured(adapter, part.config, org_id, part.link_id)
    if "replaces" in part.payload:
        return _replace(adapter, config, part, Segment.from_json(part.payload["replaces"]))
    if part.what in SENDS and part.is_after_unknown:
        return _send_again(adapter, config, part)
    return Done(_send_or_change(adapter, config, part))


def _replace(adapter: ChatAdapter, config: Any, part: PartDue, shown: Segment) -> Done:
    """Put a part in place of what was shown while it was written; where that is gone, send it."""
    ref = shown.ref
    if not ref and isinstance(adapter, FindsSent):
        found = adapter.find_sent(config, part.place, shown.key)
        ref = found.message_id if found is not None else ""
    try:
        if ref and shown.is_stream and isinstance(adapter, Streams):
            receipt = adapter.close_stream(config, part.place, ref, "", part.text, part.key)
            return Done(receipt.message_id, note=REPLACED)
        if ref and not shown.is_stream and isinstance(adapter, Edits):
            adapter.edit(config, part.place, ref, part.text)
            return Done(ref, note=REPLACED)
    except PlatformRefused as error:
        lost = f"{LOST} {error.message}"
    else:
        lost = LOST if not ref else ""
    if part.is_after_unknown:
        return _send_again(adapter, config, part)
    return Done(_send_or_change(adapter, config, part), note=lost)


def _send_again(adapter: ChatAdapter, config: Any, part: PartDue) -> Done:
    """Send what an attempt before this one may have sent without living to record it: look first where one can."""
    if isinstance(adapter, SendsOnce) and part.what != DeliveryKind.FILE:
        return Done(_send_or_change(adapter, config, part), note=SAME_KEY)
    if isinstance(adapter, ReportsKeys) and part.what != DeliveryKind.FILE:
        return Done(_send_or_change(adapter, config, part), note=NOT_REPORTED)
    if isinstance(adapter, LooksBack) and part.what != DeliveryKind.FILE and part.unknown_since is not None:
        alike = adapter.list_sent(config, part.place, part.text, part.unknown_since - _SKEW)
        found_id = find_unrecorded(part, alike or [])
        if found_id:
            return Done(found_id, is_found=True)
        return Done(_send_or_change(adapter, config, part), note=NOT_ASKED if alike is None else LOOKED)
    keeps_key = FindsSentCards if part.what == DeliveryKind.CARD else FindsSent
    if not isinstance(adapter, keeps_key) or part.what == DeliveryKind.FILE:
        return Done(_send_or_change(adapter, config, part), note=NOT_ASKED)
    found = adapter.find_sent(config, part.place, part.key)
    if found is not None:
        return Done(found.message_id, is_found=True)
    return Done(_send_or_change(adapter, config, part), note=LOOKED)


def _send_or_change(adapter: ChatAdapter, config: Any, part: PartDue) -> str:
    if OPENS_CHAT in part.payload and isinstance(adapter, ReachesClosedChats):
        return adapter.send_opening(config, part.place, part.text).message_id
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
    if isinstance(adapter, SendsOnce):
        receipt = adapter.send_once(config, part.place, part.text, part.key, reply_to=part.reply_to)
        return receipt.message_id
    if isinstance(adapter, ReportsKeys):
        receipt = adapter.send_reported(config, part.place, part.text, part.key, reply_to=part.reply_to)
        return receipt.message_id
    if isinstance(adapter, FindsSent):
        return adapter.send_with_key(config, part.place, part.text, part.key).message_id
    return adapter.send(config, part.place, part.text, reply_to=part.reply_to).message_id


def _send_card(adapter: ChatAdapter, config: Any, part: PartDue) -> str:
    if not isinstance(adapter, HasButtons):
        return _send_text(adapter, config, part)
    buttons = [Button(**button) for button in part.payload.get("buttons", [])]
    if isinstance(adapter, SendsOnce):
        return adapter.send_once(
            config, part.place, part.text, part.key, buttons, reply_to=part.reply_to
        ).message_id
    if isinstance(adapter, ReportsKeys):
        return adapter.send_reported(
            config, part.place, part.text, part.key, buttons, reply_to=part.reply_to
        ).message_id
    if isinstance(adapter, FindsSentCards):
        return adapter.send_card_with_key(config, part.place, part.text, buttons, part.key).message_id
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


def forget_file(adapter: ChatAdapter, part: PartDue) -> None:
    """Remove the kept bytes of a file that has arrived, except where people get it from us."""
    if part.what == DeliveryKind.FILE and not isinstance(adapter, ShowsStored):
        storage().delete(part.payload["key"])
