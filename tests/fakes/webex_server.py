"""A strict local Webex REST API with signed webhooks.

In a test: `with FakeWebex() as webex: …`. As a process: `python -m tests.fakes.webex_server --port 8085`.
By default any token is the same bot; give `tokens` to know only those.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import hmac
import itertools
import json
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Any, Self

import httpx
from starlette.applications import Starlette
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.fakes.serving import BrokenConnection, Fault, Faults, Journal, LocalServer
from tests.fakes.webex_markdown import read_markdown

MAX_BYTES = 7_439
MAX_EDITS = 10
_RESOURCES = {"messages", "attachmentActions", "memberships", "rooms"}
JSON = dict[str, Any]


def identifier(kind: str, name: str) -> str:
    """Make an id as Webex does."""
    return base64.b64encode(f"ciscospark://us/{kind}/{name}".encode()).decode().rstrip("=")


BOT_ID = identifier("PEOPLE", "00000000-0000-4000-8000-000000000001")
BOB_ID = identifier("PEOPLE", "00000000-0000-4000-8000-000000000002")
BOB_EMAIL = "bob@acme.example"
DIRECT_ROOM = identifier("ROOM", "00000000-0000-4000-8000-00000000000d")
GROUP_ROOM = identifier("ROOM", "00000000-0000-4000-8000-00000000000e")


class Refused(Exception):
    """An answer with an error."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message

    def answer(self) -> Response:
        """Make the answer."""
        body = {"message": self.message, "errors": [{"description": self.message}], "trackingId": "SLIPWAY_1"}
        return JSONResponse(body, status_code=self.status)


class FakeWebex:
    """The API. `sent` has the bot's messages; `extras.files` what was uploaded."""

    def __init__(self, tokens: Collection[str] | None = None, port: int = 0) -> None:
        self.tokens = tokens
        self.sent, self.calls = Journal(), Journal()
        self.faults = Faults()
        self.extras = self
        self.files = Journal()
        self.contents: dict[str, tuple[str, str, bytes]] = {}
        self.hooks: dict[str, JSON] = {}
        self.people = {BOT_ID: "Slipway", BOB_ID: "Bob Builder"}
        self.rooms = {DIRECT_ROOM: ("direct", "Bob Builder"), GROUP_ROOM: ("group", "Building site")}
        self.messages: dict[str, JSON] = {}
        self._actions: dict[str, JSON] = {}
        self._numbers = itertools.count(1)
        routes = [
            Route("/v1/people/{id}", self._answer),
            Route("/v1/rooms/{id}", self._answer),
            Route("/v1/messages", self._answer, methods=["GET", "POST"]),
            Route("/v1/messages/direct", self._answer),
            Route("/v1/messages/{id}", self._answer, methods=["GET", "PUT", "DELETE"]),
            Route("/v1/attachment/actions/{id}", self._answer),
            Route("/v1/webhooks", self._answer, methods=["GET", "POST"]),
            Route("/v1/webhooks/{id}", self._answer, methods=["DELETE"]),
            Route("/v1/contents/{id}", self._content, methods=["GET", "HEAD"]),
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

    def write(self, room_id: str, text: str, *, mentions_bot: bool = False, **fields: Any) -> JSON:
        """Let Bob write a message, and return the hook of it."""
        message: JSON = {
            "id": identifier("MESSAGE", f"{next(self._numbers):08d}-0000-4000-8000-000000000000"),
            "roomId": room_id,
            "roomType": self.rooms[room_id][0],
            "text": f"Slipway {text}" if mentions_bot else text,
            "personId": BOB_ID,
            "personEmail": BOB_EMAIL,
            "created": _now(),
        }
        if mentions_bot:
            tag = (
                f'<spark-mention data-object-type="person" data-object-id="{BOT_ID}">Slipway</spark-mention>'
            )
            message |= {"html": f"<p>{tag} {text}</p>", "mentionedPeople": [BOT_ID]}
        message |= fields
        self.messages[message["id"]] = message
        return self.hook("messages", "created", message)

    def upload(self, name: str, content_type: str, data: bytes) -> str:
        """Let Bob upload a file, and return its address."""
        number = f"{next(self._numbers):08d}"
        self.contents[number] = (name, content_type, data)
        return f"{self.url}/v1/contents/{number}"

    def press(self, message: JSON, label: str) -> JSON:
        """Let Bob press a button below one of the bot's messages, and return the hook of it."""
        (card,) = message["attachments"]
        (action,) = [one for one in card["content"]["actions"] if one["title"] == label]
        submitted = {
            "id": identifier("ATTACHMENT_ACTION", f"{next(self._numbers):08d}"),
            "type": "submit",
            "messageId": message["id"],
            "inputs": action["data"],
            "personId": BOB_ID,
            "roomId": message["roomId"],
            "created": _now(),
        }
        self._actions[submitted["id"]] = submitted
        return self.hook("attachmentActions", "created", submitted)

    def hook(self, resource: str, event: str, named: JSON) -> JSON:
        """Make the body of a webhook, which has ids and no words."""
        shown = (
            "id",
            "roomId",
            "roomType",
            "parentId",
            "personId",
            "personEmail",
            "created",
            "mentionedPeople",
        )
        return {
            "id": identifier("WEBHOOK", "1"),
            "name": "slipway",
            "resource": resource,
            "event": event,
            "orgId": identifier("ORGANIZATION", "1"),
            "createdBy": BOT_ID,
            "ownedBy": "creator",
            "status": "active",
            "created": _now(),
            "actorId": named["personId"],
            "data": {name: named[name] for name in shown if name in named},
        }

    def deliver(self, hook: JSON) -> list[httpx.Response]:
        """Post a hook to each webhook that wants it, signed."""
        wanted = [
            one
            for one in self.hooks.values()
            if one["status"] == "active"
            and (one["resource"], one["event"]) == (hook["resource"], hook["event"])
        ]
        body = json.dumps(hook).encode()
        return [
            httpx.post(one["targetUrl"], content=body, headers=sign(body, one["secret"].encode()), timeout=10)
            for one in wanted
        ]

    # --- The API -----------------------------------------------------------------------------------------

    async def _answer(self, request: Request) -> Response:
        path = request.url.path.removeprefix("/v1/")
        self.calls.add({"method": request.method, "path": path})
        fault: Fault | None = None
        try:
            self._check_token(request)
            fault = self.faults.take(f"{request.method} {path.partition('/')[0]}")
            if fault is not None and fault.how != "drop":
                return _failure(fault)
            result = self._do(request, path, await _fields(request))
        except Refused as refused:
            return BrokenConnection() if fault is not None else refused.answer()
        if fault is not None:
            return BrokenConnection()
        return Response(status_code=204) if result is None else JSONResponse(result)

    def _check_token(self, request: Request) -> None:
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        if not token or (self.tokens is not None and token not in self.tokens):
            raise Refused(
                401, "The request requires a valid access token set in the Authorization request header."
            )

    def _do(self, request: Request, path: str, fields: JSON) -> JSON | None:
        name, _, given_id = path.rpartition("/") if "id" in request.path_params else (path, "", "")
        match request.method, name:
            case "GET", "people":
                person_id = BOT_ID if given_id == "me" else given_id
                return {"id": person_id, "displayName": _known(self.people, person_id), "type": "person"}
            case "GET", "rooms":
                return {"id": given_id, "title": _known(self.rooms, given_id)[1]}
            case "GET", "attachment/actions":
                return dict(_known(self._actions, given_id))
            case "GET", "messages/direct":
                return {"items": self._direct(dict(request.query_params))}
            case "GET", "messages" if not given_id:
                return {"items": self._list(request.query_params)}
            case "GET", "messages":
                return dict(_known(self.messages, given_id))
            case "POST", "messages":
                return self._post(fields)
            case "PUT", "messages":
                return self._edit(_known(self.messages, given_id), fields)
            case "DELETE", "messages":
                self._own(_known(self.messages, given_id))
                del self.messages[given_id]
                return None
            case "GET", "webhooks":
                return {"items": list(self.hooks.values())}
            case "POST", "webhooks":
                return self._make_hook(fields)
        del self.hooks[_known(self.hooks, given_id)["id"]]
        return None

    def _direct(self, person: dict[str, str]) -> list[JSON]:
        self._known_person(person.get("personId"), person.get("personEmail"))
        found = [one for one in self.messages.values() if one["roomId"] == DIRECT_ROOM]
        if not found:
            raise Refused(404, "Unable to find the requested object.")
        return found

    def _known_person(self, person_id: str | None, email: str | None) -> None:
        if person_id != BOB_ID and email != BOB_EMAIL:
            raise Refused(404, "Unable to find the requested object.")

    def _post(self, fields: JSON) -> JSON:
        to = (fields.pop("toPersonId", None), fields.pop("toPersonEmail", None))
        if any(to):
            self._known_person(*to)
            fields["roomId"] = DIRECT_ROOM
        room_type, _ = _known(self.rooms, str(fields.get("roomId", "")))
        uploads, attachments = fields.pop("files", []), fields.get("attachments") or []
        if len(uploads) > 1 or len(attachments) > 1 or (uploads and attachments):
            raise Refused(400, "Only one file or attachment is allowed.")
        if "parentId" in fields and _known(self.messages, fields["parentId"]).get("parentId"):
            raise Refused(400, "The parent is a reply itself.")
        for attachment in attachments:
            _check_card(attachment)
        message = {
            "id": identifier("MESSAGE", f"{next(self._numbers):08d}-0000-4000-8000-000000000000"),
            "roomType": room_type,
            "personId": BOT_ID,
            "personEmail": "slipway@webex.bot",
            "created": _now(),
            "edits": 0,
            **fields,
            "text": _text(fields, needs_text=not uploads),
        }
        for name, data in uploads:
            message["files"] = [f"{self.url}/v1/contents/own"]
            self.files.add({"name": name, "data": data, "message": message})
        self.messages[message["id"]] = message
        self.sent.add(message)
        return message

    def _list(self, asked: Mapping[str, str]) -> list[JSON]:
        """List the messages of a room, the newest first; a bot has to ask for those in groups that mention it."""
        room_type, _ = _known(self.rooms, asked.get("roomId", ""))
        if room_type == "group" and asked.get("mentionedPeople") != "me":
            raise Refused(403, "Failed to get activity.")
        here = [
            message
            for message in self.messages.values()
            if message["roomId"] == asked["roomId"]
            and ("parentId" not in asked or message.get("parentId") == asked["parentId"])
            and (room_type == "direct" or BOT_ID in message.get("mentionedPeople", []))
        ]
        return here[::-1][: int(asked.get("max", 50))]

    def _edit(self, message: JSON, fields: JSON) -> JSON:
        self._own(message)
        if fields.get("roomId") != message["roomId"] or set(fields) - {"roomId", "markdown", "text"}:
            raise Refused(400, "The room of a message cannot be changed.")
        if message.get("attachments") or message.get("files"):
            raise Refused(400, "Messages with attachments cannot be edited.")
        if message["edits"] >= MAX_EDITS:
            raise Refused(400, "The message has been edited too often.")
        message |= {"text": _text(fields), "markdown": fields.get("markdown"), "edits": message["edits"] + 1}
        return message

    def _own(self, message: JSON) -> None:
        if message["personId"] != BOT_ID:
            raise Refused(403, "The message is somebody else's.")

    def _make_hook(self, fields: JSON) -> JSON:
        if not fields.get("name") or not str(fields.get("targetUrl", "")).startswith("http"):
            raise Refused(400, "A webhook needs a name and a targetUrl.")
        if fields.get("resource") not in _RESOURCES or fields.get("event") not in (
            "created",
            "updated",
            "deleted",
        ):
            raise Refused(400, "Unknown resource or event.")
        if any(_same_hook(one, fields) for one in self.hooks.values()):
            raise Refused(409, "A webhook with this address, resource and event exists.")
        hook = {"id": identifier("WEBHOOK", str(next(self._numbers))), "status": "active", **fields}
        self.hooks[hook["id"]] = hook
        return hook

    async def _content(self, request: Request) -> Response:
        try:
            self._check_token(request)
            name, content_type, data = _known(self.contents, request.path_params["id"])
        except Refused as refused:
            return refused.answer()
        fault = self.faults.take("contents")
        if fault is not None:
            return Response(status_code=423, headers={"Retry-After": str(fault.retry_after_s)})
        headers = {"Content-Disposition": f'attachment; filename="{name}"'}
        return Response(data, media_type=content_type, headers=headers)


def sign(body: bytes, secret: bytes) -> dict[str, str]:
    """Make the headers with which Webex signs a call."""
    digest = hmac.new(secret, body, hashlib.sha1).hexdigest()
    return {"content-type": "application/json", "x-spark-signature": digest}


def _known(found: Any, key: str) -> Any:
    if key not in found:
        raise Refused(404, "Unable to find the requested object.")
    return found[key]


def _text(fields: JSON, *, needs_text: bool = True) -> str:
    markdown = str(fields.get("markdown") or fields.get("text") or "")
    if needs_text and not markdown.strip():
        raise Refused(400, "Unable to post message without text or files.")
    if len(markdown.encode()) > MAX_BYTES:
        raise Refused(400, "The message is too long.")
    return read_markdown(markdown)


def _same_hook(one: JSON, fields: JSON) -> bool:
    return all(one.get(name) == fields.get(name) for name in ("targetUrl", "resource", "event"))


def _check_card(attachment: JSON) -> None:
    content = attachment.get("content") or {}
    is_card = attachment.get("contentType") == "application/vnd.microsoft.card.adaptive"
    if not is_card or content.get("version") not in ("1.0", "1.1", "1.2", "1.3"):
        raise Refused(400, "The card is of an unknown version.")
    if not content.get("body"):
        raise Refused(400, "The card has nothing to show.")
    for action in content.get("actions", []):
        if action["type"] not in ("Action.Submit", "Action.OpenUrl") or not action.get("title"):
            raise Refused(400, "The card has an unknown action.")


async def _fields(request: Request) -> JSON:
    if request.headers.get("content-type", "").startswith("multipart/form-data"):
        fields: JSON = {}
        async with request.form() as form:
            for name, value in form.multi_items():
                if isinstance(value, UploadFile):
                    fields.setdefault("files", []).append((value.filename, await value.read()))
                else:
                    fields[name] = value
        return fields
    body = await request.body()
    given: JSON = json.loads(body) if body else {}
    return given


def _failure(fault: Fault) -> Response:
    match fault.how:
        case "throttle":
            return JSONResponse({}, status_code=429, headers={"Retry-After": str(fault.retry_after_s)})
        case "error":
            return Response("upstream failure", status_code=502)
    return Refused(403, "The bot is not in this room.").answer()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8085)
    server = FakeWebex(port=parser.parse_args().port)
    print(f"WEBEX_API_BASE={server.url}", flush=True)
    server.run_here()


if __name__ == "__main__":
    main()
