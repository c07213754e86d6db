"""Streams of the local Slack server, as strict as Slack's: in threads, for somebody, and only for so long."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tests.fakes.serving import Journal

if TYPE_CHECKING:
    from tests.fakes.slack_server import FakeSlack

JSON = dict[str, Any]
MOST_CHARS = 12_000
STATUSES = ("processing", "active", "suspended", "closed")
_TS = re.compile(r"[0-9]{10}\.[0-9]{6}")
_USER, _TEAM = re.compile(r"[UW][A-Z0-9]{2,20}"), re.compile(r"[TE][A-Z0-9]{2,20}")


class SlackStreams:
    """`shown` has what each stream showed after every call, `statuses` those of the sessions."""

    def __init__(self, server: FakeSlack, refused: Callable[[str], Exception]) -> None:
        self._server, self._refused = server, refused
        self.life_s = 300.0
        self.shown, self.statuses = Journal(), Journal()
        self._open: dict[tuple[str, str], float] = {}

    def methods(self) -> dict[str, Callable[[JSON], JSON]]:
        """Return the methods by their names."""
        return {
            "chat.startStream": self._start,
            "chat.appendStream": self._append,
            "chat.stopStream": self._stop,
            "agents.sessions.setStatus": self._set_status,
        }

    def is_open(self, channel: str, ts: str) -> bool:
        """Say whether a message still grows."""
        at = self._open.get((channel, ts))
        return at is not None and time.monotonic() - at < self.life_s

    def _start(self, params: JSON) -> JSON:
        channel = self._server.channel_of(params)
        if not _TS.fullmatch(str(params.get("thread_ts", ""))):
            raise self._refused("invalid_thread_ts")
        if not channel.startswith("D"):
            if not _USER.fullmatch(str(params.get("recipient_user_id", ""))):
                raise self._refused("missing_recipient_user_id")
            if not _TEAM.fullmatch(str(params.get("recipient_team_id", ""))):
                raise self._refused("missing_recipient_team_id")
        message = self._server.new_message({"thread_ts": params["thread_ts"]}, self._text(params))
        self._server.remember(channel, message)
        self._server.sent.add({"channel": channel, "params": params, "message": message})
        self._open[channel, message["ts"]] = time.monotonic()
        return {"channel": channel, "ts": message["ts"]}

    def _append(self, params: JSON) -> JSON:
        message = self._growing(params)
        added = self._text(params)
        if not added:
            raise self._refused("no_text")
        message["text"] += added
        self.shown.add({"channel": params["channel"], "ts": message["ts"], "text": message["text"]})
        return {"channel": params["channel"], "ts": message["ts"]}

    def _stop(self, params: JSON) -> JSON:
        message = self._growing(params)
        message["text"] += self._text(params)
        metadata = params.get("metadata")
        if metadata:
            message["metadata"] = json.loads(metadata) if isinstance(metadata, str) else metadata
        del self._open[params["channel"], message["ts"]]
        return {"channel": params["channel"], "ts": message["ts"], "message": message}

    def _set_status(self, params: JSON) -> JSON:
        self._server.channel_of(params, "channel_id")
        if params.get("status") not in STATUSES or len(str(params.get("title", ""))) > 200:
            raise self._refused("invalid_arguments")
        self.statuses.add(params)
        return {}

    def _growing(self, params: JSON) -> JSON:
        message = self._server.message_of(params)
        if not self.is_open(params["channel"], message["ts"]):
            raise self._refused("message_not_in_streaming_state")
        return message

    def _text(self, params: JSON) -> str:
        text = str(params.get("markdown_text") or "")
        if len(text) > MOST_CHARS:
            raise self._refused("msg_too_long")
        return text
