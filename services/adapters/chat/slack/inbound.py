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
    ChangeKind,
    ChatKind,
    HookReply,
    HookRequest,
    InboundChange,
    InboundFile,
    InboundMessage,
    InboundStop,
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
_KEPT_SUBTYPES = (None, "file_share", "thread_broadcast", "bot_message")
# What is left of a deleted message that has replies.
_TOMBSTONE = "tombstone"


class _Lenient(BaseModel):
    """A part of Slack's JSON: known fields have their types, unknown ones are left out."""

    model_config = ConfigDict(extra="ignore", strict=True, hide_input_in_errors=True)


class _File(_Lenient):
    id: str | None = None
    name: str | None = None
    title: str | None = None
    mimetype: str | None = None
    size: int | None = None
    subtype: str | None = None


class _Profile(_Lenient):
    display_name: str = ""
    real_name: str = ""


class _BotProfile(_Lenient):
    name: str = ""


class _Post(_Lenient):
    """A message, as an event of its own or within one that says that it changed."""

    subtype: str | None = None
    bot_id: str | None = None
    bot_profile: _BotProfile | None = None
    app_id: str | None = None
    user: str | None = None
    user_profile: _Profile | None = None
    username: str | None = None
    text: str | None = None
    ts: str = ""
    thread_ts: str | None = None
    files: list[_File] | None = None


class _Event(_Post):
    type: str = ""
    channel: str = ""
    channel_type: str | None = None
    message: _Post | None = None
    previous_message: _Post | None = None
    deleted_ts: str | None = None


class _Authorization(_Lenient):
    user_id: str | None = None
    is_bot: bool = False


class _Call(_Lenient):
    type: str = ""
    challenge: str = ""
    team_id: str = ""
    api_app_id: str | None = None
    event_id: str = ""
    authorizations: list[_Authorization] | None = None


class _ReceivedAt(Clock):
    """Makes the verifier judge a call by the time at which it came."""

    def __init__(self, received_at: datetime) -> None:
        self._received_at = received_at

    def now(self) -> float:
        return self._received_at.timestamp()


def verify(config: SlackConfig, request: HookRequest) -> None:
    """Check the signature over the raw body, and that it is at most 300 s old. Raises: HookUnverified."""
    if config.signing_secret is None:
        raise HookUnverified("The link has no signing secret: its app is in Socket Mode.")
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
    return parse_call(config, read_object(request.body))


def parse_call(config: SlackConfig, raw: dict[str, Any]) -> Parsed:
    """Read the JSON of one call of the Events API. Raises: MalformedBody."""
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
    if event.type == "agent_session_stopped":
        return _read_stop(call, event)
    if event.type not in ("message", "app_mention"):
        return Parsed(ignored="unknown_type")
    if event.subtype == "message_changed":
        return _read_edit(config, call, event)
    if event.subtype == "message_deleted":
        return _read_deletion(config, call, event, event.previous_message or _Post(), event.deleted_ts)
    return _read_message(config, call, event, raw)


def _read_message(config: SlackConfig, call: _Call, event: _Event, raw: dict[str, Any]) -> Parsed:
    if _is_own(config, call, event):
        return Parsed(ignored="own_message")
    if event.subtype not in _KEPT_SUBTYPES:
        return Parsed(ignored="unknown_type")
    sender = _sender(event)
    if not sender.platform_id or not event.channel or not event.ts:
        raise MalformedBody("A Slack message lacks its author, channel or time.")
    text, is_named = _text_of(config, call, event)
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
                sender=sender,
                text=text,
                is_mention=kind is ChatKind.DIRECT or is_named or event.type == "app_mention",
                message_id=event.ts,
                sent_at=_sent_at(event.ts),
                files=tuple(_file(file) for file in event.files or () if file.id),
                raw=raw,
            ),
        )
    )


def _file(file: _File) -> InboundFile:
    """Read a file of a message. Its address is asked for by its id: events of shared channels have none."""
    return InboundFile(
        ref=file.id or "",
        name=file.name or file.title or "file",
        content_type=file.mimetype or "application/octet-stream",
        size=file.size,
        is_voice=file.subtype == "slack_audio",
    )


def _read_edit(config: SlackConfig, call: _Call, event: _Event) -> Parsed:
    """Read a message as it is now. Slack also sends these when a preview is added, with the text that it had."""
    post = event.message or _Post()
    if post.subtype == _TOMBSTONE:
        return _read_deletion(config, call, event, event.previous_message or post, post.ts)
    if _is_own(config, call, post):
        return Parsed(ignored="own_message")
    text, _ = _text_of(config, call, post)
    return _changed(call, event, post, ChangeKind.EDITED, post.ts, text)


def _read_deletion(
    config: SlackConfig, call: _Call, event: _Event, gone: _Post, deleted_ts: str | None
) -> Parsed:
    if _is_own(config, call, gone):
        return Parsed(ignored="own_message")
    return _changed(call, event, gone, ChangeKind.DELETED, deleted_ts or "", "")


def _changed(call: _Call, event: _Event, post: _Post, kind: ChangeKind, ts: str, text: str) -> Parsed:
    if not event.channel or not event.ts or not ts:
        raise MalformedBody("A Slack message's change lacks its channel or time.")
    change = InboundChange(
        dedupe_key=f"change:{call.team_id}:{event.channel}:{event.ts}",
        place=Place(event.channel, _thread_id(_chat_kind(event), post)),
        sender=_sender(post),
        message_id=ts,
        kind=kind,
        text=text,
        changed_at=_sent_at(event.ts),
    )
    return Parsed(changes=(change,))


def _read_stop(call: _Call, event: _Event) -> Parsed:
    """Read the press of the stop button of an agent's session.

    Source: https://docs.slack.dev/reference/events/agent_session_stopped
    """
    if not event.channel or not event.user or not call.event_id:
        raise MalformedBody("A Slack stop lacks its channel, person or id.")
    stop = InboundStop(
        dedupe_key=f"stop:{call.event_id}",
        place=Place(event.channel, event.thread_ts),
        sender=Sender(event.user, _display_name(event)),
    )
    return Parsed(stops=(stop,))


def _text_of(config: SlackConfig, call: _Call, post: _Post) -> tuple[str, bool]:
    """Return a message's text with the names of its files, and whether the bot is mentioned in it."""
    text, is_named = without_mention(post.text or "", _own_ids(config, call))
    names = [f"[file: {file.name or file.title or 'unnamed'}]" for file in post.files or ()]
    return " ".join([*names, readable(text)]).strip(), is_named


def _is_own(config: SlackConfig, call: _Call, post: _Post) -> bool:
    return post.user in _own_ids(config, call) or bool(post.app_id and post.app_id == call.api_app_id)


def _sender(post: _Post) -> Sender:
    """Say who wrote it; what apps post carries their bot's id, and not always a user's."""
    if not post.bot_id:
        return Sender(post.user or "", _display_name(post))
    name = post.username or (post.bot_profile or _BotProfile()).name or post.bot_id
    return Sender(post.user or post.bot_id, name, is_bot=True)


def _own_ids(config: SlackConfig, call: _Call) -> set[str]:
    """Return the bot's user ids: the one learned at connecting, and those that the call names."""
    named = {item.user_id for item in call.authorizations or () if item.is_bot and item.user_id}
    return named | ({config.bot_id} if config.bot_id else set())


def _chat_kind(event: _Event) -> ChatKind:
    """Read the kind; app_mention events do not name it, but direct chats have ids that begin with D."""
    if event.channel_type in _KINDS:
        return _KINDS[event.channel_type]
    return ChatKind.DIRECT if event.channel.startswith("D") else ChatKind.CHANNEL


def _thread_id(kind: ChatKind, post: _Post) -> str | None:
    """Return the thread to answer in: in a channel each post opens one, in a direct chat none is opened."""
    if post.thread_ts:
        return post.thread_ts
    return post.ts if kind is ChatKind.CHANNEL else None


def _display_name(post: _Post) -> str:
    profile = post.user_profile or _Profile()
    return profile.display_name or profile.real_name or post.user or ""


def _sent_at(ts: str) -> datetime:
    if not re.fullmatch(r"[0-9]{1,11}\.[0-9]{1,6}", ts):
        raise MalformedBody("A Slack message's time is not a time.")
    return datetime.fromtimestamp(float(ts), UTC)
