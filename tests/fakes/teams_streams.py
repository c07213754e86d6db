"""How Teams takes an answer that is shown while it is written: in chats with one person, in order, for two minutes."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.fakes.teams_checks import Refused, check_message

MAX_AGE_S = 120.0
MIN_INTERVAL_S = 1.0
JSON = dict[str, Any]


@dataclass
class Stream:
    """One stream. `shown` is the text so far."""

    stream_id: str
    began_at: float
    last_at: float
    sequence: int = 0
    shown: str = ""
    is_over: bool = False
    is_stopped: bool = False


@dataclass(frozen=True)
class Taken:
    """What became of a part."""

    stream_id: str
    is_final: bool


class TeamsStreams:
    """The streams of all conversations."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._numbers = itertools.count(1)
        self.all: dict[str, Stream] = {}

    def is_part(self, activity: JSON) -> bool:
        """Say whether an activity is part of a stream."""
        return _info(activity) is not None

    def stop(self, stream_id: str) -> None:
        """Press the stop button."""
        self.all[stream_id].is_stopped = True

    def delete(self, stream_id: str) -> bool:
        """Take away what a stream shows; False when it shows nothing, or became a message."""
        stream = self.all.get(stream_id)
        if stream is None or stream.is_over:
            return False
        del self.all[stream_id]
        return True

    def take(self, conversation: str, activity: JSON) -> Taken:
        """Take one part."""
        info = _info(activity) or {}
        kind = info.get("streamType")
        if not conversation.startswith("a:"):
            raise Refused(403, "ContentStreamNotAllowed", "Content stream is not allowed")
        if kind == "final":
            return self._finish(info, activity)
        if activity.get("type") != "typing" or kind not in ("informative", "streaming"):
            raise Refused(400, "BadSyntax", "not a part of a stream")
        return self._grow(info, str(activity.get("text", "")), str(kind))

    def _grow(self, info: JSON, text: str, kind: str) -> Taken:
        sequence, moment = info.get("streamSequence"), self._clock()
        if not isinstance(sequence, int) or sequence < 1 or not text or activity_has_more(info):
            raise Refused(400, "BadSyntax", "a part needs a number and a text")
        stream = self._find(info) if "streamId" in info else self._open(sequence, moment)
        if stream.sequence and moment - stream.last_at < MIN_INTERVAL_S:
            raise Refused(429, "TooManyRequests", retry_after_s=1)
        if sequence <= stream.sequence:
            raise Refused(400, "ContentStreamSequenceOrderPreConditionFailed")
        if kind == "streaming" and not text.startswith(stream.shown):
            raise Refused(400, "BadSyntax", "the text does not go on from what is shown")
        stream.sequence, stream.last_at = sequence, moment
        stream.shown = text if kind == "streaming" else stream.shown
        return Taken(stream.stream_id, is_final=False)

    def _finish(self, info: JSON, activity: JSON) -> Taken:
        if "streamSequence" in info:
            raise Refused(400, "BadSyntax", "the last part has no number")
        stream = self._find(info)
        check_message(activity)
        stream.is_over = True
        return Taken(stream.stream_id, is_final=True)

    def _open(self, sequence: int, moment: float) -> Stream:
        if sequence != 1:
            raise Refused(400, "BadSyntax", "the first part has the number 1")
        stream = Stream(f"stream-{next(self._numbers)}", moment, moment)
        self.all[stream.stream_id] = stream
        return stream

    def _find(self, info: JSON) -> Stream:
        stream = self.all.get(str(info.get("streamId")))
        if stream is None:
            raise Refused(404, "ActivityNotFoundInConversation")
        reason = None
        if stream.is_stopped:
            reason = "Content stream was canceled by user"
        elif stream.is_over:
            reason = "Content stream is not allowed on an already completed streamed message"
        elif self._clock() - stream.began_at > MAX_AGE_S:
            reason = "Content stream finished due to exceeded streaming time"
        if reason is not None:
            raise Refused(403, "ContentStreamNotAllowed", reason)
        return stream


def activity_has_more(info: JSON) -> bool:
    """Say whether a part has what only the last one may have."""
    return bool(set(info) - {"type", "streamId", "streamType", "streamSequence"})


def _info(activity: JSON) -> JSON | None:
    return next(
        (entity for entity in activity.get("entities") or [] if entity.get("type") == "streaminfo"), None
    )
