"""The gateway of the local Discord server: sessions that can be resumed, heartbeats, close codes, as strict as v10."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import time
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from starlette.websockets import WebSocket, WebSocketDisconnect

from tests.fakes.serving import Journal

if TYPE_CHECKING:
    from tests.fakes.discord_server import FakeDiscord

JSON = dict[str, Any]
MESSAGE_CONTENT = 1 << 15
KNOWN_INTENTS = (1 << 26) - 1
SENDS_PER_MINUTE = 120
# Events go to sessions that asked for them: in servers, and in direct chats.
_GUILD_INTENT = {"MESSAGE": 1 << 9, "CHANNEL": 1 << 0, "THREAD": 1 << 0, "GUILD": 1 << 0}
_DIRECT_MESSAGES = 1 << 12


@dataclass
class _Session:
    id: str
    token: str
    intents: int
    seq: int = 0
    events: list[JSON] = field(default_factory=list)
    connection: _Connection | None = None
    shard: tuple[int, int] = (0, 1)


class _Connection:
    def __init__(self, socket: WebSocket, loop: asyncio.AbstractEventLoop) -> None:
        self.socket, self.loop = socket, loop
        self.out: asyncio.Queue[JSON | int] = asyncio.Queue()
        self.session: _Session | None = None
        self.sends: list[float] = []

    def send(self, frame: JSON) -> None:
        """Send, in order, from any thread."""
        self.loop.call_soon_threadsafe(self.out.put_nowait, frame)

    def close(self, code: int) -> None:
        """Close after all that was sent before."""
        self.loop.call_soon_threadsafe(self.out.put_nowait, code)


class DiscordGateway:
    """The sessions. `begun` has each identify and resume, `heard` every frame of a client, `closed` each end."""

    def __init__(self, server: FakeDiscord) -> None:
        self._server = server
        self._lock = threading.Lock()
        self._sessions: dict[str, _Session] = {}
        self._open: list[_Connection] = []
        self.heartbeat_ms = 41_250
        self.answers_heartbeats = True
        self.starts_left = 1_000
        # How many shards a bot needs, and how long after one began the next may.
        self.shards, self.begin_every_s = 1, 0.0
        self._began_at = 0.0
        self.begun, self.heard, self.closed = Journal(), Journal(), Journal()

    # --- What Discord does --------------------------------------------------------------------------------

    def dispatch(self, name: str, details: JSON) -> None:
        """Send an event to all sessions that asked for its kind, also to those that are away for a moment."""
        with self._lock:
            for session in self._sessions.values():
                if self._is_wanted(session, name, details):
                    self._dispatch_to(session, name, details)

    def count(self) -> int:
        """Count the connections that are open."""
        return len(self._open)

    def ask_to_reconnect(self) -> None:
        """Ask all clients to reconnect."""
        for connection in list(self._open):
            connection.send({"op": 7, "d": None})

    def break_all(self, code: int = 4000) -> None:
        """Close all connections with a code."""
        for connection in list(self._open):
            connection.close(code)

    def send_raw(self, frame: Any) -> None:
        """Send any frame at all."""
        for connection in list(self._open):
            connection.send(frame)

    def invalidate(self, *, can_resume: bool) -> None:
        """Say that sessions are not valid any more, and forget them unless they can be resumed."""
        with self._lock:
            if not can_resume:
                self._sessions.clear()
        for connection in list(self._open):
            connection.send({"op": 9, "d": can_resume})

    def forget_sessions(self) -> None:
        """Forget all sessions, as after a time that is too long."""
        with self._lock:
            self._sessions.clear()

    # --- The protocol -------------------------------------------------------------------------------------

    async def serve(self, socket: WebSocket) -> None:
        """Serve one connection."""
        await socket.accept()
        connection = _Connection(socket, asyncio.get_running_loop())
        if socket.query_params.get("v") != "10" or socket.query_params.get("encoding") != "json":
            await socket.close(4012)
            return
        self._open.append(connection)
        writer = asyncio.ensure_future(self._write(connection))
        connection.send({"op": 10, "s": None, "t": None, "d": {"heartbeat_interval": self.heartbeat_ms}})
        code = 1006
        try:
            code = await self._read(connection)
        finally:
            self._open.remove(connection)
            self._leave(connection, code)
            writer.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await writer

    async def _write(self, connection: _Connection) -> None:
        while True:
            frame = await connection.out.get()
            with contextlib.suppress(RuntimeError, WebSocketDisconnect):
                if isinstance(frame, int):
                    self.closed.add({"by": "server", "code": frame})
                    await connection.socket.close(frame)
                    return
                await connection.socket.send_text(json.dumps(frame))

    async def _read(self, connection: _Connection) -> int:
        """Hear a client until it leaves; returns the code with which it left."""
        while True:
            try:
                # Whoever skips two heartbeats is not there any more.
                frame = await asyncio.wait_for(connection.socket.receive(), self.heartbeat_ms / 1000 * 2 + 1)
            except TimeoutError:
                connection.close(4009)
                return 4009
            if frame["type"] == "websocket.disconnect":
                code = int(frame.get("code") or 1005)
                self.closed.add({"by": "client", "code": code})
                return code
            refused = self._hear(connection, frame.get("text"))
            if refused is not None:
                connection.close(refused)

    def _hear(self, connection: _Connection, text: str | None) -> int | None:
        """Do what a frame asks for; returns the code to close with when it is refused."""
        moment = time.monotonic()
        connection.sends = [sent for sent in connection.sends if moment - sent < 60.0] + [moment]
        if len(connection.sends) > SENDS_PER_MINUTE:
            return 4008
        try:
            message = json.loads(text or "")
            op, details = message["op"], message["d"]
        except (ValueError, KeyError, TypeError):
            return 4002
        self.heard.add({"op": op, "d": details})
        match op:
            case 1:
                return self._beat(connection, details)
            case 2:
                return self._identify(connection, details)
            case 6:
                return self._resume(connection, details)
            case 3 | 4 | 8:
                return None if connection.session is not None else 4003
        return 4001

    def _beat(self, connection: _Connection, seq: Any) -> int | None:
        session = connection.session
        # The first one may come before the session that it is about.
        if seq is not None and (not isinstance(seq, int) or (session is not None and seq > session.seq)):
            return 4002
        if self.answers_heartbeats:
            connection.send({"op": 11, "d": None})
        return None

    def _identify(self, connection: _Connection, details: Any) -> int | None:
        if connection.session is not None:
            return 4005
        if not isinstance(details, dict) or not isinstance(details.get("properties"), dict):
            return 4002
        token = str(details.get("token", "")).removeprefix("Bot ")
        if not self._server.is_known(token):
            return 4004
        intents = details.get("intents")
        if not isinstance(intents, int) or intents & ~KNOWN_INTENTS:
            return 4013
        if intents & MESSAGE_CONTENT and not self._server.may_read_content():
            return 4014
        shard = details.get("shard", [0, 1])
        if not (isinstance(shard, list) and len(shard) == 2 and 0 <= shard[0] < shard[1]):
            return 4010
        if shard[1] < self.shards:
            return 4011
        if time.monotonic() - self._began_at < self.begin_every_s:
            connection.send({"op": 9, "d": False})
            return None
        with self._lock:
            self.starts_left -= 1
            self._began_at = time.monotonic()
            session = _Session(uuid.uuid4().hex, token, intents, connection=connection)
            session.shard = (shard[0], shard[1])
            self._sessions[session.id] = session
            connection.session = session
            self._dispatch_to(session, "READY", self._server.ready(session.id))
            for guild in self._server.guilds():
                if _is_of(session, str(guild["id"])):
                    self._dispatch_to(session, "GUILD_CREATE", guild)
        self.begun.add({"how": "identify", "session": session.id, "shard": session.shard})
        return None

    def _resume(self, connection: _Connection, details: Any) -> int | None:
        if connection.session is not None:
            return 4005
        if not isinstance(details, dict) or not isinstance(details.get("seq"), int):
            return 4002
        if not self._server.is_known(str(details.get("token", "")).removeprefix("Bot ")):
            return 4004
        with self._lock:
            session = self._sessions.get(str(details.get("session_id")))
            if session is None:
                connection.send({"op": 9, "d": False})
                return None
            if details["seq"] > session.seq:
                return 4007
            if session.connection is not None:
                # Another connection resumes: the first one is over.
                session.connection.close(4000)
            session.connection = connection
            connection.session = session
            for event in session.events:
                if event["s"] > details["seq"]:
                    connection.send(event)
            self.begun.add({"how": "resume", "session": session.id, "seq": details["seq"]})
            self._dispatch_to(session, "RESUMED", {})
        return None

    def _leave(self, connection: _Connection, code: int) -> None:
        session = connection.session
        with self._lock:
            if session is None or session.connection is not connection:
                return
            session.connection = None
            # Whoever says goodbye does not come back to its session.
            if code in (1000, 1001):
                self._sessions.pop(session.id, None)

    def _dispatch_to(self, session: _Session, name: str, details: JSON) -> None:
        session.seq += 1
        event = {"op": 0, "t": name, "s": session.seq, "d": details}
        session.events.append(event)
        if session.connection is not None:
            session.connection.send(event)

    def _is_wanted(self, session: _Session, name: str, details: JSON) -> bool:
        kind = name.partition("_")[0]
        if not _is_of(session, str(details.get("guild_id", "0"))):
            return False
        if kind == "MESSAGE" and "guild_id" not in details:
            return bool(session.intents & _DIRECT_MESSAGES)
        return bool(session.intents & _GUILD_INTENT[kind]) if kind in _GUILD_INTENT else True


def _is_of(session: _Session, guild_id: str) -> bool:
    """Say whether a server is of a session's shard; direct chats, which are in none, are the first one's."""
    number, count = session.shard
    return (int(guild_id) >> 22) % count == number
