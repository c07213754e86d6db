"""Activities of the Bot Framework: verified by their token, then read. Pure but for the issuer's keys.

Source: https://learn.microsoft.com/azure/bot-service/rest-api/bot-framework-rest-connector-api-reference
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from services.adapters.chat.adaptive_cards import read_value
from services.adapters.chat.bearer import IssuerKeys, check_bearer, read_bearer
from services.adapters.chat.teams.config import TeamsConfig
from services.adapters.chat.teams.places import read_place
from services.adapters.chat.teams.text import readable, without_mention
from services.adapters.chat.wire import read_object, short_key
from services.domain.errors import HookUnverified, MalformedBody
from services.domain.ports.chat import (
    ChangeKind,
    ChatKind,
    HookReply,
    HookRequest,
    InboundChange,
    InboundFile,
    InboundMessage,
    InboundPress,
    Parsed,
    Place,
    Sender,
)

ISSUER = "https://api.botframework.com"
CHANNEL = "msteams"
FILE_TYPE = "application/vnd.microsoft.teams.file.download.info"
_KINDS = {"personal": ChatKind.DIRECT, "groupChat": ChatKind.GROUP, "channel": ChatKind.CHANNEL}
_CHANGES = {
    ("messageUpdate", "editMessage"): ChangeKind.EDITED,
    ("messageUpdate", "undeleteMessage"): ChangeKind.EDITED,
    ("messageDelete", "softDeleteMessage"): ChangeKind.DELETED,
}
_SERVICE_EVENTS = (
    "conversationUpdate",
    "installationUpdate",
    "typing",
    "messageReaction",
    "endOfConversation",
)
_CARD_INVOKE = "adaptiveCard/action"
_BOT_PREFIX = "28:"


class _Lenient(BaseModel):
    """A part of an activity: known fields have their types, unknown ones are left out."""

    model_config = ConfigDict(extra="ignore", strict=True, hide_input_in_errors=True)


class _Account(_Lenient):
    id: str = Field(default="", max_length=200)
    name: str | None = None


class _Conversation(_Lenient):
    id: str = Field(default="", max_length=400)
    conversationType: str | None = None
    isGroup: bool | None = None
    name: str | None = None


class _Entity(_Lenient):
    type: str = ""
    text: str | None = None
    mentioned: _Account | None = None


class _Attachment(_Lenient):
    contentType: str = ""
    contentUrl: str | None = None
    name: str | None = None
    content: Any = None


class _Named(_Lenient):
    name: str | None = None


class _ChannelData(_Lenient):
    eventType: str | None = None
    channel: _Named | None = None
    team: _Named | None = None


class _Activity(_Lenient):
    type: str = ""
    id: str = Field(default="", max_length=120)
    name: str | None = None
    timestamp: str | None = None
    serviceUrl: str = ""
    sender: _Account = Field(default_factory=_Account, alias="from")
    recipient: _Account = Field(default_factory=_Account)
    conversation: _Conversation = Field(default_factory=_Conversation)
    text: str | None = None
    textFormat: str | None = None
    attachments: list[_Attachment] | None = None
    entities: list[_Entity] | None = None
    channelData: _ChannelData | None = None
    replyToId: str | None = Field(default=None, max_length=120)
    value: Any = None


def verify(config: TeamsConfig, request: HookRequest, keys: IssuerKeys) -> None:
    """Check the token, and that it is for the service URL that the activity names.

    The body is not signed: the token says only that the Bot Framework made the call, for this bot and that address.
    Raises: HookUnverified, PlatformAway while the keys cannot be had.
    """
    app_id = config.app_id
    claims = check_bearer(
        read_bearer(request),
        keys,
        issuers=(ISSUER,),
        audiences=(app_id, f"api://{app_id}", f"api://botid-{app_id}"),
        received_at=request.received_at,
        endorsed_for=CHANNEL,
    )
    try:
        named = read_object(request.body).get("serviceUrl")
    except MalformedBody as error:
        raise HookUnverified("The request names no service URL.") from error
    claimed = claims.get("serviceurl")
    if not isinstance(named, str) or not isinstance(claimed, str) or named.rstrip("/") != claimed.rstrip("/"):
        raise HookUnverified("The request's token is for another service URL.")


def parse(config: TeamsConfig, request: HookRequest, base_url: str) -> Parsed:
    """Read one activity. Raises: MalformedBody."""
    raw = read_object(request.body)
    try:
        activity = _Activity.model_validate(raw)
    except ValidationError as error:
        raise MalformedBody("The body is not an activity.") from error
    if activity.type in _SERVICE_EVENTS:
        return Parsed(ignored="service_event")
    event_type = activity.channelData.eventType if activity.channelData else None
    change = _CHANGES.get((activity.type, event_type or ""))
    if activity.type not in ("message", "invoke") and change is None:
        return Parsed(ignored="unknown_type")
    if activity.sender.id == config.own_id or activity.sender.id == activity.recipient.id:
        return Parsed(ignored="own_message")
    if not activity.id or not activity.sender.id:
        raise MalformedBody("An activity lacks its id or its author.")
    place = read_place(base_url, activity.serviceUrl, activity.conversation.id)
    if place is None:
        return Parsed(ignored="unknown_place")
    if activity.type == "invoke":
        return _read_invoke(activity, place)
    if change is not None:
        return _read_change(config, activity, place, change)
    return _read_message(config, activity, place, raw)


def _read_message(config: TeamsConfig, activity: _Activity, place: Place, raw: dict[str, Any]) -> Parsed:
    pressed = read_value(activity.value)
    if pressed is not None:
        return Parsed(presses=(_press(activity, place, pressed),))
    text, is_named = _words(config, activity)
    files = tuple(_files(activity))
    text = text or " ".join(f"[file: {file.name}]" for file in files)
    if not text:
        return Parsed(ignored="no_text")
    kind = _chat_kind(activity.conversation)
    return Parsed(
        messages=(
            InboundMessage(
                dedupe_key=short_key(activity.conversation.id, activity.id),
                place=_answered_place(kind, place, activity.id),
                chat_kind=kind,
                chat_title=_title(kind, activity),
                sender=_sender(activity),
                text=text,
                is_mention=kind is ChatKind.DIRECT or is_named,
                message_id=activity.id,
                sent_at=_time(activity.timestamp),
                files=files,
                reply_to=activity.replyToId or "",
                raw=raw,
            ),
        )
    )


def _read_change(config: TeamsConfig, activity: _Activity, place: Place, kind: ChangeKind) -> Parsed:
    changed_at = _time(activity.timestamp)
    text = "" if kind is ChangeKind.DELETED else _words(config, activity)[0]
    change = InboundChange(
        dedupe_key=short_key(activity.conversation.id, activity.id, kind, changed_at.isoformat()),
        place=_answered_place(_chat_kind(activity.conversation), place, activity.id),
        sender=_sender(activity),
        message_id=activity.id,
        kind=kind,
        text=text,
        changed_at=changed_at,
    )
    return Parsed(changes=(change,))


def _read_invoke(activity: _Activity, place: Place) -> Parsed:
    """Read a press of a button that executes; whoever invokes waits for an answer with a body."""
    value = activity.value if isinstance(activity.value, dict) else {}
    action = value.get("action")
    pressed = read_value(action.get("data")) if isinstance(action, dict) else None
    if activity.name != _CARD_INVOKE or pressed is None:
        return Parsed(ignored="unknown_type", reply=HookReply(status=501))
    told = {"statusCode": 200, "type": "application/vnd.microsoft.activity.message", "value": "…"}
    reply = HookReply(content_type="application/json", body=json.dumps(told).encode())
    return Parsed(presses=(_press(activity, place, pressed),), reply=reply)


def _press(activity: _Activity, place: Place, value: str) -> InboundPress:
    return InboundPress(
        dedupe_key=short_key("press", activity.conversation.id, activity.id),
        place=place,
        sender=_sender(activity),
        message_id=activity.replyToId or "",
        value=value,
        press_ref=activity.id,
    )


def _words(config: TeamsConfig, activity: _Activity) -> tuple[str, bool]:
    """Return the text as people see it, without the bot's name, and whether that was in it."""
    own_ids = {config.own_id, activity.recipient.id}
    names = [
        entity.text
        for entity in activity.entities or ()
        if entity.type == "mention" and entity.text and entity.mentioned and entity.mentioned.id in own_ids
    ]
    text, is_named = without_mention(activity.text or "", names)
    return readable(text, is_markup=activity.textFormat == "xml"), is_named


def _files(activity: _Activity) -> list[InboundFile]:
    """List the files: those that people attach, and pictures that they paste."""
    found = []
    for attachment in activity.attachments or ():
        content = attachment.content if isinstance(attachment.content, dict) else {}
        address = content.get("downloadUrl") if attachment.contentType == FILE_TYPE else attachment.contentUrl
        is_file = attachment.contentType == FILE_TYPE or attachment.contentType.startswith("image/")
        if is_file and isinstance(address, str) and address.startswith(("https://", "http://")):
            claimed = (
                "application/octet-stream" if attachment.contentType == FILE_TYPE else attachment.contentType
            )
            found.append(InboundFile(ref=address, name=attachment.name or "unnamed", content_type=claimed))
    return found


def _answered_place(kind: ChatKind, place: Place, activity_id: str) -> Place:
    """Return where to answer: in a channel each post opens a thread."""
    if kind is ChatKind.CHANNEL and place.thread_id is None:
        return Place(place.chat_id, activity_id)
    return place


def _chat_kind(conversation: _Conversation) -> ChatKind:
    known = _KINDS.get(conversation.conversationType or "")
    return known or (ChatKind.GROUP if conversation.isGroup else ChatKind.DIRECT)


def _title(kind: ChatKind, activity: _Activity) -> str:
    if kind is ChatKind.DIRECT:
        return _sender(activity).display_name
    where = activity.channelData or _ChannelData()
    named = [part.name for part in (where.team, where.channel) if part and part.name]
    return " / ".join(named) or activity.conversation.name or kind


def _sender(activity: _Activity) -> Sender:
    sender = activity.sender
    return Sender(sender.id, sender.name or sender.id, is_bot=sender.id.startswith(_BOT_PREFIX))


def _time(text: str | None) -> datetime:
    try:
        moment = datetime.fromisoformat(text or "")
    except ValueError as error:
        raise MalformedBody("An activity's time is not a time.") from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
