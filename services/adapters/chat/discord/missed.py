"""What was said while there was no session: Discord sends it to nobody again, so that each channel is asked for it.

Source: https://docs.discord.com/developers/resources/message#get-channel-messages
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from services.adapters.chat.discord.config import DiscordConfig
from services.adapters.chat.discord.events import Events
from services.adapters.chat.discord.rest import Rest, is_snowflake
from services.adapters.chat.discord.wire import Channel
from services.domain.errors import PlatformRefused, PlatformThrottled
from services.domain.ports.chat import Parsed, Place
from services.domain.ports.chat_abilities import Inbox

PAGE = 100
# Of a channel in which more was said than this the rest is left out, and counted.
MOST_PAGES = 10
_TRIES = 5
_MOST_WAIT_S = 10.0


class Missed:
    """The known channels that were not asked yet. Each is asked before anything newer is kept from it."""

    def __init__(
        self,
        rest: Rest,
        config: DiscordConfig,
        inbox: Inbox,
        events: Events,
        is_ours: Callable[[Channel], bool],
    ) -> None:
        self._rest, self._config, self._inbox = rest, config, inbox
        self._events, self._is_ours = events, is_ours
        self._after = _newest_by_channel(inbox.list_heard())

    def is_over(self) -> bool:
        """Say whether all were asked."""
        return not self._after

    def ask_next(self) -> None:
        """Keep what was missed in one channel. Raises: as `Rest.call`."""
        self.ask(next(iter(self._after)))

    def ask(self, channel_id: str) -> None:
        """Keep what was missed in this channel, unless that was done. Raises: as `Rest.call`."""
        after = self._after.get(channel_id)
        if after is None:
            return
        channel = self._events.find_channel(channel_id)
        if self._is_ours(channel):
            self._keep_all(channel, after)
        # Only now: after an error in between it is asked again.
        del self._after[channel_id]

    def _keep_all(self, channel: Channel, after: int) -> None:
        for _ in range(MOST_PAGES):
            page = self._read_page(channel.id, after)
            for raw in page:
                server = {} if channel.guild_id is None else {"guild_id": channel.guild_id}
                parsed = self._events.read("MESSAGE_CREATE", {**raw, **server})
                if parsed is not None and parsed.messages:
                    self._inbox.keep(parsed)
            if len(page) < PAGE:
                return
            after = int(page[-1]["id"])
        self._inbox.keep(Parsed(ignored="too_much_missed"))

    def _read_page(self, channel_id: str, after: int) -> list[dict[str, Any]]:
        """Return the next messages, the oldest first; none of a channel that is gone or closed to the bot."""
        path = f"/channels/{channel_id}/messages?after={after}&limit={PAGE}"
        for attempt in range(_TRIES):
            try:
                found = self._rest.call(self._config, "GET", path)
                break
            except PlatformRefused:
                return []
            except PlatformThrottled as error:
                is_last = attempt == _TRIES - 1
                if is_last or error.retry_after_s > _MOST_WAIT_S or self._inbox.wait(error.retry_after_s):
                    raise
        messages = [one for one in found if isinstance(one, dict) and is_snowflake(str(one.get("id")))]
        return sorted(messages, key=lambda one: int(one["id"]))


def _newest_by_channel(heard: Iterable[tuple[Place, str]]) -> dict[str, int]:
    """Return after which message each channel and each thread is asked: ids are in the order of time.

    A thread that was opened from a message has its id, so that it is the channel's newest or older.
    """
    newest: dict[str, int] = {}
    for place, message_id in heard:
        thread = place.thread_id or message_id
        if not all(is_snowflake(one) for one in (place.chat_id, thread, message_id)):
            continue
        newest[place.chat_id] = max(newest.get(place.chat_id, 0), int(thread))
        if place.thread_id is not None:
            newest[thread] = max(newest.get(thread, 0), int(message_id))
    return newest
