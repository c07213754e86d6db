"""A strict local receiver of signed webhooks, with controls for tests under `/__control`.

In a test: `with FakeReceiver() as receiver: …`. As a process: `python -m tests.fakes.webhook_server --port 8083`.
It checks each signature and its time, takes each `webhook-id` once, knows the chats that it was given, and gives files
to who signs for them.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import hmac
import itertools
import json
import time
from collections.abc import Collection
from typing import Any, Self

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.fakes.serving import BrokenConnection, Fault, Faults, Journal, LocalServer

SECRET = "whsec_" + base64.b64encode(b"the secret of both sides, 32 b.!").decode()
WINDOW_S = 300
JSON = dict[str, Any]


def sign(body: bytes, secret: str, webhook_id: str, ts: int) -> dict[str, str]:
    """Make the headers of a signed call, as the specification has it."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    digest = hmac.new(key, f"{webhook_id}.{ts}.".encode() + body, hashlib.sha256).digest()
    return {
        "content-type": "application/json",
        "webhook-id": webhook_id,
        "webhook-timestamp": str(ts),
        "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
    }


class FakeReceiver:
    """The receiver, its state, and what tests ask of it. `sent` has the messages, `calls` every event that it took."""

    def __init__(self, secret: str = SECRET, chats: Collection[str] | None = None, port: int = 0) -> None:
        self.secret = secret
        self.chats = chats
        self.sent = Journal()
        self.calls = Journal()
        self.faults = Faults()
        self.files: dict[str, bytes] = {}
        self.hook_url = ""
        self._messages: dict[str, JSON] = {}
        self._taken: dict[str, str] = {}
        self._numbers = itertools.count(1)
        routes = [
            Route("/hook", self._answer, methods=["POST"]),
            Route("/files/{name}", self._file, methods=["GET"]),
            Route("/__control/{what}", self._control, methods=["GET", "POST"]),
        ]
        self._server = LocalServer(Starlette(routes=routes), port)
        self.url = self._server.url

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop()

    def run_here(self) -> None:
        """Serve on this thread."""
        self._server.run_here()

    # --- What people do ----------------------------------------------------------------------------------

    def message(self, chat: str, text: str, **fields: Any) -> JSON:
        """Make the event of a message that somebody writes; `fields` are added to it."""
        event = {
            "type": "message",
            "id": f"m{next(self._numbers)}",
            "chat": {"id": chat, "kind": "direct", "title": "Ann"},
            "sender": {"id": "u1", "name": "Ann"},
            "text": text,
        }
        return event | fields

    def deliver(self, event: JSON, webhook_id: str | None = None) -> httpx.Response:
        """Post an event, signed, to the link."""
        body = json.dumps(event).encode()
        headers = sign(body, self.secret, webhook_id or f"evt_{next(self._numbers)}", int(time.time()))
        return httpx.post(self.hook_url, content=body, headers=headers, timeout=10)

    # --- The receiver ------------------------------------------------------------------------------------

    async def _answer(self, request: Request) -> Response:
        body = await request.body()
        if not self._is_signed(request, body):
            return JSONResponse({"error": "signature"}, status_code=401)
        event: JSON = json.loads(body)
        fault = self.faults.take(event["type"])
        if fault is not None and fault.how != "drop":
            return _failure(fault)
        webhook_id = request.headers["webhook-id"]
        self.calls.add({"id": webhook_id, "event": event})
        status, said = self._take(webhook_id, event)
        return BrokenConnection() if fault is not None else JSONResponse(said, status_code=status)

    def _is_signed(self, request: Request, body: bytes) -> bool:
        webhook_id, ts = request.headers.get("webhook-id", ""), request.headers.get("webhook-timestamp", "")
        if not webhook_id or not ts.isdecimal() or abs(time.time() - int(ts)) > WINDOW_S:
            return False
        expected = sign(body, self.secret, webhook_id, int(ts))["webhook-signature"]
        return hmac.compare_digest(expected, request.headers.get("webhook-signature", ""))

    def _take(self, webhook_id: str, event: JSON) -> tuple[int, JSON]:
        if event["type"] == "link.connected":
            self.hook_url = event["hook_url"]
            return 200, {"bot": {"id": "agent-1", "name": "Agent"}}
        if event["type"] in ("link.disconnected", "link.check"):
            return 200, {}
        if self.chats is not None and event["chat"]["id"] not in self.chats:
            return 404, {"error": "no such chat"}
        match event["type"]:
            case "message":
                return 200, {"id": self._keep(webhook_id, event)}
            case "message.find":
                found = self._taken.get(event["webhook_id"])
                return (200, {"id": found}) if found else (404, {"error": "not found"})
            case "message.edited" if event["message_id"] in self._messages:
                self._messages[event["message_id"]]["text"] = event["text"]
                return 200, {}
            case "message.deleted" if event["message_id"] in self._messages:
                del self._messages[event["message_id"]]
                return 200, {}
            case "message.edited" | "message.deleted" | "press.answered":
                return 404, {"error": "not found"}
        return 400, {"error": "unknown type"}

    def _keep(self, webhook_id: str, event: JSON) -> str:
        if webhook_id not in self._taken:
            message_id = self._taken[webhook_id] = f"r{next(self._numbers)}"
            self._messages[message_id] = event
            self.sent.add({"id": message_id, "message": event})
        return self._taken[webhook_id]

    async def _file(self, request: Request) -> Response:
        if not self._is_signed(request, b""):
            return JSONResponse({"error": "signature"}, status_code=401)
        if (fault := self.faults.take("download")) is not None:
            return _failure(fault)
        data = self.files.get(request.path_params["name"])
        return Response(data) if data is not None else JSONResponse({"error": "not found"}, status_code=404)

    async def _control(self, request: Request) -> Response:
        match request.path_params["what"]:
            case "sent":
                return JSONResponse({"messages": self.sent.all()})
            case "calls":
                return JSONResponse({"calls": self.calls.all()})
            case "fail":
                self.faults.plan(Fault(**await request.json()))
                return JSONResponse({})
        return JSONResponse({"error": "unknown control"}, status_code=404)


def _failure(fault: Fault) -> Response:
    match fault.how:
        case "throttle":
            return JSONResponse({}, status_code=429, headers={"Retry-After": str(fault.retry_after_s)})
        case "error":
            return Response("failure", status_code=500)
        case "forbid":
            return JSONResponse({"error": "forbidden"}, status_code=403)
        case status:
            return JSONResponse({}, status_code=int(status), headers={"Location": "http://127.0.0.1:1/"})


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8083)
    server = FakeReceiver(port=parser.parse_args().port)
    print(f"WEBHOOK_API_BASE={server.url}", flush=True)
    server.run_here()


if __name__ == "__main__":
    main()
