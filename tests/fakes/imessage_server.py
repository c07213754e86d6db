"""A strict local BlueBubbles server.

In a test: `with FakeBlueBubbles("password") as mac: …`. As a process:
`python -m tests.fakes.imessage_server --port 8086`.
"""

from __future__ import annotations

import argparse
import itertools
import json
import re
import threading
import time
from typing import Any, Self

import httpx
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.fakes.serving import BrokenConnection, Fault, Faults, Journal, LocalServer

ACCOUNT = "slipway@icloud.example"
BOB = "+15550100"
DIRECT, GROUP = f"iMessage;-;{BOB}", "iMessage;+;chat831551415676550949"
_CHAT = re.compile(r"iMessage;[-+];\S+")
_REACTIONS = {"love", "like", "dislike", "laugh", "emphasize", "question"}
_EVENTS = {"new-message", "updated-message", "typing-indicator", "chat-read-status-changed", "*"}
JSON = dict[str, Any]


class Refused(Exception):
    """An answer with an error."""

    def __init__(self, status: int, kind: str, message: str) -> None:
        super().__init__(message)
        self.status, self.kind, self.message = status, kind, message

    def answer(self) -> Response:
        """Make the answer."""
        error = {"type": self.kind, "message": self.message}
        return JSONResponse(
            {"status": self.status, "message": self.kind, "error": error}, status_code=self.status
        )


class FakeBlueBubbles:
    """The server. `sent` has the bot's messages; `hold` keeps one of them on its way until it is set."""

    def __init__(self, password: str, port: int = 0, *, has_private_api: bool = True) -> None:
        self.password, self.has_private_api = password, has_private_api
        self.sent, self.calls, self.files = Journal(), Journal(), Journal()
        self.reactions, self.typing = Journal(), Journal()
        self.extras = self
        self.faults = Faults()
        self.hooks: dict[int, JSON] = {}
        self.attachments: dict[str, bytes] = {}
        self.account: str | None = ACCOUNT
        self.hold: threading.Event | None = None
        self._sending: set[str] = set()
        self._numbers = itertools.count(1)
        routes = [
            Route("/api/v1/server/info", self._answer),
            Route("/api/v1/webhook", self._answer, methods=["GET", "POST"]),
            Route("/api/v1/webhook/{id:int}", self._answer, methods=["DELETE"]),
            Route("/api/v1/message/{what}", self._answer, methods=["POST"]),
            Route("/api/v1/chat/{guid}/typing", self._answer, methods=["POST", "DELETE"]),
            Route("/api/v1/attachment/{guid}/download", self._download),
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

    def write(self, chat: str, text: str, *, kind: str = "new-message", **fields: Any) -> JSON:
        """Let Bob write a message, and return the webhook of it."""
        message: JSON = {
            "originalROWID": next(self._numbers),
            "guid": f"{next(self._numbers):08X}-0000-4000-8000-000000000000",
            "text": text,
            "attributedBody": [],
            "handle": {"originalROWID": 1, "address": BOB, "service": "iMessage"},
            "attachments": [],
            "isFromMe": False,
            "itemType": 0,
            "associatedMessageType": None,
            "dateCreated": int(time.time() * 1_000),
            "dateEdited": None,
            "dateRetracted": None,
            "chats": [{"guid": chat, "style": 45 if ";-;" in chat else 43, "displayName": ""}],
        }
        return {"type": kind, "data": message | fields}

    def deliver(self, hook: JSON) -> list[int]:
        """Post a webhook wherever it is wanted, unsigned."""
        return [
            httpx.post(one["url"], json=hook, timeout=10).status_code
            for one in self.hooks.values()
            if {hook["type"], "*"} & set(one["events"])
        ]

    # --- The API -----------------------------------------------------------------------------------------

    async def _answer(self, request: Request) -> Response:
        path = request.url.path.removeprefix("/api/v1/")
        self.calls.add({"method": request.method, "path": path})
        try:
            self._check_password(request)
            fault = self.faults.take(path)
            if fault is not None and fault.how != "drop":
                return _failure(fault)
            fields = await _fields(request)
            result = await run_in_threadpool(self._do, request.method, path, request.path_params, fields)
        except Refused as refused:
            return refused.answer()
        if fault is not None:
            return BrokenConnection()
        return JSONResponse({"status": 200, "message": "Success", "data": result})

    def _check_password(self, request: Request) -> None:
        if request.query_params.get("password") != self.password:
            raise Refused(401, "Unauthorized", "Invalid password")

    def _do(self, method: str, path: str, named: JSON, fields: JSON) -> Any:
        match method, path.partition("/")[0]:
            case _, "server":
                return {
                    "server_version": "1.9.9",
                    "private_api": self.has_private_api,
                    "helper_connected": self.has_private_api,
                    "detected_imessage": self.account,
                }
            case "GET", "webhook":
                return list(self.hooks.values())
            case "POST", "webhook":
                return self._make_hook(fields)
            case "DELETE", "webhook":
                if self.hooks.pop(named["id"], None) is None:
                    raise Refused(404, "Database Error", "Webhook does not exist")
                return None
            case _, "chat":
                self._need_private_api()
                self.typing.add({"chat": named["guid"]})
                return None
        return self._message(named["what"], fields)

    def _make_hook(self, fields: JSON) -> JSON:
        events = fields.get("events")
        if not str(fields.get("url", "")).startswith("http") or not events or set(events) - _EVENTS:
            raise Refused(400, "Validation Error", "A webhook needs a url and events")
        hook = {"id": next(self._numbers), "url": fields["url"], "events": events}
        self.hooks[hook["id"]] = hook
        return hook

    def _message(self, what: str, fields: JSON) -> Any:
        if not _CHAT.fullmatch(str(fields.get("chatGuid", ""))):
            raise Refused(404, "Database Error", "Chat does not exist")
        match what:
            case "query":
                return self._list(fields)
            case "react":
                return self._react(fields)
            case "text" if str(fields.get("message", "")).strip():
                return self._send(fields, str(fields["message"]))
            case "attachment" if fields.get("attachment") and fields.get("name"):
                _, data = fields["attachment"]
                made = self._send(fields, "\ufffc", is_listed=False)
                self.files.add({"name": fields["name"], "data": data})
                return made
        raise Refused(400, "Validation Error", "The message is empty")

    def _send(self, fields: JSON, text: str, *, is_listed: bool = True) -> JSON:
        temp_guid = fields.get("tempGuid")
        if fields.get("method") not in ("apple-script", "private-api") or not temp_guid:
            raise Refused(400, "Validation Error", "A tempGuid and a method are needed")
        if fields["method"] == "private-api" or fields.get("selectedMessageGuid"):
            self._need_private_api()
        if temp_guid in self._sending:
            raise Refused(
                400, "Bad Request", f"Message is already queued to be sent! (Temp GUID: {temp_guid})"
            )
        self._sending.add(temp_guid)
        try:
            if self.hold is not None:
                self.hold.wait(10)
        finally:
            self._sending.discard(temp_guid)
        guid = f"{next(self._numbers):08X}-1111-4000-8000-000000000000"
        message = {"guid": guid, "text": text, "tempGuid": temp_guid, "isFromMe": True, "fields": fields}
        message["dateCreated"] = int(time.time() * 1_000)
        if is_listed:
            self.sent.add(message)
        return {name: value for name, value in message.items() if name != "fields"}

    def _list(self, fields: JSON) -> list[JSON]:
        """List the messages of a chat after a moment, in ms."""
        if fields.get("sort") not in ("ASC", "DESC") or not 0 < int(fields.get("limit", 100)) <= 1_000:
            raise Refused(400, "Validation Error", "The sort or the limit is invalid")
        here = [
            {name: value for name, value in message.items() if name != "fields"}
            for message in self.sent.all()
            if message["fields"]["chatGuid"] == fields["chatGuid"]
            and message["dateCreated"] > int(fields.get("after") or 0)
        ]
        return (here if fields["sort"] == "ASC" else here[::-1])[: int(fields.get("limit", 100))]

    def _react(self, fields: JSON) -> JSON:
        self._need_private_api()
        known = {message["guid"] for message in self.sent.all()}
        if fields.get("reaction") not in _REACTIONS:
            raise Refused(400, "Validation Error", "Invalid reaction")
        if fields.get("selectedMessageGuid") not in known:
            raise Refused(404, "Database Error", "Selected message does not exist!")
        self.reactions.add({"guid": fields["selectedMessageGuid"], "reaction": fields["reaction"]})
        return {"guid": "reaction"}

    def _need_private_api(self) -> None:
        if not self.has_private_api:
            raise Refused(500, "iMessage Error", "iMessage Private API is not enabled!")

    async def _download(self, request: Request) -> Response:
        try:
            self._check_password(request)
            data = self.attachments.get(request.path_params["guid"])
            if data is None:
                raise Refused(404, "Database Error", "Attachment does not exist!")
        except Refused as refused:
            return refused.answer()
        return Response(data, media_type="application/octet-stream")


async def _fields(request: Request) -> JSON:
    if request.headers.get("content-type", "").startswith("multipart/form-data"):
        async with request.form() as form:
            return {
                name: (value.filename, await value.read()) if isinstance(value, UploadFile) else value
                for name, value in form.items()
            }
    body = await request.body()
    given: JSON = json.loads(body) if body else {}
    return given


def _failure(fault: Fault) -> Response:
    match fault.how:
        case "throttle":
            return Response(status_code=429, headers={"Retry-After": str(fault.retry_after_s)})
        case "error":
            return Refused(500, "Server Error", "Something broke").answer()
    return Refused(500, "iMessage Error", "Message failed to send").answer()


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8086)
    parser.add_argument("--password", default="password-for-trying")
    options = parser.parse_args()
    server = FakeBlueBubbles(options.password, port=options.port)
    print(f"IMESSAGE_API_BASE={server.url}", flush=True)
    server.run_here()


if __name__ == "__main__":
    main()
