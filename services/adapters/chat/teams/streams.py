"""Showing an answer in Teams while it is written, in chats with one person.

Source: https://learn.microsoft.com/microsoftteams/platform/bots/streaming-ux
"""

from __future__ import annotations

from typing import Any

from services.adapters.chat.teams import outbound
from services.adapters.chat.teams.client import TeamsClient
from services.adapters.chat.teams.config import TeamsConfig
from services.adapters.chat.teams.manifest import MANIFEST
from services.adapters.chat.teams.places import conversation_url
from services.adapters.chat.teams.render import utf16_units
from services.domain.errors import PlatformRefused, ShownAnswerStopped
from services.domain.ports.chat import ChatKind, Place, Receipt
from services.domain.ports.chat_abilities import StreamLimits

# One call a second is taken, and it ends two minutes after it began.
LIMITS = StreamLimits(
    min_interval_s=1.5,
    max_age_s=110.0,
    max_text=MANIFEST.max_text,
    source="https://learn.microsoft.com/microsoftteams/platform/bots/streaming-ux",
)
OPENING = "…"
# The connector has one code for all ends of a stream; this is how it words that of the stop button.
_STOPPED = "canceled by user"


def stream_limits(chat_kind: ChatKind) -> StreamLimits | None:
    """Return how a chat with one person takes it; groups and channels do not."""
    return LIMITS if chat_kind is ChatKind.DIRECT else None


def open_stream(client: TeamsClient, config: TeamsConfig, place: Place) -> str:
    """Begin with a word in place of the answer; returns the stream's id."""
    info = {"type": "streaminfo", "streamType": "informative", "streamSequence": 1}
    return _post(client, config, place, {"type": "typing", "text": OPENING, "entities": [info]})


def show_stream(
    client: TeamsClient, config: TeamsConfig, place: Place, stream_id: str, shown: str, text: str
) -> None:
    """Show the text so far; each must begin with the one before.

    Each call needs a higher number than the one before, which the length of a growing text is.
    Raises also: ShownAnswerStopped when the person has pressed the stop button since the call before.
    """
    if text == shown or not text.strip():
        return
    info = {
        "type": "streaminfo",
        "streamId": stream_id,
        "streamType": "streaming",
        "streamSequence": 1 + utf16_units(text),
    }
    activity = {"type": "typing", "text": text, "textFormat": "markdown", "entities": [info]}
    try:
        _post(client, config, place, activity)
    except PlatformRefused as error:
        if _STOPPED in str(error.details.get("said")).lower():
            raise ShownAnswerStopped("The person stopped the answer.", **error.details) from error
        raise


def close_stream(
    client: TeamsClient, config: TeamsConfig, place: Place, stream_id: str, part: str
) -> Receipt:
    """Leave the answer in place of what was shown. One that ended already is taken away and the answer sent anew."""
    info = {"type": "streaminfo", "streamId": stream_id, "streamType": "final"}
    activity = {"type": "message", "text": part, "textFormat": "xml", "entities": [info]}
    try:
        return Receipt(message_id=_post(client, config, place, activity) or stream_id)
    except PlatformRefused:
        outbound.delete(client, config, place, stream_id)
    return outbound.post(client, config, place, part)


def _post(client: TeamsClient, config: TeamsConfig, place: Place, activity: dict[str, Any]) -> str:
    answer = client.call(config, "POST", f"{conversation_url(client.base_url, place)}/activities", activity)
    return str(answer.get("id", ""))
