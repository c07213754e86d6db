"""One answer that is shown while it is written: what is shown of it where, and the next step to show more."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.db import DatabaseError, connections

from services.adapters.chat.healing import cut_source, heal, steady
from services.domain.chats.blocks import hide_blocks
from services.domain.chats.drawers import configured
from services.domain.chats.shown_stops import stop_shown
from services.domain.chats.shows import SHOW_LEASE, Segment, Show, is_first_in_line, note_segments
from services.domain.contacts.destinations import HERE
from services.domain.errors import ShownAnswerStopped, SlipwayError, Temporary
from services.domain.ports.chat import ChatAdapter
from services.domain.ports.chat_abilities import (
    Acknowledges,
    Deletes,
    Edits,
    FindsSent,
    StreamLimits,
    Streams,
)
from services.worker import buckets
from services.worker.live_answer import LiveAnswer

log = logging.getLogger(__name__)

# An answer that is whole within this time is not shown before: it would only be posted to be changed at once.
FIRST_SHOW_S = 1.0
AGAIN_S = 5.0
# How often an answer that may not show before an earlier one is out looks whether it is.
TURN_S = 0.5
# Of an answer that is longer than this many messages only the first are shown while it is written.
MOST_MESSAGES = 5
_TYPING_SHARE = 0.8
_PAUSE_S = 0.2
_STALE_S = SHOW_LEASE.total_seconds() * 0.8


@dataclass
class _Stream:
    """The platform's stream that is open, and what it shows."""

    opened_at: float
    shown_at: float
    shown: str = ""


class LeaseGone(Exception):
    """Somebody else shows this answer by now, or it is delivered."""


class Showing:
    """The state of one show. The loop asks `is_due` and runs `advance` in a thread, one at a time."""

    def __init__(self, show: Show, adapter: ChatAdapter) -> None:
        self.show, self._adapter = show, adapter
        self._config: Any = configured(adapter, show.config, show.org_id, show.link_id)
        self._channel = buckets.Channel(show.link_id, show.chat_id, show.chat_kind)
        self.answer = LiveAnswer(str(show.task_id), show.said, show.seq)
        self.segments = list(show.segments)
        self.is_busy = False
        self.renewed_at = time.monotonic()
        # Not before the first moment, and by the second even if there is no news.
        self._ready_at = self._idle_until = self._typing_at = 0.0
        self._has_news = bool(show.said)
        self._first_text_at = time.monotonic() if show.said else None
        self._shown_parts: dict[int, str] = {}
        self._stream: _Stream | None = None
        # Where in the text the open stream begins, and what opens the code there.
        self._begin, self._prefix = 0, ""
        self._may_stream, self._may_show = True, show.is_live
        self._is_taken_over = bool(self.segments)

    def take(self, envelope: Mapping[str, Any]) -> None:
        """Take the next envelope of the workspace's stream."""
        self.answer.take(envelope)
        if self._may_show and self.answer.text():
            self._has_news = True
            self._first_text_at = self._first_text_at or time.monotonic()

    def is_lost(self) -> bool:
        """Say whether the lease may be somebody else's by now."""
        return time.monotonic() - self.renewed_at > _STALE_S

    def is_due(self) -> bool:
        """Say whether there is something to do."""
        moment = time.monotonic()
        return moment >= self._ready_at and (self._has_news or moment >= self._idle_until)

    def advance(self) -> None:
        """Show what is new, or that the agent is at work. A platform that refuses is left alone."""
        wait_s, self._has_news = AGAIN_S, False
        try:
            wait_s = self._advance()
        except Temporary as error:
            wait_s, self._has_news = max(error.retry_after_s, 1.0), True
        except LeaseGone:
            self.renewed_at = float("-inf")
        except (SlipwayError, ValueError) as error:
            log.info("an answer is not shown: %s", error)
            # What cannot be streamed may be edited; what cannot be posted is not shown before it is whole.
            self._may_show = self._may_show and self._limits() is not None and self._stream is None
            self._may_stream, self._has_news = False, self._may_show
        except DatabaseError as error:
            log.warning("an answer is not shown for a moment: %s", error)
            self._has_news = True
        except Exception:
            log.exception("an answer is not shown any more")
            self._may_show = False
        finally:
            connections.close_all()
            self._ready_at = time.monotonic() + wait_s
            self.is_busy = False

    def _advance(self) -> float:
        """Do the next step; returns in how many seconds there may be another."""
        text = hide_blocks(self.answer.text(), ("", HERE))
        age_s = time.monotonic() - (self._first_text_at or time.monotonic())
        if not self._may_show or not text.strip() or age_s < FIRST_SHOW_S:
            self._show_typing()
            self._has_news = self._has_news or (self._may_show and bool(text.strip()))
            return _PAUSE_S
        if self._is_taken_over:
            self._is_taken_over = False
            if not self._take_over(text):
                # It may be there and cannot be found: nothing more is shown that may have to be found again.
                self._may_show = False
                return _PAUSE_S
        if not self.segments and not is_first_in_line(self.show):
            self._show_typing()
            self._has_news = True
            return TURN_S
        limits = self._limits()
        if limits is not None and isinstance(self._adapter, Streams):
            self._idle_until = time.monotonic() + (limits.keep_alive_s or limits.max_age_s)
            self._show_stream(self._adapter, text, limits)
            return limits.min_interval_s
        if isinstance(self._adapter, Edits) and self._adapter.edit_interval_s is not None:
            self._idle_until = float("inf")
            self._show_edited(self._adapter, text)
            return self._adapter.edit_interval_s
        self._show_typing()
        return _PAUSE_S

    def _limits(self) -> StreamLimits | None:
        if not self._may_stream or not isinstance(self._adapter, Streams):
            return None
        return self._adapter.stream_limits(self.show.place, self.show.chat_kind)

    def _show_typing(self) -> None:
        ttl_s = self._adapter.manifest.typing_ttl_s
        if ttl_s is None:
            self._idle_until = float("inf")
            return
        if time.monotonic() < self._typing_at:
            return
        self._typing_at = self._idle_until = time.monotonic() + ttl_s * _TYPING_SHARE
        try:
            self._adapter.show_typing(self._config, self.show.place)
            if isinstance(self._adapter, Acknowledges) and self.show.reply_to:
                self._adapter.acknowledge(self._config, self.show.place, self.show.reply_to)
        except SlipwayError as error:
            log.info("typing not shown: %s", error)

    # --- Taking over from a worker that died ---------------------------------------------------------------

    def _take_over(self, text: str) -> bool:
        """Find out what is shown already; False when that is not known.

        A stream that somebody else began is closed: how far it is nobody knows.
        """
        last = self.segments[-1]
        self._begin = len(steady(text))
        if not last.ref:
            found = (
                self._adapter.find_sent(self._config, self.show.place, last.key)
                if isinstance(self._adapter, FindsSent)
                else None
            )
            if found is None:
                return False
            self._keep(len(self.segments) - 1, Segment(found.message_id, last.key))
        elif last.is_stream and isinstance(self._adapter, Streams):
            parts = self._adapter.render(heal(text))
            self._close_stream(self._adapter, "", parts[min(len(self.segments), len(parts)) - 1])
            return True
        # What was posted as a message goes on as one.
        self._may_stream = self._may_stream and not isinstance(self._adapter, Edits)
        return True

    # --- The platform's own streams ------------------------------------------------------------------------

    def _show_stream(self, adapter: Streams, text: str, limits: StreamLimits) -> None:
        source = self._prefix + text[self._begin :]
        shown = steady(source)
        if not shown[len(self._prefix) :].strip():
            return
        if self._stream is None and len(self.segments) >= MOST_MESSAGES:
            self._may_show = False
            return
        stream = self._stream or self._open_stream(adapter)
        moment = time.monotonic()
        if len(source) > limits.max_text or len(self._adapter.render(source)) > 1:
            self._roll_over(adapter, source, limits.max_text * 3 // 4)
        elif moment - stream.opened_at > limits.max_age_s:
            self._roll_over(adapter, source, len(shown))
        else:
            is_news = shown != stream.shown and shown.startswith(stream.shown)
            is_fading = limits.keep_alive_s is not None and moment - stream.shown_at >= limits.keep_alive_s
            if is_news or is_fading:
                self._grow_stream(adapter, stream, shown)

    def _grow_stream(self, adapter: Streams, stream: _Stream, shown: str) -> None:
        try:
            adapter.show_stream(self._config, self.show.place, self.segments[-1].ref, stream.shown, shown)
        except ShownAnswerStopped:
            stop_shown(self.show)
            self._may_show = False
        else:
            stream.shown, stream.shown_at = shown, time.monotonic()

    def _open_stream(self, adapter: Streams) -> _Stream:
        number = len(self.segments)
        key = self._key(number)
        self._keep(number, Segment("", key, is_stream=True))
        try:
            ref = adapter.open_stream(
                self._config, self.show.place, reply_to=self.show.reply_to if number == 0 else None
            )
        except SlipwayError as error:
            self._note_not_made(error)
            raise
        self._keep(number, Segment(ref, key, is_stream=True))
        self._stream = _Stream(time.monotonic(), time.monotonic())
        return self._stream

    def _roll_over(self, adapter: Streams, source: str, most: int) -> None:
        """Close the segment at a pause, as a message of its own; the next one begins behind it."""
        head, prefix, cut = cut_source(source, most)
        self._close_stream(adapter, self._stream.shown if self._stream else "", self._adapter.render(head)[0])
        self._begin, self._prefix = self._begin + cut - len(self._prefix), prefix
        self._has_news = True

    def _close_stream(self, adapter: Streams, shown: str, part: str) -> None:
        last = self.segments[-1]
        receipt = adapter.close_stream(self._config, self.show.place, last.ref, shown, part, last.key)
        self._stream = None
        self._keep(len(self.segments) - 1, Segment(receipt.message_id, last.key))

    # --- Messages that are edited --------------------------------------------------------------------------

    def _show_edited(self, adapter: Edits, text: str) -> None:
        for number, part in enumerate(self._adapter.render(heal(text))[:MOST_MESSAGES]):
            if self._shown_parts.get(number) == part:
                continue
            if not buckets.find_slot(self._adapter.manifest, self._channel):
                self._has_news = True
                return
            if number < len(self.segments):
                adapter.edit(self._config, self.show.place, self.segments[number].ref, part)
            else:
                self._post(number, part)
            self._shown_parts[number] = part

    def _post(self, number: int, part: str) -> None:
        """Post the next message, on record before, so that it is found if nobody lives to record it after."""
        key = self._key(number)
        self._keep(number, Segment("", key))
        try:
            if isinstance(self._adapter, FindsSent):
                receipt = self._adapter.send_with_key(self._config, self.show.place, part, key)
            else:
                receipt = self._adapter.send(
                    self._config,
                    self.show.place,
                    part,
                    reply_to=self.show.reply_to if number == 0 else None,
                )
        except SlipwayError as error:
            self._note_not_made(error)
            raise
        try:
            self._keep(number, Segment(receipt.message_id, key))
        except LeaseGone:
            # The answer was delivered meanwhile, by somebody who could not know of this message.
            if isinstance(self._adapter, Deletes):
                self._adapter.delete(self._config, self.show.place, receipt.message_id)
            raise

    # --- What is on record ---------------------------------------------------------------------------------

    def _key(self, number: int) -> str:
        return f"live:{self.show.task_id}/{number}"

    def _keep(self, number: int, segment: Segment) -> None:
        """Record a segment. Raises: LeaseGone."""
        self.segments[number:] = [segment]
        if not note_segments(self.show, self.segments):
            raise LeaseGone

    def _note_not_made(self, error: SlipwayError) -> None:
        """Forget a segment that the platform did not make; one that it may have made is looked for.

        Raises: LeaseGone.
        """
        if error.details.get("may_have_arrived"):
            self._is_taken_over = True
            return
        self.segments.pop()
        if not note_segments(self.show, self.segments):
            raise LeaseGone
