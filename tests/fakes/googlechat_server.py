"""A strict local Chat API of Google's; with `googlechat_issuer`, whose tokens it takes.

In a test: `with GoogleIssuer(account) as issuer, FakeGoogleChat(issuer) as chat: …`. As a process:
`python -m tests.fakes.googlechat_server --port 8084`.
"""

from __future__ import annotations

import argparse
import itertools
import json
import re
from pathlib import Path
from typing import Any, Self

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.fakes.googlechat_issuer import GoogleIssuer, ServiceAccount
from tests.fakes.serving import BrokenConnection, Fault, Faults, Journal, LocalServer

MAX_BYTES = 32_000
# Who has written to the app, and where.
MET, MET_EMAIL, DIRECT_SPACE = "users/100000000000000000002", "bob@acme.example", "spaces/DDDDDIRECT"
_SPACE = re.compile(r"[A-Za-z0-9_-]{5,}")
_CLIENT_ID = re.compile(r"client-[a-z0-9-]{1,56}")
_REPLY_OPTIONS = {"REPLY_MESSAGE_OR_FAIL", "REPLY_MESSAGE_FALLBACK_TO_NEW_THREAD"}
_STATUSES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ALREADY_EXISTS",
    429: "RESOURCE_EXHAUSTED",
}
JSON = dict[str, Any]


class Refused(Exception):
    """An answer with an error."""

    def __init__(self, status: int, message: str, retry_after_s: int | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.retry_after_s = status, message, retry_after_s

    def answer(self) -> Response:
        """Make the answer."""
        error = {"code": self.status, "message": self.message, "status": _STATUSES[self.status]}
        headers = {} if self.retry_after_s is None else {"Retry-After": str(self.retry_after_s)}
        return JSONResponse({"error": error}, status_code=self.status, headers=headers)


class FakeGoogleChat:
    """The API. `sent` has the app's messages. `writes` is how many a space takes; without it, any number."""

    def __init__(self, issuer: GoogleIssuer, port: int = 0, *, writes: int | None = None) -> None:
        self.issuer = issuer
        self.sent, self.calls = Journal(), Journal()
        self.faults = Faults()
        self.uploads: dict[str, bytes] = {}
        self._writes = writes
        self._written: dict[str, int] = {}
        self._messages: dict[str, JSON] = {}
        self._by_request: dict[str, str] = {}
        self._numbers = itertools.count(1)
        message = "/v1/spaces/{space}/messages/{message}"
        routes = [
            Route("/v1/spaces", self._answer, methods=["GET"]),
            Route("/v1/spaces:findDirectMessage", self._answer, methods=["GET"]),
            Route("/v1/spaces/{space}/messages", self._answer, methods=["POST"]),
            Route(message, self._answer, methods=["GET", "PATCH", "DELETE"]),
            Route("/v1/media/{name:path}", self._media),
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

    def messages(self) -> list[JSON]:
        """List the messages that are there."""
        return list(self._messages.values())

    def forget_requests(self) -> None:
        """Forget which request made which message, as Google does after a while."""
        self._by_request.clear()

    def press(self, message: JSON, label: str, person: JSON) -> JSON:
        """Make the event of somebody who presses a button below one of the app's messages."""
        (card,) = message["cardsV2"]
        shown = card["card"]["sections"][0]["widgets"][0]["buttonList"]["buttons"]
        (button,) = [one for one in shown if one["text"] == label]
        action = button["onClick"]["action"]
        return {
            "type": "CARD_CLICKED",
            "eventTime": "2026-03-02T09:31:00.123456Z",
            "user": person,
            "space": {"name": message["name"].partition("/messages/")[0], "spaceType": "SPACE"},
            "message": message,
            "action": {"actionMethodName": action["function"], "parameters": action["parameters"]},
            "common": {"invokedFunction": action["function"]},
        }

    # --- The API -----------------------------------------------------------------------------------------

    async def _answer(self, request: Request) -> Response:
        body = await request.body()
        self.calls.add(
            {"method": request.method, "path": request.url.path, "params": dict(request.query_params)}
        )
        try:
            self._check_token(request)
            fault = self.faults.take(request.method)
            if fault is not None and fault.how != "drop":
                return _failure(fault)
            result = self._do(request, json.loads(body) if body else {}, len(body))
        except Refused as refused:
            return refused.answer()
        return BrokenConnection() if fault is not None else JSONResponse(result)

    def _check_token(self, request: Request) -> None:
        if not self.issuer.is_good(request.headers.get("authorization", "").removeprefix("Bearer ")):
            raise Refused(401, "Request had invalid authentication credentials.")

    def _do(self, request: Request, body: JSON, size: int) -> JSON:
        if request.url.path.endswith(":findDirectMessage"):
            if request.query_params.get("name") not in (MET, f"users/{MET_EMAIL}"):
                raise Refused(404, "Direct message not found.")
            return {"name": DIRECT_SPACE, "spaceType": "DIRECT_MESSAGE", "singleUserBotDm": True}
        if "space" not in request.path_params:
            return {"spaces": []}
        space = request.path_params["space"]
        if not _SPACE.fullmatch(space):
            raise Refused(404, "Space not found.")
        if request.method == "GET":
            return self._find(space, request.path_params["message"])
        self._count(space)
        if size > MAX_BYTES:
            raise Refused(400, "Message is too large.")
        if request.method == "POST":
            return self._create(space, body, dict(request.query_params))
        message = self._find(space, request.path_params["message"])
        if request.method == "DELETE":
            del self._messages[message["name"]]
            return {}
        return self._patch(message, body, request.query_params.get("updateMask", ""))

    def _count(self, space: str) -> None:
        self._written[space] = self._written.get(space, 0) + 1
        if self._writes is not None and self._written[space] > self._writes:
            raise Refused(429, "Quota exceeded for writes per minute per space.")

    def _create(self, space: str, body: JSON, params: JSON) -> JSON:
        self._check_body(body)
        request_id, client_id = params.get("requestId"), params.get("messageId")
        if request_id and (known := self._messages.get(self._by_request.get(request_id, ""))):
            return known
        if client_id is not None and not _CLIENT_ID.fullmatch(client_id):
            raise Refused(400, "Invalid message id.")
        if client_id is not None and any(
            one["name"].startswith(f"spaces/{space}/") and one.get("clientAssignedMessageId") == client_id
            for one in self._messages.values()
        ):
            raise Refused(409, "Message already exists.")
        name = f"spaces/{space}/messages/m{next(self._numbers):05d}.m{next(self._numbers):05d}"
        message = {"name": name, **body, "thread": self._thread(space, body, params)}
        if client_id is not None:
            message["clientAssignedMessageId"] = client_id
        self._messages[name] = message
        if request_id:
            self._by_request[request_id] = name
        self.sent.add(message)
        return message

    def _thread(self, space: str, body: JSON, params: JSON) -> JSON:
        named = (body.get("thread") or {}).get("name")
        if named is None:
            return {"name": f"spaces/{space}/threads/t{next(self._numbers)}"}
        if not named.startswith(f"spaces/{space}/threads/"):
            raise Refused(400, "Invalid thread.")
        if params.get("messageReplyOption") not in _REPLY_OPTIONS:
            # Without the option the thread is left aside, which nobody wants who names one.
            raise Refused(400, "messageReplyOption is missing.")
        return {"name": named}

    def _patch(self, message: JSON, body: JSON, mask: str) -> JSON:
        if not mask or set(mask.split(",")) - {"text", "cardsV2"}:
            raise Refused(400, "Invalid update mask.")
        changed = {name: body.get(name) for name in mask.split(",")}
        self._check_body(message | changed)
        message |= changed
        return message

    def _check_body(self, body: JSON) -> None:
        if set(body) - {
            "text",
            "cardsV2",
            "thread",
            "privateMessageViewer",
            "name",
            "clientAssignedMessageId",
        }:
            raise Refused(400, "Unknown field.")
        if not str(body.get("text") or "").strip() and not body.get("cardsV2"):
            raise Refused(400, "Message cannot be empty.")
        for card in body.get("cardsV2") or []:
            _check_card(card)

    def _find(self, space: str, message_id: str) -> JSON:
        for message in self._messages.values():
            is_here = message["name"].startswith(f"spaces/{space}/")
            if is_here and (
                message["name"].endswith(f"/{message_id}")
                or message.get("clientAssignedMessageId") == message_id
            ):
                return message
        raise Refused(404, "Message not found.")

    async def _media(self, request: Request) -> Response:
        try:
            self._check_token(request)
            data = self.uploads.get(request.path_params["name"])
            if data is None or request.query_params.get("alt") != "media":
                raise Refused(404, "Media not found.")
        except Refused as refused:
            return refused.answer()
        return Response(data, media_type="application/octet-stream")


def _check_card(card: JSON) -> None:
    for section in card["card"]["sections"]:
        for widget in section["widgets"]:
            for button in widget["buttonList"]["buttons"]:
                click = button["onClick"]
                is_link = str(click.get("openLink", {}).get("url", "")).startswith("https://")
                is_action = bool(click.get("action", {}).get("function"))
                if not button.get("text") or not (is_link or is_action):
                    raise Refused(400, "Invalid card.")


def _failure(fault: Fault) -> Response:
    match fault.how:
        case "throttle":
            return Refused(429, "Quota exceeded.", fault.retry_after_s).answer()
        case "error":
            return Response("upstream failure", status_code=503)
    return Refused(403, "The caller does not have permission").answer()


def main() -> None:
    """Serve until interrupted; the key of the service account is written beside the process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8084)
    parser.add_argument("--key-file", type=Path, default=Path("service-account.json"))
    options = parser.parse_args()
    account = ServiceAccount("slipway@acme-chat.iam.gserviceaccount.com")
    options.key_file.write_text(account.json_key)
    with GoogleIssuer(account) as issuer:
        server = FakeGoogleChat(issuer, port=options.port)
        print(f"GOOGLECHAT_API_BASE={server.url}", flush=True)
        for name, value in issuer.settings().items():
            print(f"{name}={value}", flush=True)
        server.run_here()


if __name__ == "__main__":
    main()
