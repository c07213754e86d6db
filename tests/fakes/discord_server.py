"""A strict local Discord: REST API, gateway and interactions, with controls for tests.

In a test: `with FakeDiscord() as discord: …`. As a process: `python -m tests.fakes.discord_server --port 8083`.
By default any token is the bot; give `tokens` to know only those. There is one server with one channel, and a direct
chat with Bob.
"""

from __future__ import annotations

import argparse
import itertools
import json
import re
import threading
import time
from collections.abc import Collection
from typing import Any, Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute

from tests.fakes.discord_checks import Buckets, Refused, invalid, is_snowflake
from tests.fakes.discord_gateway import DiscordGateway
from tests.fakes.discord_people import DiscordPeople
from tests.fakes.discord_rest import DiscordRest
from tests.fakes.serving import BrokenConnection, Fault, Faults, Journal, LocalServer

JSON = dict[str, Any]
BOT_ID = "900000000000000002"
GUILD_ID = "800000000000000001"
CHANNEL_ID = "810000000000000001"
DIRECT_ID = "820000000000000001"
BOB_ID = "700000000000000001"
BOT: JSON = {"id": BOT_ID, "username": "slipway", "discriminator": "0000", "avatar": None, "bot": True}
BOB: JSON = {
    "id": BOB_ID,
    "username": "bob",
    "global_name": "Bob",
    "discriminator": "0",
    "avatar": None,
}
READS_CONTENT = 1 << 19
_EPOCH_MS = 1_420_070_400_000
# A server does not tell what it does not know of a bot.
_WITHOUT_TOKEN = ("/interactions/", "/webhooks/")


class FakeDiscord:
    """The server and its state. `sent` has the bot's messages, `calls` every call of the API."""

    def __init__(self, tokens: Collection[str] | None = None, port: int = 0) -> None:
        self.tokens = tokens
        self.sent, self.calls = Journal(), Journal()
        self.faults = Faults()
        self.buckets = Buckets()
        self.signing_key = Ed25519PrivateKey.generate()
        self.application: JSON = {
            "id": BOT_ID,
            "name": "slipway",
            "icon": None,
            "description": "",
            "bot_public": False,
            "bot_require_code_grant": False,
            "owner": BOB,
            "team": None,
            "verify_key": self.public_key,
            "flags": READS_CONTENT,
            "interactions_endpoint_url": None,
        }
        self.channels: dict[str, JSON] = {
            CHANNEL_ID: self.make_channel(CHANNEL_ID, 0, "general", GUILD_ID),
            DIRECT_ID: {"id": DIRECT_ID, "type": 1, "recipients": [BOB], "last_message_id": None},
        }
        self.messages: dict[str, dict[str, JSON]] = {}
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self.gateway = DiscordGateway(self)
        self.people = DiscordPeople(self)
        self.rest = DiscordRest(self)
        self.extras = self.rest
        self._server = LocalServer(self._app(), port, has_sockets=True)
        self.url = self._server.url
        self.api_base = f"{self.url}/api/v10"

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop()

    def run_here(self) -> None:
        """Serve on this thread."""
        self._server.run_here()

    # --- What is known ------------------------------------------------------------------------------------

    @property
    def public_key(self) -> str:
        """The key with which interactions are signed, as the developer portal shows it."""
        return self.signing_key.public_key().public_bytes_raw().hex()

    def is_known(self, token: str) -> bool:
        """Say whether a token is a bot's."""
        return bool(token) and (self.tokens is None or token in self.tokens)

    def may_read_content(self) -> bool:
        """Say whether the bot may read what people write."""
        return bool(self.application["flags"] & (1 << 18 | READS_CONTENT))

    def next_id(self) -> str:
        """Make an id that says when it was made."""
        return str((int(time.time() * 1000) - _EPOCH_MS) << 22 | next(self._numbers) % 4096)

    def ready(self, session_id: str) -> JSON:
        """Return what begins a session."""
        return {
            "v": 10,
            "user": BOT,
            "guilds": [{"id": GUILD_ID, "unavailable": True}],
            "session_id": session_id,
            "resume_gateway_url": self.gateway_url,
            "session_type": "normal",
            "private_channels": [],
            "application": {"id": BOT_ID, "flags": self.application["flags"]},
        }

    @property
    def gateway_url(self) -> str:
        """Where the gateway is."""
        return f"{self.url.replace('http', 'ws', 1)}/gateway"

    def guilds(self) -> list[JSON]:
        """Return the one server as it comes after the session's beginning."""
        channels = [one for one in self.channels.values() if one.get("guild_id") == GUILD_ID]
        member = {
            "user": BOT,
            "roles": [],
            "joined_at": "2026-01-01T00:00:00+00:00",
            "deaf": False,
            "mute": False,
            "flags": 0,
        }
        empty = ("roles", "emojis", "stickers", "features", "voice_states", "presences", "stage_instances")
        return [
            {
                "id": GUILD_ID,
                "name": "Acme",
                "owner_id": BOB_ID,
                "unavailable": False,
                "member_count": 2,
                "large": False,
                "members": [member],
                "channels": [one for one in channels if one["type"] not in (10, 11, 12)],
                "threads": [one for one in channels if one["type"] in (10, 11, 12)],
                "guild_scheduled_events": [],
                "soundboard_sounds": [],
                **{name: [] for name in empty},
            }
        ]

    def add_channel(self, kind: int, name: str, parent_id: str | None = None) -> str:
        """Make a channel or a thread in the server, and tell of it."""
        channel = self.make_channel(self.next_id(), kind, name, GUILD_ID, parent_id)
        self.channels[channel["id"]] = channel
        self.gateway.dispatch("THREAD_CREATE" if kind in (10, 11, 12) else "CHANNEL_CREATE", channel)
        return str(channel["id"])

    def make_channel(
        self, channel_id: str, kind: int, name: str, guild_id: str, parent_id: str | None = None
    ) -> JSON:
        """Make a channel or thread as the API shows it."""
        made: JSON = {
            "id": channel_id,
            "type": kind,
            "name": name,
            "guild_id": guild_id,
            "parent_id": parent_id,
            "position": 0,
            "permission_overwrites": [],
            "nsfw": False,
            "rate_limit_per_user": 0,
            "topic": None,
            "last_message_id": None,
        }
        if kind in (10, 11, 12):
            archive = {"archived": False, "auto_archive_duration": 1440, "locked": False}
            made |= {
                "owner_id": BOT_ID,
                "message_count": 0,
                "member_count": 1,
                "thread_metadata": archive | {"archive_timestamp": "2026-01-01T00:00:00+00:00"},
            }
        return made

    # --- HTTP ---------------------------------------------------------------------------------------------

    def _app(self) -> Starlette:
        return Starlette(
            routes=[
                WebSocketRoute("/gateway", self.gateway.serve),
                WebSocketRoute("/gateway/", self.gateway.serve),
                Route("/attachments/{channel}/{file_id}/{name}", self.rest.download),
                Route("/__control/{what}", self._control, methods=["GET", "POST"]),
                Route(
                    "/api/v10/{path:path}",
                    self._answer,
                    methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
                ),
            ]
        )

    async def _answer(self, request: Request) -> Response:
        path = "/" + request.path_params["path"]
        try:
            body, files = await _read(request)
            token = self._token_of(request, path)
            self.calls.add({"method": request.method, "path": path, "body": body, "token": token})
            fault = self.faults.take(request.method)
            if fault is not None and fault.how != "drop":
                return _failure(fault)
            headers, wait_s, is_global = self.buckets.take(_bucket(request.method, path))
            if wait_s is not None:
                return _too_many(wait_s, headers, is_global=is_global)
            answer = await self.rest.answer(request.method, path, body, files, request.query_params)
        except Refused as refused:
            return JSONResponse(
                {"message": refused.message, "code": refused.code}, status_code=refused.status
            )
        if fault is not None:
            return BrokenConnection()
        if answer is None:
            return Response(status_code=204, headers=headers)
        return JSONResponse(answer, headers=headers)

    def _token_of(self, request: Request, path: str) -> str:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if path.startswith(_WITHOUT_TOKEN):
            return token
        if scheme != "Bot" or not self.is_known(token):
            raise Refused(401, 0, "401: Unauthorized")
        return token

    async def _control(self, request: Request) -> Response:
        body: JSON = await request.json() if await request.body() else {}
        match request.path_params["what"]:
            case "sent":
                return JSONResponse({"messages": self.sent.all()})
            case "calls":
                return JSONResponse({"calls": self.calls.all()})
            case "fail":
                self.faults.plan(Fault(**body))
                return JSONResponse({})
            case "deliver":
                message = self.people.write(body.get("channel", DIRECT_ID), str(body["text"]))
                return JSONResponse({"message": message})
            case "reset":
                self.sent.clear()
                self.calls.clear()
                self.faults.clear()
                return JSONResponse({})
        return JSONResponse({"error": "unknown control"}, status_code=404)


def _bucket(method: str, path: str) -> str:
    parts = path.strip("/").split("/")
    form = "/".join("*" if is_snowflake(part) else part for part in parts[2:])
    return f"{method} {parts[0]}/{re.sub('reactions/[^/]+', 'reactions/*', form)}|{parts[1] if parts[1:] else ''}"


def _failure(fault: Fault) -> Response:
    match fault.how:
        case "throttle" | "global":
            headers = {"x-ratelimit-scope": "user" if fault.how == "throttle" else "global"}
            return _too_many(float(fault.retry_after_s), headers, is_global=fault.how == "global")
        case "error":
            return Response("upstream failure", status_code=500)
        case "forbid":
            return JSONResponse({"message": "Missing Permissions", "code": 50013}, status_code=403)
        case code:
            return JSONResponse({"message": "refused", "code": int(code)}, status_code=400)


def _too_many(wait_s: float, headers: dict[str, str], *, is_global: bool) -> Response:
    answer = {"message": "You are being rate limited.", "retry_after": wait_s, "global": is_global}
    return JSONResponse(
        answer, status_code=429, headers=headers | {"retry-after": str(max(1, round(wait_s)))}
    )


async def _read(request: Request) -> tuple[JSON, list[JSON]]:
    """Read a body, JSON or a form with files. Raises: Refused."""
    if request.headers.get("content-type", "").startswith("multipart/form-data"):
        async with request.form() as form:
            body = json.loads(str(form.get("payload_json") or "{}"))
            files = [
                {"name": one.filename, "content_type": one.content_type, "data": await one.read()}
                for name, one in form.multi_items()
                if re.fullmatch(r"files\[\d+\]", name) and not isinstance(one, str)
            ]
        return body, files
    raw = await request.body()
    try:
        body = json.loads(raw) if raw else {}
    except ValueError as error:
        raise invalid("The body is not JSON.") from error
    return (body if isinstance(body, dict) else {"items": body}), []


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8083)
    parser.add_argument("--token", action="append", help="know only these tokens")
    options = parser.parse_args()
    server = FakeDiscord(tokens=options.token, port=options.port)
    print(f"DISCORD_API_BASE={server.api_base}", flush=True)
    server.run_here()


if __name__ == "__main__":
    main()
