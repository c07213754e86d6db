"""Answers that grow in a thread: Slack's streams, and the state of the agent's session beside them.

Source: https://docs.slack.dev/reference/methods/chat.startStream, …/chat.appendStream, …/chat.stopStream,
…/agents.sessions.setStatus
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from services.adapters.chat.slack.abilities import key_metadata
from services.adapters.chat.slack.client import call
from services.adapters.chat.slack.config import SlackConfig
from services.adapters.chat.slack.manifest import MANIFEST
from services.domain.errors import Permanent, PlatformRefused, Temporary
from services.domain.ports.chat import Place, Receipt
from services.domain.ports.chat_abilities import StreamLimits

# appendStream takes 100 calls a minute and more. A stream ends by itself after about five minutes.
LIMITS = StreamLimits(
    min_interval_s=1.0,
    max_age_s=240.0,
    max_text=MANIFEST.max_text,
    source="https://docs.slack.dev/reference/methods/chat.appendStream",
)
_ENDED = "message_not_in_streaming_state"
_DIRECT = "D"


def stream_limits(place: Place) -> StreamLimits | None:
    """Return the limits; Slack streams in threads only."""
    return LIMITS if place.thread_id else None


def open_stream(base_url: str, config: SlackConfig, place: Place, reply_to: str | None) -> str:
    """Begin a message that grows; in a channel Slack wants to know for whom it is."""
    recipient = (
        {} if place.chat_id.startswith(_DIRECT) else _find_recipient(base_url, config, place, reply_to)
    )
    _set_status(base_url, config, place, "processing")
    answer = call(
        base_url,
        config,
        lambda client: client.chat_startStream(channel=place.chat_id, thread_ts=_thread(place), **recipient),
    )
    return str(answer.get("ts", ""))


def show_stream(
    base_url: str, config: SlackConfig, place: Place, stream_ref: str, shown: str, text: str
) -> None:
    """Add what is new."""
    call(
        base_url,
        config,
        lambda client: client.chat_appendStream(
            channel=place.chat_id, ts=stream_ref, markdown_text=text[len(shown) :]
        ),
    )


def close_stream(
    base_url: str, config: SlackConfig, place: Place, stream_ref: str, part: str, key: str
) -> Receipt:
    """End the stream, which may have ended by itself, and put the true text in the place of what it showed."""
    try:
        call(
            base_url,
            config,
            lambda client: client.chat_stopStream(
                channel=place.chat_id, ts=stream_ref, metadata=key_metadata(key)
            ),
        )
    except PlatformRefused as error:
        if error.details.get("answer") != _ENDED:
            raise
    call(
        base_url,
        config,
        lambda client: client.chat_update(
            channel=place.chat_id, ts=stream_ref, text=part, blocks=[], metadata=key_metadata(key)
        ),
    )
    _set_status(base_url, config, place, "active")
    return Receipt(message_id=stream_ref)


def _find_recipient(base_url: str, config: SlackConfig, place: Place, reply_to: str | None) -> dict[str, Any]:
    """Return who wrote the message that is answered. Raises: PlatformRefused when that cannot be known."""
    asked = reply_to or _thread(place)
    answer = call(
        base_url,
        config,
        lambda client: client.conversations_replies(
            channel=place.chat_id, ts=_thread(place), oldest=asked, latest=asked, inclusive=True, limit=2
        ),
    )
    messages: Any = answer.get("messages") or []
    for message in messages:
        if message.get("ts") == asked and message.get("user") and message.get("team"):
            return {"recipient_user_id": message["user"], "recipient_team_id": message["team"]}
    raise PlatformRefused("Slack streams in channels only for somebody, and nobody is known here.")


def _set_status(base_url: str, config: SlackConfig, place: Place, status: str) -> None:
    """Say in the thread whether the agent works, which shows the stop button. Apps without sessions do without."""
    with suppress(Temporary, Permanent):
        call(
            base_url,
            config,
            lambda client: client.agents_sessions_setStatus(
                channel_id=place.chat_id, thread_ts=_thread(place), status=status
            ),
        )


def _thread(place: Place) -> str:
    if not place.thread_id:
        raise PlatformRefused("Slack streams in threads only.")
    return place.thread_id
