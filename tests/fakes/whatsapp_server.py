"""A strict local Cloud API of WhatsApp with signed webhooks, and controls for tests under `/__control`.

In a test: `with FakeWhatsapp() as whatsapp: …`. As a process: `python -m tests.fakes.whatsapp_server --port 8083`.
By default any token is good for any number, and every chat is open; put people into `closed` whose 24 hours are over.
"""

from __future__ import annotations

import argparse
import hashlib
import hmac
import itertools
import json
import re
import secrets
import time
from collections.abc import Collection
from typing import Any, Self

import httpx
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from tests.fakes.serving import BrokenConnection, Fault, Faults, Journal, LocalServer

JSON = dict[str, Any]
NUMBER_ID = "106540352242922"
NAME = "Acme"
PERSON, PERSON_ID = "16315551181", "US.13491208655302741918"
GROUP_ID = "Y2FwaV9ncm91cDoxNzA1NTU1MDEzOToxMjAzNjM0MDQ2OTQyMzM4MjAZD"
_OFFICE = "application/vnd.openxmlformats-officedocument"
_UPLOADS = {
    "text/plain", "application/pdf", "application/msword", "application/vnd.ms-excel", "application/vnd.ms-powerpoint",
    f"{_OFFICE}.wordprocessingml.document", f"{_OFFICE}.spreadsheetml.sheet", f"{_OFFICE}.presentationml.presentation",
    "image/jpeg", "image/png", "image/webp", "audio/aac", "audio/amr", "audio/mpeg", "audio/mp4", "audio/ogg",
    "video/mp4", "video/3gpp",
}  # fmt: skip


def sign(body: bytes, secret: str) -> dict[str, str]:
    """Make the headers with which Meta signs a call."""
    digest = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    return {"content-type": "application/json", "x-hub-signature-256": f"sha256={digest}"}


class Refused(Exception):
    """An answer with an error of the Graph API."""

    def __init__(self, code: int, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.code, self.status = code, status


class Media:
    """What was uploaded, and what people sent. `files` are those that went out in a message."""

    def __init__(self) -> None:
        self.files = Journal()
        self.kept: dict[str, JSON] = {}

    def keep(self, data: bytes, content_type: str, name: str = "") -> str:
        """Keep a file; returns its id."""
        media_id = secrets.token_hex(8)
        self.kept[media_id] = {"data": data, "content_type": content_type, "name": name}
        return media_id


class FakeWhatsapp:
    """The server, its state, and what tests ask of it. `sent` has the messages, `calls` every API call."""

    def __init__(self, tokens: Collection[str] | None = None, port: int = 0) -> None:
        self.tokens = tokens
        self.sent, self.calls, self.reactions, self.read = Journal(), Journal(), Journal(), Journal()
        self.commands: list[JSON] = []
        self.faults = Faults()
        self.closed: set[str] = set()
        self.templates = {("news", "en")}
        self.subscription: tuple[str, str] | None = None
        self.checks_hooks = False
        self.hook: JSON = {}
        self.status, self.quality = "CONNECTED", "GREEN"
        self.extras = Media()
        self._numbers = itertools.count(1)
        self._server = LocalServer(self._app(), port)
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

    def subscribe(self, url: str, app_secret: str) -> None:
        """Send events to this address, as the app's settings say."""
        self.subscription = (url, app_secret)

    def message(self, text: str, **fields: Any) -> JSON:
        """Make the call for a text that somebody writes; `fields` are added to the message."""
        message = {
            "from": PERSON,
            "from_user_id": PERSON_ID,
            "id": f"wamid.in{next(self._numbers):08d}",
            "timestamp": str(int(time.time())),
            "type": "text",
            "text": {"body": text},
        } | fields
        person = {"profile": {"name": "Bob"}, "wa_id": PERSON, "user_id": PERSON_ID}
        return self.call({"contacts": [person], "messages": [message]})

    def status_of(self, message_id: str, status: str, code: int | None = None) -> JSON:
        """Make the call for what becomes of a message of the number's."""
        found = {
            "id": message_id,
            "status": status,
            "timestamp": str(int(time.time())),
            "recipient_id": PERSON,
        }
        # What a message carried comes back with every report on it, and only then.
        for entry in self.sent.all():
            if entry["id"] == message_id and "biz_opaque_callback_data" in entry["params"]:
                found["biz_opaque_callback_data"] = entry["params"]["biz_opaque_callback_data"]
        errors = {"errors": [{"code": code, "title": "x", "message": "x"}]} if code is not None else {}
        return self.call({"statuses": [found | errors]})

    def call(self, value: JSON, name: str = "messages", number_id: str = NUMBER_ID) -> JSON:
        """Wrap what happened as the webhook does."""
        metadata = {"display_phone_number": "15550783881", "phone_number_id": number_id}
        whole = {"messaging_product": "whatsapp", "metadata": metadata} | value
        return {
            "object": "whatsapp_business_account",
            "entry": [{"id": "102290129340398", "changes": [{"value": whole, "field": name}]}],
        }

    def deliver(self, call: JSON) -> httpx.Response:
        """Post a call, signed, to the subscribed address."""
        if self.subscription is None:
            raise LookupError("nothing is subscribed")
        url, secret = self.subscription
        body = json.dumps(call).encode()
        return httpx.post(url, content=body, headers=sign(body, secret), timeout=10)

    # --- The API -----------------------------------------------------------------------------------------

    def _app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/__control/{what}", self._control, methods=["GET", "POST"]),
                Route("/kept/{media_id}", self._bytes),
                Route("/v25.0/{node}", self._node, methods=["GET", "POST"]),
                Route("/v25.0/{node}/media", self._upload, methods=["POST"]),
                Route("/v25.0/{node}/conversational_automation", self._automate, methods=["POST"]),
                Route("/v25.0/{node}/messages", self._messages, methods=["POST"]),
            ]
        )

    async def _answered(self, request: Request, what: str, work: Any) -> Response:
        try:
            self.calls.add({"what": what, "authorization": request.headers.get("authorization")})
            fault = self.faults.take(what)
            if fault is not None and fault.how != "drop":
                return _failure(fault)
            self._check_token(request)
            result = await work()
        except Refused as refused:
            return _error(refused.code, str(refused), refused.status)
        return BrokenConnection() if fault is not None else result

    def _check_token(self, request: Request) -> None:
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        if not token or (self.tokens is not None and token not in self.tokens):
            raise Refused(190, "Invalid OAuth access token - Cannot parse access token", 401)

    async def _node(self, request: Request) -> Response:
        return await self._answered(request, "node", lambda: self._read_node(request))

    async def _read_node(self, request: Request) -> Response:
        node = request.path_params["node"]
        if node in self.extras.kept and request.method == "GET":
            found = self.extras.kept[node]
            return JSONResponse(
                {
                    "id": node, "messaging_product": "whatsapp", "mime_type": found["content_type"],
                    "file_size": len(found["data"]), "url": found.get("url") or f"{self.url}/kept/{node}",
                    "sha256": hashlib.sha256(found["data"]).hexdigest(),
                }
            )  # fmt: skip
        if node != NUMBER_ID:
            raise Refused(100, f"Unsupported request. Object with ID '{node}' does not exist", 404)
        if request.method == "POST":
            return await self._set_hook((await request.json())["webhook_configuration"])
        known = {
            "id": node, "display_phone_number": "+1 555-078-3881", "verified_name": NAME, "status": self.status,
            "quality_rating": self.quality, "webhook_configuration": self.hook,
        }  # fmt: skip
        wanted = request.query_params.get("fields", "id").split(",")
        return JSONResponse({name: known[name] for name in wanted})

    async def _set_hook(self, wanted: JSON) -> Response:
        """Set the number's own webhook, and call it as Meta does before it takes it."""
        url = wanted["override_callback_uri"]
        if url and self.checks_hooks:
            query = {
                "hub.mode": "subscribe",
                "hub.challenge": "1158201444",
                "hub.verify_token": wanted["verify_token"],
            }
            try:
                answer = await run_in_threadpool(httpx.get, url, params=query, timeout=10)
            except httpx.HTTPError as error:
                raise Refused(2200, "Callback verification failed") from error
            if answer.status_code != 200 or answer.text != "1158201444":
                raise Refused(2200, "Callback verification failed")
        self.hook = {"phone_number": url} if url else {}
        return JSONResponse({"success": True})

    async def _automate(self, request: Request) -> Response:
        return await self._answered(request, "automate", lambda: self._set_commands(request))

    async def _set_commands(self, request: Request) -> Response:
        commands = (await request.json())["commands"]
        names = [str(command["command_name"]) for command in commands]
        is_short = all(
            1 <= len(command["command_name"]) <= 32 and 1 <= len(command["command_description"]) <= 256
            for command in commands
        )
        if (
            request.path_params["node"] != NUMBER_ID
            or len(names) > 30
            or len({*names}) < len(names)
            or not is_short
        ):
            raise Refused(100, "Invalid parameter")
        self.commands = commands
        return JSONResponse({"success": True})

    async def _upload(self, request: Request) -> Response:
        return await self._answered(request, "media", lambda: self._keep_upload(request))

    async def _keep_upload(self, request: Request) -> Response:
        async with request.form() as form:
            upload = form["file"]
            assert not isinstance(upload, str)
            content_type = str(form.get("type") or upload.content_type)
            if form.get("messaging_product") != "whatsapp":
                raise Refused(100, "(#100) The parameter messaging_product is required.")
            if content_type not in _UPLOADS:
                raise Refused(
                    100, f"(#100) Param file must be a file with one of the following types: {_UPLOADS}"
                )
            media_id = self.extras.keep(await upload.read(), content_type, upload.filename or "")
        return JSONResponse({"id": media_id})

    async def _bytes(self, request: Request) -> Response:
        self._check_token(request)
        found = self.extras.kept[request.path_params["media_id"]]
        return Response(found["data"], media_type=found["content_type"])

    async def _messages(self, request: Request) -> Response:
        return await self._answered(request, "messages", lambda: self._take(request))

    async def _take(self, request: Request) -> Response:
        given: JSON = await request.json()
        if request.path_params["node"] != NUMBER_ID or given.get("messaging_product") != "whatsapp":
            raise Refused(100, "(#100) Invalid parameter")
        if given.get("status") == "read":
            return self._take_read(given)
        to = str(given.get("to") or given.get("recipient") or "")
        known = r"\+?[0-9]{5,20}" if given.get("to") else r"[A-Z]{2}\.[A-Za-z0-9.]{1,128}"
        kind = given.get("type", "text")
        if given.get("recipient_type") == "group":
            self._check_group(to, kind)
        elif not re.fullmatch(known, to):
            raise Refused(131009, "(#131009) Parameter value is not valid")
        _require(len(str(given.get("biz_opaque_callback_data", ""))) <= 512)
        if to in self.closed and kind not in ("template", "reaction"):
            raise Refused(131047, "(#131047) Re-engagement message")
        text = self._text_of(kind, given.get(kind) or {})
        message_id = f"wamid.out{next(self._numbers):08d}"
        self.sent.add({"to": to, "type": kind, "text": text, "params": given, "id": message_id})
        return JSONResponse({"messaging_product": "whatsapp", "messages": [{"id": message_id}]})

    def _check_group(self, group_id: str, kind: str) -> None:
        if group_id != GROUP_ID:
            raise Refused(131041, "(#131041) Group unknown")
        if kind in ("interactive", "reaction"):
            raise Refused(131051, "(#131051) Unsupported message type")

    def _take_read(self, given: JSON) -> Response:
        if not str(given.get("message_id", "")).startswith("wamid."):
            raise Refused(131009, "(#131009) Parameter value is not valid")
        # Messages in groups cannot be marked.
        _require(not str(given["message_id"]).startswith("wamid.group"))
        self.read.add(given)
        return JSONResponse({"success": True})

    def _text_of(self, kind: str, body: JSON) -> str:
        """Check a message of its kind as strictly as the platform does, and return what is seen of it."""
        match kind:
            case "text":
                _require(1 <= len(str(body.get("body", "")).strip()) <= 4096)
                return str(body["body"])
            case "interactive":
                return _read_card(body)
            case "reaction":
                _require(
                    str(body.get("message_id", "")).startswith("wamid.") and 0 < len(body["emoji"]) <= 12
                )
                self.reactions.add(body)
                return str(body["emoji"])
            case "template":
                return self._read_template(body)
            case "image" | "audio" | "video" | "document":
                return self._read_media(kind, body)
        raise Refused(131051, "(#131051) Unsupported message type")

    def _read_media(self, kind: str, body: JSON) -> str:
        found = self.extras.kept.get(str(body.get("id")))
        if found is None:
            raise Refused(100, "(#100) Invalid media id")
        is_document = kind == "document"
        _require(is_document != found["content_type"].startswith(("image/", "audio/", "video/")))
        _require(len(body.get("caption", "")) <= 1024 and not (kind == "audio" and "caption" in body))
        name = body.get("filename") if is_document else found["name"]
        self.extras.files.add({"name": name, "data": found["data"], "caption": body.get("caption", "")})
        return str(body.get("caption", ""))

    def _read_template(self, body: JSON) -> str:
        if (body.get("name"), body.get("language", {}).get("code")) not in self.templates:
            raise Refused(132001, "(#132001) Template name does not exist in the translation", 404)
        (component,) = body["components"]
        if len(component["parameters"]) != 1:
            raise Refused(132000, "(#132000) Number of parameters does not match")
        text = str(component["parameters"][0]["text"])
        _require(component["type"] == "body" and 1 <= len(text) <= 1024)
        _require(not re.search(r"[\n\t]| {5}", text))
        return text

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
                self.subscribe(body["url"], body["app_secret"])
                return JSONResponse({})
            case "deliver":
                call = body.get("call") or self.message(str(body["text"]), **body.get("fields", {}))
                times = range(int(body.get("repeat", 1)))
                answers = [await run_in_threadpool(self.deliver, call) for _ in times]
                return JSONResponse({"call": call, "statuses": [answer.status_code for answer in answers]})
            case "reset":
                for journal in (self.sent, self.calls, self.reactions, self.read):
                    journal.clear()
                self.faults.clear()
                return JSONResponse({})
        return PlainTextResponse("unknown control", status_code=404)


def _read_card(body: JSON) -> str:
    text = str(body.get("body", {}).get("text", ""))
    _require(1 <= len(text) <= 1024)
    action = body["action"]
    match body.get("type"):
        case "button":
            replies = [each["reply"] for each in action["buttons"] if each["type"] == "reply"]
            _require(1 <= len(replies) <= 3 and len(replies) == len(action["buttons"]))
            _require(len({each["title"] for each in replies}) == len(replies))
            _require(all(1 <= len(each["title"]) <= 20 and 1 <= len(each["id"]) <= 256 for each in replies))
            ids = [each["id"] for each in replies]
        case "list":
            rows = [row for section in action["sections"] for row in section["rows"]]
            _require(1 <= len(rows) <= 10 and 1 <= len(action["button"]) <= 20)
            _require(all(1 <= len(row["title"]) <= 24 and 1 <= len(row["id"]) <= 200 for row in rows))
            ids = [row["id"] for row in rows]
        case _:
            raise Refused(131009, "(#131009) Parameter value is not valid")
    _require(len(set(ids)) == len(ids))
    return text


def _require(is_so: bool) -> None:
    if not is_so:
        raise Refused(131009, "(#131009) Parameter value is not valid")


def _failure(fault: Fault) -> Response:
    match fault.how:
        case "throttle":
            answer = _error(130429, "(#130429) Rate limit hit", 429)
            answer.headers["Retry-After"] = str(fault.retry_after_s)
            return answer
        case "error":
            return PlainTextResponse("upstream failure", status_code=500)
        case "forbid":
            return _error(131031, "(#131031) Business Account locked", 403)
        case "pair":
            return _error(131056, "(#131056) (Business Account, Consumer Account) pair rate limit hit", 400)
        case code:
            return _error(int(code), f"(#{code}) x", 400)


def _error(code: int, message: str, status: int) -> Response:
    error = {"message": message, "type": "OAuthException", "code": code, "fbtrace_id": "A4O5"}
    return JSONResponse({"error": error | {"error_data": {"details": "as it says"}}}, status)


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8083)
    options = parser.parse_args()
    server = FakeWhatsapp(port=options.port)
    print(f"WHATSAPP_API_BASE={server.url}", flush=True)
    server.run_here()


if __name__ == "__main__":
    main()
