"""The gateway: a connection over which Discord sends all that happens where the bot is.

What was kept is in the state with its number, so that another connection, of another process too, goes on after it:
Discord sends again what came later. Source: https://docs.discord.com/developers/events/gateway
"""

from __future__ import annotations

import random
import time
from dataclasses import asdict, dataclass
from typing import Any

from services.adapters.chat.discord import events
from services.adapters.chat.discord.config import DiscordConfig
from services.adapters.chat.discord.rest import Rest
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
# After these it takes no connection until a person has done something.
_FATAL = {
    4004: "Discord does not accept the bot's token.",
    4010: "Discord does not accept the connection's shard.",
    4011: "The bot is in too many servers for one connection.",
    4012: "Discord does not speak this version of the gateway any more.",
    4013: "Discord does not know what the connection asks for.",
    4014: 'Switch on "Message Content Intent" on the page "Bot" of the developer portal.',
}


@dataclass(slots=True)
class _Session:
    """Where to resume. Without an id there is nothing to resume, and a new session begins."""

    id: str = ""
    url: str = ""
    seq: int | None = None

    @classmethod
    def read(cls, state: dict[str, Any]) -> _Session:
        match state:
            case {"id": str(session_id), "url": str(url), "seq": int(seq)}:
                return cls(session_id, url, seq)
        return cls()


def listen(rest: Rest, config: DiscordConfig, inbox: Inbox) -> None:
    """Hear a bot's events over one connection, until told to stop or Discord wants another one."""
    session = _Session.read(inbox.load_state())
    address = session.url or _address(rest, config)
    with open_socket(
        f"{address.rstrip('/')}/?v=10&encoding=json",
        label="Discord",
        max_bytes=MAX_BYTES,
        ping_every_s=None,
        close_code=_LEAVING,
    ) as socket:
        try:
            _Connection(socket, session, rest, config, inbox).run()
        except SocketClosed as closed:
            if closed.code in _FATAL:
                raise PlatformRefused(_FATAL[closed.code], answer=str(closed.code)) from closed
            if closed.code in _SESSION_OVER:
                inbox.keep(Parsed(), {})
            raise PlatformAway("Discord closed the connection.", retry_after_s=0.0) from closed


def _address(rest: Rest, config: DiscordConfig) -> str:
    """Ask where to connect, and whether the bot may begin another session today."""
    answer = rest.object(config, "GET", "/gateway/bot")
    limit = answer.get("session_start_limit")
    if isinstance(limit, dict) and limit.get("remaining") == 0:
        raise PlatformThrottled(
            "The bot has begun as many sessions as it may today.",
            retry_after_s=float(limit.get("reset_after") or 60_000) / 1000,
        )
    return str(answer.get("url", ""))


class _Connection:
    """One connection: its heartbeat, its session, and what it hears."""

    def __init__(
        self, socket: Socket, session: _Session, rest: Rest, config: DiscordConfig, inbox: Inbox
    ) -> None:
        self._socket, self._session = socket, session
        self._config, self._inbox = config, inbox
        self._events = events.Events(rest, config)
        self._beat_every_s = 0.0
        self._next_beat = 0.0
        self._is_beat_answered = True

    def run(self) -> None:
        """Begin or resume a session and hear it. Raises: SocketClosed, as the port."""
        self._greet()
        while not self._inbox.is_stopping():
            self._beat_if_due()
            try:
                frame = self._socket.receive(max(min(TICK_S, self._next_beat - time.monotonic()), 0.0))
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
                    self._inbox.keep(Parsed(), self._state())
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
        token = self._config.bot_token.get_secret_value()
        if self._session.id:
            resumed = {"token": token, "session_id": self._session.id, "seq": self._session.seq}
            self._socket.send({"op": _RESUME, "d": resumed})
            return
        properties = {"os": "linux", "browser": "slipway", "device": "slipway"}
        identified = {"token": token, "intents": INTENTS, "properties": properties, "compress": False}
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
        self._socket.send({"op": _HEARTBEAT, "d": self._session.seq})

    def _begin_anew(self, *, can_resume: bool) -> None:
        if not can_resume:
            self._inbox.keep(Parsed(), {})
        self._inbox.wait(random.uniform(*_INVALID_PAUSE_S))  # noqa: S311

    def _hear(self, frame: dict[str, Any]) -> None:
        """Keep what an event brings, together with its number, and then acknowledge what wants to be."""
        seq, name, details = frame.get("s"), frame.get("t"), frame.get("d")
        if not isinstance(seq, int) or not isinstance(name, str) or not isinstance(details, dict):
            self._inbox.keep(Parsed(ignored="unreadable"))
            return
        if name == "READY":
            self._session.id = str(details.get("session_id", ""))
            self._session.url = str(details.get("resume_gateway_url", ""))
        parsed = self._events.read(name, details)
        self._session.seq = seq
        if parsed is not None:
            self._inbox.keep(parsed, self._state())
            self._events.acknowledge(name, details, parsed)

    def _state(self) -> dict[str, Any]:
        return asdict(self._session) if self._session.id else {}
