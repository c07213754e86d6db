"""A strict local Slack Web API server with signed events, and controls for tests under `/__control`.

In a test: `with FakeSlack() as slack: …`. As a process: `python -m tests.fakes.slack_server --port 8082`.
By default any token is a bot of one workspace and any channel exists; give `tokens` or `channels` to know
only those.
"""

from __future__ import annotations

import argparse
import hashlib
import hmac
import itertools
import json
import re
import time
from collections.abc import Callable, Collection
from typing import Any, Self

import httpx
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute

from tests.fakes.serving import BrokenConnection, Fault, Faults, Journal, LocalServer
from tests.fakes.slack_extras import SlackExtras
from tests.fakes.slack_sockets import SlackSockets
from tests.fakes.slack_streams import SlackStreams

TEAM_ID = "T0001ACME"
BOT_ID = "B0001SLIP"
BOT_USER_ID = "U0001SLIP"
APP_ID = "A0001SLIP"
PERSON_ID = "U0002BOB"
_TS = re.compile(r"[0-9]{10}\.[0-9]{6}")
_CHANNEL = re.compile(r"[CDGU][A-Z0-9]{2,20}")
JSON = dict[str, Any]


def sign(body: bytes, secret: str, ts: int) -> dict[str, str]:
    """Make the headers with which Slack signs a call."""
    digest = hmac.new(secret.encode(), b"v0:%d:%s" % (ts, body), hashlib.sha256).hexdigest()
    return {
        "content-type": "application/json",
        "x-slack-request-timestamp": str(ts),
        "x-slack-signature": f"v0={digest}",
    }


class _Refused(Exception):
    """An answer with `ok: false`, which Slack gives with status 200."""


class FakeSlack:
    """The server, its state, and what tests ask of it. `sent` has the messages, `calls` every API call."""

    def __init__(
        self,
        tokens: Collection[str] | None = None,
        channels: Collection[str] | None = None,
        port: int = 0,
        *,
        app_tokens: Collection[str] | None = None,
    ) -> None:
        self.tokens = tokens
        self.app_tokens = app_tokens
        self.channels = channels
        self.sent = Journal()
        self.calls = Journal()
        self.faults = Faults()
        self.subscription: tuple[str, str] | None = None
        self._messages: dict[tuple[str, str], JSON] = {}
        self._numbers = itertools.count(1)
        self.extras = SlackExtras(self, _Refused)
        self.streams = SlackStreams(self, _Refused)
        self.sockets = SlackSockets(self, _Refused)
        self._server = LocalServer(self._app(), port, has_sockets=True)
        self.url = self._server.url
        self.api_base = f"{self.url}/api/"

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop()

    def run_here(self) -> None:
        """Serve on this thread."""
        self._server.run_here()

    # --- What people do ----------------------------------------------------------------------------------

    def subscribe(self, url: str, signing_secret: str) -> None:
        """Send events to this address, as a person would set in the app's settings."""
        self.subscription = (url, signing_secret)

    def message(self, channel: str, text: str, **fields: Any) -> JSON:
        """Make the event of a message that somebody writes; `fields` are added to it."""
        kinds = {"D": "im", "G": "mpim"}
        event = {
            "type": "message",
            "user": PERSON_ID,
            "text": text,
            "ts": self._next_ts(),
            "channel": channel,
            "channel_type": kinds.get(channel[0], "channel"),
            "team": TEAM_ID,
            "client_msg_id": f"c0ffee00-0000-4000-8000-{next(self._numbers):012d}",
        }
        event |= fields
        self._messages[channel, str(event["ts"])] = event
        return self.envelope(event)

    def envelope(self, event: JSON) -> JSON:
        """Wrap an event as the Events API does."""
        return {
            "token": "verification",
            "team_id": TEAM_ID,
            "api_app_id": APP_ID,
            "event": event,
            "type": "event_callback",
            "event_id": f"Ev{next(self._numbers):08d}",
            "event_time": int(time.time()),
            "authorizations": [
                {"enterprise_id": None, "team_id": TEAM_ID, "user_id": BOT_USER_ID, "is_bot": True}
            ],
        }

    def mention(self, message: JSON) -> JSON:
        """Make the `app_mention` twin of a message: another event for the same post, without channel type."""
        event = {key: value for key, value in message["event"].items() if key != "channel_type"}
        return self.envelope(event | {"type": "app_mention"})

    def deliver(self, envelope: JSON, retry: int = 0) -> httpx.Response:
        """Post an event, signed, to the subscribed address."""
        again = {"x-slack-retry-num": str(retry), "x-slack-retry-reason": "http_timeout"} if retry else {}
        return self.post_signed(json.dumps(envelope).encode(), "application/json", **again)

    def post_signed(self, body: bytes, content_type: str, **headers: str) -> httpx.Response:
        """Post a body, signed, to the subscribed address."""
        if self.subscription is None:
            raise LookupError("nothing is subscribed")
        url, secret = self.subscription
        signed = sign(body, secret, int(time.time())) | {"content-type": content_type} | headers
        return httpx.post(url, content=body, headers=signed, timeout=10)

    # --- The Web API -------------------------------------------------------------------------------------

    def _app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/api/{method}", self._answer, methods=["GET", "POST"]),
                Route("/upload/{file_id}", self.extras.upload, methods=["POST"]),
                Route("/files-pri/{file_id}/{name}", self.extras.download, methods=["GET"]),
                WebSocketRoute("/link/", self.sockets.serve),
                Route("/__control/{what}", self._control, methods=["GET", "POST"]),
            ]
        )

    async def _answer(self, request: Request) -> Response:
        method = request.path_params["method"]
        try:
            params = await _params(request)
            token = _token(request, params)
            self.calls.add({"method": method, "params": params, "token": token})
            fault = self.faults.take(method)
            if fault is not None and fault.how != "drop":
                return _failure(fault)
            if method == "apps.connections.open":
                result = self.sockets.open_connection(params, token)
            else:
                self._check_token(token)
                result = self._method(method)(params)
        except _Refused as refused:
            return JSONResponse({"ok": False, "error": str(refused)})
        return BrokenConnection() if fault is not None else JSONResponse({"ok": True} | result)

    def _check_token(self, token: str | None) -> None:
        if not token:
            raise _Refused("not_authed")
        if self.tokens is not None and token not in self.tokens:
            raise _Refused("invalid_auth")

    def _method(self, name: str) -> Callable[[JSON], JSON]:
        methods: dict[str, Callable[[JSON], JSON]] = {
            "auth.test": self._auth_test,
            "chat.postMessage": self._post_message,
            "chat.update": self._update,
            "conversations.info": self._conversation,
            "conversations.open": self._open_direct,
            "assistant.threads.setStatus": self._set_status,
            **self.extras.methods(),
            **self.streams.methods(),
        }
        if name not in methods:
            raise _Refused("unknown_method")
        return methods[name]

    def _auth_test(self, params: JSON) -> JSON:
        return {
            "url": "https://acme.slack.com/",
            "team": "Acme",
            "user": "slipway",
            "team_id": TEAM_ID,
            "user_id": BOT_USER_ID,
            "bot_id": BOT_ID,
            "is_enterprise_install": False,
        }

    def _post_message(self, params: JSON) -> JSON:
        channel, text = self.channel_of(params), _text(params)
        blocks, metadata = self.extras.read_blocks(params), params.get("metadata")
        message = self.new_message(params, text)
        if blocks:
            message["blocks"] = blocks
        if metadata:
            message["metadata"] = json.loads(metadata) if isinstance(metadata, str) else metadata
        self.remember(channel, message)
        self.sent.add({"channel": channel, "params": params, "message": message})
        return {"channel": channel, "ts": message["ts"], "message": message}

    def new_message(self, params: JSON, text: str) -> JSON:
        """Make a message of the app's."""
        message: JSON = {
            "type": "message",
            "user": BOT_USER_ID,
            "bot_id": BOT_ID,
            "app_id": APP_ID,
            "team": TEAM_ID,
            "text": text,
            "ts": self._next_ts(),
        }
        thread_ts = params.get("thread_ts")
        if thread_ts is not None:
            if not _TS.fullmatch(str(thread_ts)):
                raise _Refused("invalid_thread_ts")
            message["thread_ts"] = thread_ts
        return message

    def remember(self, channel: str, message: JSON) -> None:
        """Keep a message, so that it can be found."""
        self._messages[channel, message["ts"]] = message

    def _update(self, params: JSON) -> JSON:
        channel, message = self.channel_of(params), self.message_of(params)
        if message["user"] != BOT_USER_ID:
            raise _Refused("cant_update_message")
        if self.streams.is_open(channel, message["ts"]):
            raise _Refused("streaming_state_conflict")
        if metadata := params.get("metadata"):
            message["metadata"] = json.loads(metadata) if isinstance(metadata, str) else metadata
        blocks = self.extras.read_blocks(params)
        message["text"] = _text(params)
        if blocks is not None:
            message["blocks"] = blocks
        return {"channel": channel, "ts": message["ts"], "text": message["text"], "message": message}

    def _conversation(self, params: JSON) -> JSON:
        channel = self.channel_of(params)
        is_direct = channel.startswith("D")
        known: JSON = {"id": channel, "is_im": is_direct, "is_channel": not is_direct, "is_archived": False}
        return {"channel": known | ({"user": PERSON_ID} if is_direct else {"name": channel.lower()})}

    def _set_status(self, params: JSON) -> JSON:
        self.channel_of(params, "channel_id")
        if not _TS.fullmatch(str(params.get("thread_ts", ""))):
            raise _Refused("invalid_thread_ts")
        if "status" not in params:
            raise _Refused("invalid_arguments")
        return {}

    def _open_direct(self, params: JSON) -> JSON:
        if params.get("users") != PERSON_ID:
            raise _Refused("user_not_found")
        return {"channel": {"id": "D0123ABCD"}}

    def channel_of(self, params: JSON, name: str = "channel") -> str:
        """Return the channel that a call names."""
        channel = str(params.get(name, ""))
        is_known = channel in self.channels if self.channels is not None else _CHANNEL.fullmatch(channel)
        if not is_known:
            raise _Refused("channel_not_found")
        return channel

    def message_of(self, params: JSON) -> JSON:
        """Return the message that a call names."""
        message = self._messages.get((self.channel_of(params), str(params.get("ts", ""))))
        if message is None:
            raise _Refused("message_not_found")
        return message

    def messages_in(self, channel: str) -> list[JSON]:
        """List a channel's messages, the oldest first."""
        return [message for (place, _), message in self._messages.items() if place == channel]

    def forget_message(self, channel: str, message: JSON) -> None:
        """Take a message away."""
        del self._messages[channel, message["ts"]]

    def next_number(self) -> int:
        """Return a number that was not used yet."""
        return next(self._numbers)

    def _next_ts(self) -> str:
        return f"{int(time.time())}.{next(self._numbers):06d}"

    # --- Controls ----------------------------------------------------------------------------------------

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
            case "subscribe":
                self.subscribe(body["url"], body["signing_secret"])
                return JSONResponse({})
            case "deliver":
                return await self._control_deliver(body)
            case "reset":
                self.sent.clear()
                self.calls.clear()
                self.faults.clear()
                return JSONResponse({})
        return JSONResponse({"error": "unknown control"}, status_code=404)

    async def _control_deliver(self, body: JSON) -> Response:
        """Deliver `envelope`, or a message made of `channel`, `text` and `fields`, `repeat` times.

        Where no address is subscribed it goes over Socket Mode.
        """
        envelope = body.get("envelope") or self.message(
            str(body["channel"]), str(body["text"]), **body.get("fields", {})
        )
        if self.subscription is None:
            for _ in range(int(body.get("repeat", 1))):
                await run_in_threadpool(self.sockets.deliver, "events_api", envelope)
            return JSONResponse({"envelope": envelope, "statuses": []})
        statuses = []
        for attempt in range(int(body.get("repeat", 1))):
            answer = await run_in_threadpool(self.deliver, envelope, attempt)
            statuses.append(answer.status_code)
        return JSONResponse({"envelope": envelope, "statuses": statuses})


def _failure(fault: Fault) -> Response:
    match fault.how:
        case "throttle":
            headers = {"Retry-After": str(fault.retry_after_s)}
            return JSONResponse({"ok": False, "error": "ratelimited"}, status_code=429, headers=headers)
        case "error":
            return Response("upstream failure", status_code=500)
        case "forbid":
            return JSONResponse({"ok": False, "error": "not_in_channel"})
        case code:
            return JSONResponse({"ok": False, "error": code})


def _text(params: JSON) -> str:
    text = str(params.get("text", ""))
    if not text.strip():
        raise _Refused("no_text")
    if len(text) > 40_000:
        raise _Refused("msg_too_long")
    return text


def _token(request: Request, params: JSON) -> str | None:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token:
        return token
    given = params.pop("token", None)
    return str(given) if given else None


async def _params(request: Request) -> JSON:
    """Read the arguments from wherever Slack allows them: the query, a form, or JSON."""
    params: JSON = dict(request.query_params)
    if request.headers.get("content-type", "").startswith("application/json"):
        try:
            # Calls without arguments come as JSON without a body.
            body: JSON = await request.json() if await request.body() else {}
            return params | body
        except ValueError as error:
            raise _Refused("invalid_json") from error
    async with request.form() as form:
        return params | {name: str(value) for name, value in form.items()}


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8082)
    parser.add_argument("--token", action="append", help="know only these tokens")
    options = parser.parse_args()
    server = FakeSlack(tokens=options.token, port=options.port)
    print(f"SLACK_API_BASE={server.api_base}", flush=True)
    server.run_here()


if __name__ == "__main__":
    main()
