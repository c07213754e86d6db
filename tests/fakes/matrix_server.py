"""A strict local Matrix homeserver: the part of the client-server API that bots use, for one bot and any person.

In a test: `with FakeMatrix({"token": "@bot:local"}) as matrix: …`. The real thing, Synapse, has tests of its own; this
one starts at once and can be told to fail.
Source: https://spec.matrix.org/v1.11/client-server-api/
"""

from __future__ import annotations

import asyncio
import itertools
import json
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.fakes.serving import BrokenConnection, Fault, Faults, Journal, LocalServer

JSON = dict[str, Any]
MAX_EVENT_BYTES = 65_536
# What a server adds to an event: hashes, signatures, what it follows.
ADDED_BYTES = 2_000
PERSON = "@alice:local"
_API = "/_matrix/client/v3"


class _Refused(Exception):
    def __init__(self, status: int, code: str) -> None:
        super().__init__(code)
        self.status, self.code = status, code


@dataclass
class FakeRoom:
    """A room: who is in it, what was said, what is set. `events` are pairs of stream position and event."""

    members: dict[str, str]
    name: str = ""
    is_encrypted: bool = False
    events: list[tuple[int, Any]] = field(default_factory=list)
    typing: list[JSON] = field(default_factory=list)
    receipts: list[str] = field(default_factory=list)
    came_at: int = 0


class FakeMatrix:
    """The server, its state, and what tests ask of it. `calls` has every call."""

    def __init__(self, tokens: Mapping[str, str], names: Mapping[str, str] | None = None) -> None:
        self.tokens, self.names = dict(tokens), dict(names or {})
        self.bot = next(iter(self.tokens.values()))
        self.rooms: dict[str, FakeRoom] = {}
        self.invitations: dict[str, tuple[int, list[JSON]]] = {}
        self.files: list[tuple[str, str, bytes]] = []
        self.account_data: dict[str, JSON] = {}
        self.calls = Journal()
        self.faults = Faults()
        self._transactions: dict[tuple[str, str], JSON] = {}
        self._position = 0
        self._numbers = itertools.count(1)
        self._lock = threading.RLock()
        self._server = LocalServer(self._app())
        self.url = self._server.url

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop()

    # --- What people do ------------------------------------------------------------------------------------

    def make_room(self, room_id: str, *people: str, name: str = "", is_encrypted: bool = False) -> FakeRoom:
        """Make a room in which the bot and these people are."""
        self.rooms[room_id] = FakeRoom(
            {self.bot: self.names.get(self.bot, ""), **{person: person[1:].title() for person in people}},
            name,
            is_encrypted,
        )
        return self.rooms[room_id]

    def say(self, room_id: str, text: str, sender: str = PERSON, **content: Any) -> str:
        """Let somebody say something; `content` is added to the message's own."""
        said = {"msgtype": "m.text", "body": text, "m.mentions": {}} | content
        return self.happen(room_id, "m.room.message", said, sender)

    def happen(self, room_id: str, kind: str, content: JSON, sender: str = PERSON, **fields: Any) -> str:
        """Let an event happen; `fields` are added to it."""
        event = {
            "type": kind,
            "event_id": f"${next(self._numbers):043d}",
            "sender": sender,
            "origin_server_ts": int(time.time() * 1000),
            "content": content,
            "unsigned": {},
        } | fields
        self.relay(room_id, event)
        return str(event["event_id"])

    def relay(self, room_id: str, event: Any) -> None:
        """Hand on an event as it is."""
        with self._lock:
            self._position += 1
            self.rooms[room_id].events.append((self._position, event))

    def invite(self, room_id: str, inviter: str = PERSON, *, is_direct: bool = False) -> None:
        """Let somebody invite the bot into a room of theirs."""
        content = {"membership": "invite", "is_direct": is_direct}
        room = FakeRoom({inviter: inviter[1:].title()})
        self.rooms[room_id] = room
        self.happen(room_id, "m.room.member", content, inviter, state_key=self.bot)
        with self._lock:
            self._position += 1
            self.invitations[room_id] = (self._position, [room.events[-1][1]])

    def messages(self, room_id: str | None = None) -> list[JSON]:
        """List what the bot said and has not deleted, each with its newest content."""
        found: dict[str, JSON] = {}
        for name, room in list(self.rooms.items()):
            for _, event in list(room.events):
                if room_id not in (None, name) or not isinstance(event, dict):
                    continue
                content = event.get("content") or {}
                if event.get("sender") != self.bot or event.get("type") != "m.room.message" or not content:
                    continue
                relates = content.get("m.relates_to", {})
                if relates.get("rel_type") == "m.replace":
                    if relates["event_id"] in found:
                        found[relates["event_id"]] |= content["m.new_content"]
                else:
                    found[event["event_id"]] = dict(content)
        return list(found.values())

    # --- The server ----------------------------------------------------------------------------------------

    def _app(self) -> Starlette:
        routes = {
            ("GET", "/account/whoami"): self._whoami,
            ("GET", "/profile/{user}/displayname"): self._profile,
            ("GET", "/sync"): self._sync,
            ("GET", "/user/{user}/account_data/{kind}"): self._account_data,
            ("PUT", "/user/{user}/account_data/{kind}"): self._set_account_data,
            ("GET", "/joined_rooms"): self._joined_rooms,
            ("POST", "/createRoom"): self._create_room,
            ("POST", "/join/{room}"): self._join,
            ("POST", "/rooms/{room}/leave"): self._leave,
            ("GET", "/rooms/{room}/joined_members"): self._joined_members,
            ("GET", "/rooms/{room}/state/{kind}/"): self._state,
            ("GET", "/rooms/{room}/messages"): self._page,
            ("GET", "/rooms/{room}/event/{event}"): self._event,
            ("PUT", "/rooms/{room}/send/{kind}/{txn}"): self._send,
            ("PUT", "/rooms/{room}/redact/{event}/{txn}"): self._redact,
            ("PUT", "/rooms/{room}/typing/{user}"): self._typing,
            ("POST", "/rooms/{room}/receipt/m.read/{event}"): self._receipt,
        }
        listed = [
            Route(_API + path, self._answering(work), methods=[method])
            for (method, path), work in routes.items()
        ]
        listed.append(Route("/_matrix/media/v3/upload", self._answering(self._upload), methods=["POST"]))
        listed.append(
            Route("/_matrix/client/v1/media/download/{server}/{media}", self._answering(self._download))
        )
        return Starlette(routes=listed)

    def _answering(self, work: Any) -> Any:
        async def answer(request: Request) -> Response:
            name = work.__name__.strip("_")
            self.calls.add({"method": name, "path": request.url.path})
            # Only what changes something fails unless a test names another: the adapter looks before it writes.
            is_write = request.method != "GET"
            fault = self.faults.take(name) if is_write or name == "sync" else None
            if fault is not None and fault.how != "drop":
                return _failure(fault)
            try:
                user = self._user(request)
                body = await _body(request) if name != "upload" else {}
                result = await work(request, user, body)
            except _Refused as refused:
                return _error(refused.status, refused.code)
            if fault is not None:
                return BrokenConnection()
            # As ASCII: what strangers say may be no text that UTF-8 can hold.
            return result if isinstance(result, Response) else Response(json.dumps(result))

        return answer

    def _user(self, request: Request) -> str:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme != "Bearer" or not token:
            raise _Refused(401, "M_MISSING_TOKEN")
        if token not in self.tokens:
            raise _Refused(401, "M_UNKNOWN_TOKEN")
        return self.tokens[token]

    def _room(self, request: Request, user: str) -> FakeRoom:
        room = self.rooms.get(request.path_params["room"])
        if room is None or user not in room.members:
            raise _Refused(403, "M_FORBIDDEN")
        return room

    def _find(self, room: FakeRoom, event_id: str) -> JSON | None:
        return next(
            (e for _, e in room.events if isinstance(e, dict) and e.get("event_id") == event_id), None
        )

    async def _whoami(self, request: Request, user: str, body: JSON) -> JSON:
        return {"user_id": user, "device_id": "DEVICE", "is_guest": False}

    async def _profile(self, request: Request, user: str, body: JSON) -> JSON:
        if request.path_params["user"] not in self.names:
            raise _Refused(404, "M_NOT_FOUND")
        return {"displayname": self.names[request.path_params["user"]]}

    async def _sync(self, request: Request, user: str, body: JSON) -> JSON:
        query = request.query_params
        limit = json.loads(query.get("filter", "{}")).get("room", {}).get("timeline", {}).get("limit", 10)
        since = int(query["since"].removeprefix("s")) if "since" in query else None
        ends = time.monotonic() + int(query.get("timeout", "0")) / 1000
        while since is not None and self._position <= since and time.monotonic() < ends:
            if await request.is_disconnected():
                break
            await asyncio.sleep(0.02)
        with self._lock:
            return self._answer_sync(user, since, limit)

    def _answer_sync(self, user: str, since: int | None, limit: int) -> JSON:
        joined = {}
        for room_id, room in self.rooms.items():
            # Whoever has just come is shown what was said before, as far as the limit goes.
            begin = 0 if since is None or since < room.came_at else since
            new = [(at, event) for at, event in room.events if at > begin]
            if user not in room.members or not new:
                continue
            shown = new[-limit:]
            joined[room_id] = {
                "timeline": {
                    "events": [self._for(user, event) for _, event in shown],
                    "limited": len(shown) < len(new),
                    "prev_batch": f"s{shown[0][0] - 1}",
                },
                "state": {"events": []},
            }
        invited = {
            room_id: {"invite_state": {"events": events}}
            for room_id, (at, events) in self.invitations.items()
            if since is None or at > since
        }
        return {"next_batch": f"s{self._position}", "rooms": {"join": joined, "invite": invited}}

    def _for(self, user: str, event: Any) -> Any:
        """Return an event as its sender, or somebody else, is shown it."""
        if isinstance(event, dict) and event.get("sender") != user and "unsigned" in event:
            return event | {"unsigned": {}}
        return event

    async def _account_data(self, request: Request, user: str, body: JSON) -> JSON:
        if request.path_params["user"] != user:
            raise _Refused(403, "M_FORBIDDEN")
        if request.path_params["kind"] not in self.account_data:
            raise _Refused(404, "M_NOT_FOUND")
        return self.account_data[request.path_params["kind"]]

    async def _set_account_data(self, request: Request, user: str, body: JSON) -> JSON:
        if request.path_params["user"] != user:
            raise _Refused(403, "M_FORBIDDEN")
        self.account_data[request.path_params["kind"]] = body
        return {}

    async def _joined_rooms(self, request: Request, user: str, body: JSON) -> JSON:
        return {"joined_rooms": [room_id for room_id, room in self.rooms.items() if user in room.members]}

    async def _create_room(self, request: Request, user: str, body: JSON) -> JSON:
        (person,) = body["invite"]
        if body["preset"] != "trusted_private_chat" or body["is_direct"] is not True:
            raise _Refused(400, "M_BAD_JSON")
        if person != PERSON:
            raise _Refused(403, "M_FORBIDDEN")
        room_id = f"!direct{next(self._numbers)}:local"
        self.make_room(room_id, person)
        return {"room_id": room_id}

    async def _join(self, request: Request, user: str, body: JSON) -> JSON:
        room_id = request.path_params["room"]
        if self.invitations.pop(room_id, None) is None:
            raise _Refused(403, "M_FORBIDDEN")
        self.rooms[room_id].members[user] = self.names.get(user, "")
        before = {"prev_content": {"membership": "invite"}}
        self.happen(room_id, "m.room.member", {"membership": "join"}, user, state_key=user, unsigned=before)
        self.rooms[room_id].came_at = self._position
        return {"room_id": room_id}

    async def _leave(self, request: Request, user: str, body: JSON) -> JSON:
        room_id = request.path_params["room"]
        if self.invitations.pop(room_id, None) is None and user not in self.rooms[room_id].members:
            raise _Refused(403, "M_FORBIDDEN")
        self.rooms[room_id].members.pop(user, None)
        return {}

    async def _joined_members(self, request: Request, user: str, body: JSON) -> JSON:
        room = self._room(request, user)
        return {"joined": {member: {"display_name": name or None} for member, name in room.members.items()}}

    async def _state(self, request: Request, user: str, body: JSON) -> JSON:
        room, kind = self._room(request, user), request.path_params["kind"]
        if kind == "m.room.encryption" and room.is_encrypted:
            return {"algorithm": "m.megolm.v1.aes-sha2"}
        if kind == "m.room.name" and room.name:
            return {"name": room.name}
        raise _Refused(404, "M_NOT_FOUND")

    async def _page(self, request: Request, user: str, body: JSON) -> JSON:
        room, query = self._room(request, user), request.query_params
        if query.get("dir") != "b":
            raise _Refused(400, "M_INVALID_PARAM")
        wanted = json.loads(query.get("filter", "{}"))
        newest = int(query.get("from", f"s{self._position}")[1:])
        oldest = int(query.get("to", "s0")[1:])
        found = [
            (at, event)
            for at, event in reversed(room.events)
            if oldest < at <= newest
            and (not isinstance(event, dict) or event.get("type") in wanted.get("types", [event.get("type")]))
            and (
                not isinstance(event, dict)
                or event.get("sender") in wanted.get("senders", [event.get("sender")])
            )
        ]
        shown = found[: int(query.get("limit", "10"))]
        more = {"end": f"s{shown[-1][0] - 1}"} if len(shown) < len(found) else {}
        return {"chunk": [self._for(user, event) for _, event in shown], "start": f"s{newest}"} | more

    async def _event(self, request: Request, user: str, body: JSON) -> JSON:
        event = self._find(self._room(request, user), request.path_params["event"])
        if event is None:
            raise _Refused(404, "M_NOT_FOUND")
        return event

    async def _send(self, request: Request, user: str, body: JSON) -> JSON:
        room, params = self._room(request, user), request.path_params
        with self._lock:
            known = self._transactions.get((user, request.url.path))
            if known is None:
                self._check(room, user, params["kind"], body)
                unsigned = {"transaction_id": params["txn"]}
                event_id = self.happen(params["room"], params["kind"], body, user, unsigned=unsigned)
                known = self._transactions[user, request.url.path] = {"event_id": event_id}
        return known

    def _check(self, room: FakeRoom, user: str, kind: str, content: JSON) -> None:
        if len(json.dumps(content, ensure_ascii=False).encode()) + ADDED_BYTES > MAX_EVENT_BYTES:
            raise _Refused(413, "M_TOO_LARGE")
        if kind == "m.room.message" and not (
            isinstance(content.get("msgtype"), str) and isinstance(content.get("body"), str)
        ):
            raise _Refused(400, "M_BAD_JSON")
        relates = content.get("m.relates_to", {})
        target = relates.get("event_id")
        if target is not None and self._find(room, target) is None:
            raise _Refused(400, "M_UNKNOWN")
        if relates.get("rel_type") == "m.annotation":
            for _, event in room.events:
                if isinstance(event, dict) and event.get("sender") == user and event["content"] == content:
                    raise _Refused(400, "M_DUPLICATE_ANNOTATION")

    async def _redact(self, request: Request, user: str, body: JSON) -> JSON:
        room, params = self._room(request, user), request.path_params
        event = self._find(room, params["event"])
        if event is None:
            raise _Refused(404, "M_NOT_FOUND")
        with self._lock:
            event["content"] = {}
            content = {"redacts": params["event"]}
            return {"event_id": self.happen(params["room"], "m.room.redaction", content, user)}

    async def _typing(self, request: Request, user: str, body: JSON) -> JSON:
        room = self._room(request, user)
        if request.path_params["user"] != user:
            raise _Refused(403, "M_FORBIDDEN")
        if not isinstance(body.get("typing"), bool) or not isinstance(body.get("timeout"), int):
            raise _Refused(400, "M_BAD_JSON")
        room.typing.append(body)
        return {}

    async def _receipt(self, request: Request, user: str, body: JSON) -> JSON:
        self._room(request, user).receipts.append(request.path_params["event"])
        return {}

    async def _upload(self, request: Request, user: str, body: JSON) -> JSON:
        data, media = await request.body(), f"media{next(self._numbers)}"
        if len(data) > 60_000_000:
            raise _Refused(413, "M_TOO_LARGE")
        self.files.append((media, request.query_params.get("filename", ""), data))
        return {"content_uri": f"mxc://local/{media}"}

    async def _download(self, request: Request, user: str, body: JSON) -> Response:
        for media, _, data in self.files:
            if media == request.path_params["media"]:
                return Response(data, media_type="application/octet-stream")
        raise _Refused(404, "M_NOT_FOUND")


async def _body(request: Request) -> JSON:
    if request.method == "GET":
        return {}
    try:
        body = await request.json()
    except ValueError as error:
        raise _Refused(400, "M_NOT_JSON") from error
    if not isinstance(body, dict):
        raise _Refused(400, "M_BAD_JSON")
    return body


def _error(status: int, code: str, **more: Any) -> Response:
    return JSONResponse({"errcode": code, "error": code} | more, status_code=status)


def _failure(fault: Fault) -> Response:
    match fault.how:
        case "throttle":
            return _error(429, "M_LIMIT_EXCEEDED", retry_after_ms=fault.retry_after_s * 1000)
        case "error":
            return Response("upstream failure", status_code=502)
        case "forbid":
            return _error(403, "M_FORBIDDEN")
    raise LookupError(fault.how)
