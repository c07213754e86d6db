"""What the gateway's events bring, and which channels they are about."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any
from urllib.parse import quote

from pydantic import ValidationError

from services.adapters.chat.discord import interactions, messages
from services.adapters.chat.discord.config import DiscordConfig
from services.adapters.chat.discord.rest import Rest, snowflake
from services.adapters.chat.discord.wire import Channel
from services.domain.errors import MalformedBody, Permanent, PlatformRefused, Temporary
from services.domain.ports.chat import Parsed
from services.kit.clock import now

_SESSION = ("READY", "RESUMED")
_ONE_CHANNEL = ("CHANNEL_CREATE", "CHANNEL_UPDATE", "THREAD_CREATE", "THREAD_UPDATE")
_GONE_CHANNEL = ("CHANNEL_DELETE", "THREAD_DELETE")
_MANY_CHANNELS = ("GUILD_CREATE", "THREAD_LIST_SYNC")
_MESSAGES = ("MESSAGE_CREATE", "MESSAGE_UPDATE", "MESSAGE_DELETE", "MESSAGE_DELETE_BULK")


class Events:
    """Reads the events of one connection. Messages do not say what kind of channel they are in; this remembers it."""

    def __init__(self, rest: Rest, config: DiscordConfig) -> None:
        self._rest, self._config = rest, config
        self._channels: dict[str, Channel] = {}

    def read(self, name: str, details: dict[str, Any]) -> Parsed | None:
        """Return what an event brings; None for one that brings nothing to keep.

        Raises: PlatformThrottled, PlatformAway, when Discord has to be asked about a channel.
        """
        if name in _SESSION:
            return Parsed()
        if name in _MESSAGES or name == "INTERACTION_CREATE":
            try:
                return self._read(name, details)
            except MalformedBody:
                return Parsed(ignored="unreadable")
        self._learn(name, details)
        return None

    def acknowledge(self, name: str, details: dict[str, Any], parsed: Parsed) -> None:
        """Answer an interaction that is kept; Discord waits three seconds for it, and then tells the person."""
        if name != "INTERACTION_CREATE" or parsed.reply is None:
            return
        with suppress(Temporary, Permanent):
            interaction_id = snowflake(str(details.get("id")))
            token = quote(str(details.get("token")), safe="")
            path = f"/interactions/{interaction_id}/{token}/callback"
            self._rest.call(self._config, "POST", path, json.loads(parsed.reply.body), is_authorized=False)

    def _read(self, name: str, details: dict[str, Any]) -> Parsed:
        if name == "INTERACTION_CREATE":
            return interactions.read(self._config, details)
        channel_id, is_in_server = messages.read_channel_id(details)
        channel = self.find_channel(channel_id) if channel_id is not None and is_in_server else None
        match name:
            case "MESSAGE_CREATE":
                return messages.read_message(self._config, details, channel)
            case "MESSAGE_UPDATE":
                return messages.read_edit(self._config, details, channel)
        return messages.read_deletion(details, channel, now())

    def find_channel(self, channel_id: str) -> Channel:
        """Return a channel. After a resumed session Discord has to be asked once about each."""
        if channel_id not in self._channels:
            try:
                answer = self._rest.object(self._config, "GET", f"/channels/{snowflake(channel_id)}")
                self._channels[channel_id] = Channel.model_validate(answer)
            except (PlatformRefused, ValidationError):
                return Channel(id=channel_id)
        return self._channels[channel_id]

    def _learn(self, name: str, details: dict[str, Any]) -> None:
        found: list[Any] = []
        if name in _ONE_CHANNEL:
            found = [details]
        elif name in _MANY_CHANNELS:
            for part in ("channels", "threads"):
                given = details.get(part)
                found += given if isinstance(given, list) else []
        elif name in _GONE_CHANNEL:
            self._channels.pop(str(details.get("id")), None)
        for raw in found:
            with suppress(ValidationError):
                channel = Channel.model_validate(raw)
                self._channels[channel.id] = channel
