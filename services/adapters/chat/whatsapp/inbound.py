"""WhatsApp's webhook calls: verified by their signature, then read as messages, presses and reports. Pure.

Source: https://developers.facebook.com/docs/whatsapp/cloud-api/webhooks/payload-examples
"""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError

from services.adapters.chat.whatsapp.config import WhatsappConfig
from services.adapters.chat.whatsapp.failures import WINDOW_CLOSED, explain
from services.adapters.chat.whatsapp.payloads import MEDIA, Call, Contact, Message, Status, Value
from services.adapters.chat.whatsapp.places import MAX_CHAT_ID, group_place
from services.adapters.chat.wire import read_object
from services.domain.errors import HookUnverified, MalformedBody
from services.domain.ports.chat import (
    ChatKind,
    HookReply,
    HookRequest,
    InboundFile,
    InboundMessage,
    InboundPress,
    InboundReport,
    Parsed,
    Place,
    ReportState,
    Sender,
)

SIGNATURE_HEADER = "x-hub-signature-256"
_OWN_FIELDS = ("smb_message_echoes", "message_echoes")
_GROUP_FIELDS = (
    "group_lifecycle_update",
    "group_participants_update",
    "group_settings_update",
    "group_status_update",
)
# Its name comes with events of its own, which nobody has to subscribe to.
_GROUP_TITLE = "WhatsApp group"
_STATES = {state.value: state for state in ReportState}


@dataclass(slots=True)
class _Read:
    """What one call brought; `reasons` are of all that is not kept."""

    messages: list[InboundMessage] = field(default_factory=list)
    presses: list[InboundPress] = field(default_factory=list)
    reports: list[InboundReport] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)


def verify(config: WhatsappConfig, request: HookRequest) -> None:
    """Check the signature over the raw body; of the call that sets the webhook, its token. Raises: HookUnverified."""
    if request.method == "GET":
        given, good = request.query.get("hub.verify_token", ""), config.hook_token
    else:
        secret = config.app_secret.get_secret_value().encode()
        good = f"sha256={hmac.new(secret, request.body, hashlib.sha256).hexdigest()}"
        given = request.headers.get(SIGNATURE_HEADER, "")
    if not hmac.compare_digest(given.encode("utf-8", "replace"), good.encode()):
        raise HookUnverified("The request's signature or token is missing or wrong.")


def parse(config: WhatsappConfig, request: HookRequest) -> Parsed:
    """Read one call, which may bring many messages. Raises: MalformedBody."""
    if request.method == "GET":
        return _challenged(request)
    raw = read_object(request.body)
    try:
        call = Call.model_validate(raw)
        read = _Read()
        for entry in call.entry:
            for change in entry.changes:
                _read_change(config, change.field, change.value, read)
    except ValidationError as error:
        raise MalformedBody("The body is not a call of WhatsApp's.") from error
    is_empty = not (read.messages or read.presses or read.reports)
    return Parsed(
        messages=tuple(read.messages),
        presses=tuple(read.presses),
        reports=tuple(read.reports),
        ignored=next(iter(read.reasons), "unknown_type") if is_empty else None,
    )


def _challenged(request: HookRequest) -> Parsed:
    if request.query.get("hub.mode") != "subscribe":
        return Parsed(ignored="unknown_type")
    challenge = request.query.get("hub.challenge", "")
    return Parsed(reply=HookReply(body=challenge.encode("utf-8", "replace")), ignored="url_verification")


def _read_change(config: WhatsappConfig, name: str, raw: dict[str, Any], read: _Read) -> None:
    if name != "messages":
        known = dict.fromkeys(_OWN_FIELDS, "own_message") | dict.fromkeys(_GROUP_FIELDS, "group_event")
        read.reasons.append(known.get(name, "unknown_type"))
        return
    value = Value.model_validate(raw)
    # One webhook may serve all numbers of an app; each is a link of its own.
    if value.metadata.phone_number_id != config.phone_number_id:
        read.reasons.append("other_number")
        return
    for given in value.messages:
        _read_message(config, value, Message.model_validate(given), given, read)
    for status in value.statuses:
        _read_status(config, status, read)


def _read_message(
    config: WhatsappConfig, value: Value, message: Message, raw: dict[str, Any], read: _Read
) -> None:
    sender = _read_sender(value.contacts, message)
    place = group_place(message.group_id) if message.group_id else Place(sender.platform_id)
    if len(place.chat_id) > MAX_CHAT_ID:
        read.reasons.append("chat_id_too_long")
    elif message.type == "reaction":
        read.reasons.append("reaction")
    elif message.type == "system":
        read.reasons.append("system_message")
    elif (pressed := message.pressed()) is not None:
        read.presses.append(
            InboundPress(
                dedupe_key=f"press:{message.id}",
                place=place,
                sender=sender,
                message_id=message.context.id if message.context else "",
                value=pressed,
                press_ref=message.id,
            )
        )
    else:
        text, is_named = _without_mention(config, value, message.words())
        is_answer = bool(message.context and value.metadata.is_number(message.context.sender))
        is_group = message.group_id is not None
        read.messages.append(
            InboundMessage(
                dedupe_key=message.id,
                place=place,
                chat_kind=ChatKind.GROUP if is_group else ChatKind.DIRECT,
                chat_title=_GROUP_TITLE if is_group else sender.display_name,
                sender=sender,
                text=text or (f"@{config.bot_name}" if is_named else "[empty message]"),
                is_mention=is_named or is_answer or not is_group,
                message_id=message.id,
                sent_at=_time(message.timestamp),
                files=_files(message),
                reply_to=message.context.id if message.context else "",
                raw=raw,
            )
        )


def _read_sender(contacts: list[Contact], message: Message) -> Sender:
    """Return who wrote, by the id that stays: a number may be missing, or change hands.

    Source: https://developers.facebook.com/documentation/business-messaging/whatsapp/business-scoped-user-ids
    """
    known = next(
        (
            contact
            for contact in contacts
            if (contact.user_id and contact.user_id == message.from_user_id)
            or (contact.wa_id and contact.wa_id == message.sender)
        ),
        Contact(),
    )
    person_id = message.from_user_id or known.user_id or message.sender
    if not person_id:
        raise MalformedBody("A message of WhatsApp's lacks its sender.")
    profile = known.profile
    name = (profile.name or profile.username) if profile else None
    return Sender(person_id, name or message.sender or person_id)


def _without_mention(config: WhatsappConfig, value: Value, text: str) -> tuple[str, bool]:
    """Take the number's mentions out of a text, where it stands by number or by name; say whether there were any."""
    names = [f"@{value.metadata.digits()}", f"@{config.bot_name}"]
    found = [name for name in names if len(name) > 1 and name in text]
    for name in found:
        text = text.replace(name, " ")
    return (re.sub(r"(?<=\S) {2,}(?=\S)", " ", text).strip() if found else text), bool(found)


def _files(message: Message) -> tuple[InboundFile, ...]:
    media = message.media()
    if media is None or not media.id:
        return ()
    content_type = (media.mime_type or "application/octet-stream").partition(";")[0].strip()
    return (
        InboundFile(
            ref=media.id,
            name=media.filename or f"{message.type}.{MEDIA[message.type]}",
            content_type=content_type,
            is_voice=bool(media.voice),
        ),
    )


def _read_status(config: WhatsappConfig, status: Status, read: _Read) -> None:
    state = _STATES.get(status.status)
    if state is None:
        read.reasons.append("unknown_status")
        return
    error = status.errors[0] if status.errors else None
    is_failed = state is ReportState.FAILED
    read.reports.append(
        InboundReport(
            message_id=status.id,
            state=state,
            reported_at=_time(status.timestamp),
            reason=explain(error.code if error else -1) if is_failed else "",
            may_open=bool(is_failed and error and error.code == WINDOW_CLOSED and config.template),
            key=status.biz_opaque_callback_data,
        )
    )


def _time(text: str) -> datetime:
    if not (text.isascii() and text.isdigit() and len(text) <= 11):
        raise MalformedBody("A time of WhatsApp's is not a time.")
    return datetime.fromtimestamp(int(text), UTC)
