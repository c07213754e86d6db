"""The gateway: connections over which Discord sends all that happens where the bot is, one for each of its shards.

What was kept is in the state with its number, so that another connection, of another process too, goes on after it:
Discord sends again what came later. Source: https://docs.discord.com/developers/events/gateway
"""

from __future__ import annotations

import random
import threading
import time
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import Any

from services.adapters.chat.discord import events
from services.adapters.chat.discord.config import DiscordConfig
from services.adapters.chat.discord.missed import Missed
from services.adapters.chat.discord.rest import Rest
from services.adapters.chat.discord.sessions import Session, Sessions
from services.adapters.chat.discord.wire import Channel
from services.adapters.chat.sockets import OPEN_TIMEOUT_S, TICK_S, Socket, SocketClosed, open_socket
from services.domain.errors import MalformedBody, PlatformAway, PlatformRefused, PlatformThrottled
from services.domain.ports.chat import Parsed
from services.domain.ports.chat_abilities import Inbox

_DISPATCH, _HEARTBEAT, _IDENTIFY, _RESUME, _RECONNECT, _INVALID, _HELLO, _ACK = 0, 1, 2, 6, 7, 9, 10, 11
# Servers, their channels and messages, direct messages, and what all of them say.
INTENTS = 1 << 0 | 1 << 9 | 1 << 12 | 1 << 15
# A large server comes in one frame.
MAX_BYTES = 64 * 1024**2
# Any code but 1000 and 1001 keeps the session, so that whoever connects next can resume it.
_LEAVING = 4900
_INVALID_PAUSE_S = (1.0, 5.0)
# Discord wants another connection after these, and a new session on it.
_SESSION_OVER = (4007, 4009)
# And after these another number of shards, as the bot is in more servers than before.
_SHARDS_OVER = (4010, 4011)
_SHARDS_PAUSE_S = 60.0
# Each is a thread and a connection of one process.
MOST_SHARDS = 64
# After these it takes no connection until a person has done something.
_FATAL = {
    4004: "Discord does not accept the bot's token.",
    4012: "Discord does not speak this version of the gateway any more.",
    4013: "Discord does not know what the connection asks for.",
    4014: 'Switch on "Message Content Intent" on the page "Bot" of the developer portal.',
}


def listen(rest: Rest, config: DiscordConfig, inbox: Inbox) -> None:
    """Hear a bot's events, until told to stop or, with one shard, until Discord wants another connection."""
    sessions = Sessions(inbox)
    address = ""
    if not sessions.all:
        address, count = _ask_how(rest, config)
        sessions.share(count)
    if len(sessions.all) == 1:
        _Shard(0, sessions, address, rest, config, inbox).hear()
    else:
        _hear_all(sessions, address, rest, config, inbox)


def _hear_all(sessions: Sessions, address: str, rest: Rest, config: DiscordConfig, inbox: Inbox) -> None:
    """Hear all shards, each in a thread, until told to stop. The first that fails ends all of them with its error."""
    shared = _SharedInbox(inbox)
    shards = [_Shard(number, sessions, address, rest, config, shared) for number in range(len(sessions.all))]
    with ThreadPoolExecutor(len(shards), thread_name_prefix="discord-shard") as threads:
        running = [threads.submit(shard.hear_on) for shard in shards]
        ended, _ = wait(running, return_when=FIRST_EXCEPTION)
        shared.is_over.set()
    for one in (*ended, *running):
        one.result()


class _SharedInbox:
    """The inbox of all shards, which end together."""

    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox
        self.is_over = threading.Event()
        self.keep, self.load_state, self.list_heard = inbox.keep, inbox.load_state, inbox.list_heard

    def is_stopping(self) -> bool:
        """Say whether to return soon."""
        return self.is_over.is_set() or self._inbox.is_stopping()

    def wait(self, seconds: float) -> bool:
        """Wait that long, or until told to stop."""
        until = time.monotonic() + seconds
        while not self.is_stopping() and (left := until - time.monotonic()) > 0:
            self._inbox.wait(min(left, TICK_S))
        return self.is_stopping()


def _ask_how(rest: Rest, config: DiscordConfig) -> tuple[str, int]:
    """Ask where to connect, with how many shards, and whether the bot may begin so many sessions today."""
    answer = rest.object(config, "GET", "/gateway/bot")
    limit, shards = answer.get("session_start_limit"), answer.get("shards")
    count = shards if isinstance(shards, int) and shards > 0 else 1
    if count > MOST_SHARDS:
        raise PlatformRefused(f"The bot is in too many servers: it needs {count} shards, of {MOST_SHARDS}.")
    left = limit.get("remaining") if isinstance(limit, dict) else None
    if isinstance(limit, dict) and isinstance(left, int) and left < count:
        raise PlatformThrottled(
            "The bot has begun as many sessions as it may today.",
            retry_after_s=float(limit.get("reset_after") or 60_000) / 1000,
        )
    return str(answer.get("url", "")), count


class _Shard:
    """One shard: it connects, and understands why a connection ends."""

    def __init__(
        self,
        number: int,
        sessions: Sessions,
        address: str,
        rest: Rest,
        config: DiscordConfig,
        inbox: Inbox,
    ) -> None:
        self.number, self.sessions, self._address = number, sessions, address
        self.rest, self.config, self.inbox = rest, config, inbox

    @property
    def session(self) -> Session:
        return self.sessions.all[self.number]

    def is_ours(self, channel: Channel) -> bool:
        """Say whether a channel's events come to this shard. Direct chats are the first one's.

        Source: https://docs.discord.com/developers/events/gateway#sharding
        """
        return (int(channel.guild_id or 0) >> 22) % len(self.sessions.all) == self.number

    def hear_on(self) -> None:
        """Hear until told to stop, over one connection after the other."""
        while not self.inbox.is_stopping():
            self.hear()

    def hear(self) -> None:
        """Hear over one connection."""
        if not self.session.id:
            self.sessions.wait_to_begin()
            self._address = self._address or _ask_how(self.rest, self.config)[0]
        address = self.session.url or self._address
        with open_socket(
            f"{address.rstrip('/')}/?v=10&encoding=json",
            label="Discord",
            max_bytes=MAX_BYTES,
            ping_every_s=None,
            close_code=_LEAVING,
        ) as socket:
            try:
                _Connection(socket, self).run()
            except SocketClosed as closed:
                if closed.code in _FATAL:
                    raise PlatformRefused(_FATAL[closed.code], answer=str(closed.code)) from closed
                if closed.code in _SESSION_OVER:
                    self.sessions.lose(self.number)
                if closed.code in _SHARDS_OVER:
                    self.sessions.lose_all()
                pause_s = _SHARDS_PAUSE_S if closed.code in _SHARDS_OVER else 0.0
                raise PlatformAway("Discord closed the connection.", retry_after_s=pause_s) from closed


class _Connection:
    """One connection: its heartbeat, its session, and what it hears."""

    def __init__(self, socket: Socket, shard: _Shard) -> None:
        self._socket, self._shard, self._inbox = socket, shard, shard.inbox
        self._events = events.Events(shard.rest, shard.config)
        self._missed: Missed | None = None
        self._beat_every_s = 0.0
        self._next_beat = 0.0
        self._is_beat_answered = True

    def run(self) -> None:
        """Begin or resume a session and hear it. Raises: SocketClosed, as the port."""
        self._greet()
        while not self._inbox.is_stopping():
            self._beat_if_due()
            if self._missed is not None:
                self._ask_for_missed(self._missed)
            idle_s = TICK_S if self._missed is None else 0.0
            try:
                frame = self._socket.receive(max(min(idle_s, self._next_beat - time.monotonic()), 0.0))
            except MalformedBody:
                self._inbox.keep(Parsed(ignored="unreadable"))
                continue
            if frame is None:
                continue
            match frame.get("op"):
                case int(op) if op == _DISPATCH:
                    self._hear(frame)
                case int(op) if op == _ACK:
                    self._is_beat_answered = True
                    self._shard.sessions.keep(Parsed())
                case int(op) if op == _HEARTBEAT:
                    self._beat()
                case int(op) if op == _RECONNECT:
                    return
                case int(op) if op == _INVALID:
                    self._begin_anew(can_resume=frame.get("d") is True)
                    return

    def _greet(self) -> None:
        hello = self._socket.receive(OPEN_TIMEOUT_S) or {}
        details = hello.get("d")
        interval_ms = details.get("heartbeat_interval") if isinstance(details, dict) else None
        if hello.get("op") != _HELLO or not isinstance(interval_ms, int | float) or interval_ms <= 0:
            raise PlatformAway("Discord does not greet the connection.", retry_after_s=1.0)
        self._beat_every_s = interval_ms / 1000
        # Not all bots at once after a restart of Discord's.
        self._next_beat = time.monotonic() + self._beat_every_s * random.random()  # noqa: S311
        session, count = self._shard.session, len(self._shard.sessions.all)
        token = self._shard.config.bot_token.get_secret_value()
        if session.id:
            resumed = {"token": token, "session_id": session.id, "seq": session.seq}
            self._socket.send({"op": _RESUME, "d": resumed})
            return
        properties = {"os": "linux", "browser": "slipway", "device": "slipway"}
        identified = {"token": token, "intents": INTENTS, "properties": properties, "compress": False}
        if count > 1:
            identified["shard"] = [self._shard.number, count]
        self._socket.send({"op": _IDENTIFY, "d": identified})

    def _beat_if_due(self) -> None:
        if time.monotonic() < self._next_beat:
            return
        if not self._is_beat_answered:
            raise PlatformAway("Discord does not answer the heartbeat.", retry_after_s=0.0)
        self._beat()
        self._is_beat_answered = False
        self._next_beat = time.monotonic() + self._beat_every_s

    def _beat(self) -> None:
        self._socket.send({"op": _HEARTBEAT, "d": self._shard.session.seq})

    def _begin_anew(self, *, can_resume: bool) -> None:
        if not can_resume:
            self._shard.sessions.lose(self._shard.number)
        self._inbox.wait(random.uniform(*_INVALID_PAUSE_S))  # noqa: S311

    def _hear(self, frame: dict[str, Any]) -> None:
        """Keep what an event brings, together with its number, and then acknowledge what wants to be."""
        seq, name, details = frame.get("s"), frame.get("t"), frame.get("d")
        if not isinstance(seq, int) or not isinstance(name, str) or not isinstance(details, dict):
            self._inbox.keep(Parsed(ignored="unreadable"))
            return
        session = self._shard.session
        if name == "READY":
            session.id = str(details.get("session_id", ""))
            session.url = str(details.get("resume_gateway_url", ""))
            # Whatever was heard before, was heard in a session that is lost.
            session.is_behind = True
        if self._missed is not None and isinstance(details.get("channel_id"), str):
            self._missed.ask(details["channel_id"])
        parsed = self._events.read(name, details)
        session.seq = seq
        if parsed is not None:
            self._shard.sessions.keep(parsed)
            self._events.acknowledge(name, details, parsed)
        if name in ("READY", "RESUMED") and session.is_behind:
            shard = self._shard
            self._missed = Missed(shard.rest, shard.config, self._inbox, self._events, shard.is_ours)

    def _ask_for_missed(self, missed: Missed) -> None:
        if not missed.is_over():
            missed.ask_next()
            return
        self._missed, self._shard.session.is_behind = None, False
        self._shard.sessions.keep(Parsed())
