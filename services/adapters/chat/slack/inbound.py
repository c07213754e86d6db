"""Slack's event calls: verified by signature and time, then read as events. Pure."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError
from slack_sdk.signature import Clock, SignatureVerifier

from services.adapters.chat.slack import presses
from services.adapters.chat.slack.config import SlackConfig
from services.adapters.chat.slack.text import readable, without_mention
from services.adapters.chat.wire import read_object
from services.domain.errors import HookUnverified, MalformedBody
from services.domain.ports.chat import (
    ChatKind,
    HookReply,
    HookRequest,
    InboundMessage,
    Parsed,
    Place,
    Sender,
)

_KINDS = {
    "im": ChatKind.DIRECT,
    "mpim": ChatKind.GROUP,
    "group": ChatKind.CHANNEL,
    "channel": ChatKind.CHANNEL,
}
_IGNORED_SUBTYPES = {
    "bot_message": "bot_message",
    "message_changed": "edited_message",
    "message_deleted": "deleted_message",
}
_KEPT_SUBTYPES = (None, "file_share", "thread_broadcast")


class _Lenient(BaseModel):
    """A part of Slack's JSON: known fields have their types, unknown ones are left out."""

    model_config = ConfigDict(extra="ignore", strict=True, hide_input_in_errors=True)


class _File(_Lenient):
    name: str | None = None
    title: str | None = None


class _Profile(_Lenient):
    display_name: str = ""
    real_name: str = ""


class _Event(_Lenient):
    type: str = ""
    subtype: str | None = None
    bot_id: str | None = None
    app_id: str | None = None
    user: str | None = None
    user_profile: _Profile | None = None
    text: str | None = None
    ts: str = ""
    thread_ts: str | None = None
    channel: str = ""
    channel_type: str | None = None
    files: list[_File] | None = None


class _Authorization(_Lenient):
    user_id: str | None = None
    is_bot: bool = False


class _Call(_Lenient):
    type: str = ""
    challenge: str = ""
    team_id: str = ""
    api_app_id: str | None = None
    authorizations: list[_Authorization] | None = None


class _ReceivedAt(Clock):
    """Makes the verifier judge a call by the time at which it came."""

    def __init__(self, received_at: datetime) -> None:
        self._received_at = received_at

    def now(self) -> float:
        return self._received_at.timestamp()


def verify(config: SlackConfig, request: HookRequest) -> None:
    """Check the signature over the raw body, and that it is at most 300 s old. Raises: HookUnverified."""
    verifier = SignatureVerifier(config.signing_secret.get_secret_value(), _ReceivedAt(request.received_at))
    try:
        is_valid = verifier.is_valid(
            body=request.body,
            timestamp=request.headers.get("x-slack-request-timestamp"),
            signature=request.headers.get("x-slack-signature"),
        )
    # The verifier takes for granted that the time is a number, the body UTF-8 and the signature ASCII.
    except (ValueError, TypeError, OverflowError) as error:
        raise HookUnverified("The request's signature is malformed.") from error
    if not is_valid:
        raise HookUnverified("The request's signature or time is wrong.")


def parse(config: SlackConfig, request: HookRequest) -> Parsed:
    """Read one call of the Events API, or a press of a button. Raises: MalformedBody."""
    # Buttons come as forms with one field, slash commands as forms without it.
    if request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        return presses.parse(request.body)
    raw = read_object(request.body)
    try:
        call = _Call.model_validate(raw)
        if call.type == "url_verification":
            return Parsed(reply=HookReply(body=call.challenge.encode()), ignored="url_verification")
        if call.type != "event_callback":
            return Parsed(ignored="unknown_type")
        return _read_event(config, call, _Event.model_validate(raw.get("event")), raw)
    except ValidationError as error:
        raise MalformedBody("The body is not a Slack event.") from error


def _read_event(config: SlackConfig, call: _Call, event: _Event, raw: dict[str, Any]) -> Parsed:
    reason = _reason_to_ignore(config, call, event)
    if reason is not None:
        return Parsed(ignored=reason)
    text, is_named = without_mention(event.text or "", _own_ids(config, call))
    names = [f"[file: {file.name or file.title or 'unnamed'}]" for file in event.files or ()]
    text = " ".join([*names, readable(text)]).strip()
    if not text:
        return Parsed(ignored="no_text")
    kind = _chat_kind(event)
    return Parsed(
        messages=(
            InboundMessage(
                # A post that mentions the bot comes twice, as app_mention and as message, each with its own
                # event id.
                dedupe_key=f"{call.team_id}:{event.channel}:{event.ts}",
                place=Place(event.channel, _thread_id(kind, event)),
                chat_kind=kind,
                chat_title=event.channel,
                sender=Sender(event.user or "", _display_name(event)),
                text=text,
                is_mention=kind is ChatKind.DIRECT or is_named or event.type == "app_mention",
                message_id=event.ts,
                sent_at=_sent_at(event.ts),
                raw=raw,
            ),
        )
    )


def _reason_to_ignore(config: SlackConfig, call: _Call, event: _Event) -> str | None:
    if event.type not in ("message", "app_mention"):
        return "unknown_type"
    if event.subtype in _IGNORED_SUBTYPES:
        return _IGNORED_SUBTYPES[event.subtype]
    if event.user in _own_ids(config, call) or (event.app_id and event.app_id == call.api_app_id):
        return "own_message"
    if event.bot_id:
        return "bot_message"
    if event.subtype not in _KEPT_SUBTYPES:
        return "unknown_type"
    if not event.user or not event.channel or not event.ts:
        raise MalformedBody("A Slack message lacks its author, channel or time.")
    return None


def _own_ids(config: SlackConfig, call: _Call) -> set[str]:
    """Return the bot's user ids: the one learned at connecting, and those that the call names."""
    named = {item.user_id for item in call.authorizations or () if item.is_bot and item.user_id}
    return named | ({config.bot_id} if config.bot_id else set())


def _chat_kind(event: _Event) -> ChatKind:
    """Read the kind; app_mention events do not name it, but direct chats have ids that begin with D."""
    if event.channel_type in _KINDS:
        return _KINDS[event.channel_type]
    return ChatKind.DIRECT if event.channel.startswith("D") else ChatKind.CHANNEL


def _thread_id(kind: ChatKind, event: _Event) -> str | None:
    """Return the thread to answer in: in a channel each post opens one, in a direct chat none is opened."""
    if event.thread_ts:
        return event.thread_ts
    return event.ts if kind is ChatKind.CHANNEL else None


def _display_name(event: _Event) -> str:
    profile = event.user_profile or _Profile()
    return profile.display_name or profile.real_name or event.user or ""


def _sent_at(ts: str) -> datetime:
    if not re.fullmatch(r"[0-9]{1,11}\.[0-9]{1,6}", ts):
        raise MalformedBody("A Slack message's time is not a time.")
    return datetime.fromtimestamp(float(ts), UTC)
