"""A mailbox behind the Gmail REST API, and the authorization server beside it, strict about what they are sent."""

from __future__ import annotations

import base64
import binascii
import hashlib
import itertools
import json
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage, MIMEPart
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.fakes.google_oauth import GoogleOAuth
from tests.fakes.serving import Faults, Journal, LocalServer

ADDRESS = "alice@gmail.example"
SYSTEM_LABELS = ("INBOX", "SENT", "DRAFT", "UNREAD", "STARRED", "IMPORTANT", "TRASH", "SPAM")
# A part whose content is no larger comes with the message, and has no id to fetch it by.
MOST_INLINE = 10
_ROOT = "/gmail/v1/users/me"
_HEAD_FIELDS = frozenset({"format", "metadataHeaders"})


@dataclass
class StoredMail:
    """A message of the mailbox."""

    id: str
    thread_id: str
    mime: EmailMessage
    labels: list[str] = field(default_factory=list)


class GmailServer:
    """One mailbox. `calls` is what it was asked; `faults` are met by the next calls."""

    def __init__(self) -> None:
        self.oauth = GoogleOAuth()
        self.calls = Journal()
        self.faults = Faults()
        self.mails: dict[str, StoredMail] = {}
        self.drafts: dict[str, str] = {}
        self.labels = {name: name for name in SYSTEM_LABELS} | {"Label_1": "Work"}
        self._numbers = itertools.count(0x18C0FFEE)
        self.server = LocalServer(
            Starlette(
                routes=[
                    *self.oauth.routes(),
                    Route(f"{_ROOT}/profile", self._answered("profile", self._profile)),
                    Route(f"{_ROOT}/labels", self._answered("labels", self._labels)),
                    Route(f"{_ROOT}/messages", self._answered("list", self._list)),
                    Route(f"{_ROOT}/messages/send", self._answered("send", self._send), methods=["POST"]),
                    Route(f"{_ROOT}/messages/{{id}}", self._answered("get", self._get)),
                    Route(
                        f"{_ROOT}/messages/{{id}}/attachments/{{file_id}}",
                        self._answered("attachment", self._attachment),
                    ),
                    Route(
                        f"{_ROOT}/messages/{{id}}/modify",
                        self._answered("modify", self._modify),
                        methods=["POST"],
                    ),
                    Route(f"{_ROOT}/threads/{{id}}", self._answered("thread", self._thread)),
                    Route(f"{_ROOT}/drafts", self._answered("draft", self._draft), methods=["POST"]),
                ]
            )
        )

    @property
    def url(self) -> str:
        """Where the API and the authorization server are."""
        return self.server.url

    def receive(self, mime: EmailMessage, thread_id: str | None = None) -> StoredMail:
        """Put a message into the inbox."""
        return self._store(mime, ["INBOX", "UNREAD"], thread_id)

    def receive_text(self, sender: str, subject: str, text: str, **headers: str) -> StoredMail:
        """Put a plain message into the inbox."""
        mime = EmailMessage()
        mime["From"], mime["To"], mime["Subject"] = sender, ADDRESS, subject
        mime["Message-ID"] = f"<{len(self.mails)}@example.com>"
        for name, value in headers.items():
            mime[name.replace("_", "-")] = value
        mime.set_content(text)
        return self.receive(mime)

    def _store(self, mime: EmailMessage, labels: list[str], thread_id: str | None) -> StoredMail:
        number = f"{next(self._numbers):x}"
        stored = self.mails[number] = StoredMail(number, thread_id or number, mime, labels)
        return stored

    def _answered(self, what: str, answer: Any) -> Any:
        async def endpoint(request: Request) -> Response:
            body = await request.body()
            authorization = request.headers.get("authorization", "")
            query = dict(request.query_params)
            self.calls.add(
                {"what": what, "path": request.url.path, "query": query, "authorization": authorization}
            )
            if not self.oauth.takes(authorization):
                return _error(401, "UNAUTHENTICATED", "authError", "Invalid Credentials")
            fault = self.faults.take(what)
            if fault is not None:
                return _fault(fault.how, fault.retry_after_s)
            given: Any = None
            if request.method == "POST":
                if request.headers.get("content-type") != "application/json":
                    return _error(400, "INVALID_ARGUMENT", "badRequest", "Not JSON")
                given = json.loads(body)
            result: Response = answer(request, given)
            return result

        return endpoint

    def _profile(self, request: Request, given: Any) -> Response:
        return JSONResponse({"emailAddress": ADDRESS, "messagesTotal": len(self.mails), "historyId": "1"})

    def _labels(self, request: Request, given: Any) -> Response:
        kinds = {name: "system" if name in SYSTEM_LABELS else "user" for name in self.labels}
        return JSONResponse(
            {"labels": [{"id": key, "name": name, "type": kinds[key]} for key, name in self.labels.items()]}
        )

    def _list(self, request: Request, given: Any) -> Response:
        query = request.query_params
        if set(query) - {"q", "maxResults", "pageToken"} or not 1 <= int(query["maxResults"]) <= 500:
            return _error(400, "INVALID_ARGUMENT", "badRequest", "Unknown name")
        found = [mail for mail in reversed(self.mails.values()) if _matches(mail, query.get("q", ""))]
        token = query.get("pageToken", "0")
        if not token.isdigit():
            return _error(400, "INVALID_ARGUMENT", "invalidArgument", "Invalid pageToken")
        start, most = int(token), int(query["maxResults"])
        page = found[start : start + most]
        body: dict[str, Any] = {"resultSizeEstimate": len(found)}
        if page:
            body["messages"] = [{"id": mail.id, "threadId": mail.thread_id} for mail in page]
        if start + most < len(found):
            body["nextPageToken"] = str(start + most)
        return JSONResponse(body)

    def _get(self, request: Request, given: Any) -> Response:
        mail = self.mails.get(request.path_params["id"])
        if mail is None:
            return _error(404, "NOT_FOUND", "notFound", "Requested entity was not found.")
        wanted = request.query_params.get("format", "full")
        if wanted == "metadata":
            names = {name.lower() for name in request.query_params.getlist("metadataHeaders")}
            payload: dict[str, Any] = {"headers": _headers(mail.mime, names)}
            return JSONResponse(self._resource(mail, payload))
        return JSONResponse(self._resource(mail, _payload(mail.mime, "")))

    def _attachment(self, request: Request, given: Any) -> Response:
        mail = self.mails.get(request.path_params["id"])
        parts = mail.mime.iter_attachments() if mail is not None else ()
        for part in parts:
            content = _content(part)
            if request.path_params["file_id"] == _file_id(part):
                data = base64.urlsafe_b64encode(content).decode().rstrip("=")
                return JSONResponse({"size": len(content), "data": data})
        return _error(404, "NOT_FOUND", "notFound", "Requested entity was not found.")

    def _thread(self, request: Request, given: Any) -> Response:
        found = [mail for mail in self.mails.values() if mail.thread_id == request.path_params["id"]]
        if not found:
            return _error(404, "NOT_FOUND", "notFound", "Requested entity was not found.")
        messages = [self._resource(mail, _payload(mail.mime, "")) for mail in found]
        return JSONResponse({"id": found[0].thread_id, "historyId": "1", "messages": messages})

    def _modify(self, request: Request, given: Any) -> Response:
        mail = self.mails.get(request.path_params["id"])
        if mail is None:
            return _error(404, "NOT_FOUND", "notFound", "Requested entity was not found.")
        add, remove = given.get("addLabelIds", []), given.get("removeLabelIds", [])
        unknown = [label for label in (*add, *remove) if label not in self.labels]
        if unknown or set(given) - {"addLabelIds", "removeLabelIds"}:
            return _error(400, "INVALID_ARGUMENT", "invalidArgument", f"Invalid label: {unknown}")
        mail.labels = [label for label in dict.fromkeys([*mail.labels, *add]) if label not in remove]
        return JSONResponse({"id": mail.id, "threadId": mail.thread_id, "labelIds": mail.labels})

    def _draft(self, request: Request, given: Any) -> Response:
        stored = self._take(given["message"], "DRAFT")
        if isinstance(stored, Response):
            return stored
        draft_id = f"r{stored.id}"
        self.drafts[draft_id] = stored.id
        body = {"id": stored.id, "threadId": stored.thread_id, "labelIds": stored.labels}
        return JSONResponse({"id": draft_id, "message": body})

    def _send(self, request: Request, given: Any) -> Response:
        stored = self._take(given, "SENT")
        if isinstance(stored, Response):
            return stored
        return JSONResponse({"id": stored.id, "threadId": stored.thread_id, "labelIds": stored.labels})

    def _take(self, given: dict[str, Any], label: str) -> StoredMail | Response:
        """Keep a raw letter; one that joins a thread must refer to it and have its subject, as Gmail wants it."""
        try:
            raw = base64.b64decode(given["raw"], altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            return _error(400, "INVALID_ARGUMENT", "invalidArgument", "raw is not base64url")
        if set(given) - {"raw", "threadId"}:
            return _error(400, "INVALID_ARGUMENT", "badRequest", "Unknown name")
        mime = message_from_bytes(raw, policy=policy.default)
        if not (mime["To"] or mime["Cc"] or mime["Bcc"]):
            return _error(400, "INVALID_ARGUMENT", "invalidArgument", "Recipient address required")
        thread_id = given.get("threadId")
        if thread_id is not None:
            thread = [mail for mail in self.mails.values() if mail.thread_id == thread_id]
            if not thread:
                return _error(404, "NOT_FOUND", "notFound", "Requested entity was not found.")
            if mime["In-Reply-To"] not in [mail.mime["Message-ID"] for mail in thread]:
                return _error(400, "INVALID_ARGUMENT", "invalidArgument", "Not a reply to the thread")
        return self._store(mime, [label], thread_id)

    def _resource(self, mail: StoredMail, payload: dict[str, Any]) -> dict[str, Any]:
        body = mail.mime.get_body(("plain", "html"))
        snippet = body.get_content()[:100].replace("\n", " ").strip() if body is not None else ""
        return {
            "id": mail.id,
            "threadId": mail.thread_id,
            "labelIds": mail.labels,
            "snippet": snippet,
            "sizeEstimate": 1000,
            "payload": payload,
        }

    def __enter__(self) -> GmailServer:
        self.server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.stop()


def _matches(mail: StoredMail, query: str) -> bool:
    """Say whether a message fits: words in its text, and `from:`, `subject:`, `label:`, `is:unread`."""
    for word in query.split():
        key, colon, value = word.partition(":")
        match (key, bool(colon)):
            case ("from", True):
                fits = value.lower() in str(mail.mime["From"]).lower()
            case ("subject", True):
                fits = value.lower() in str(mail.mime["Subject"]).lower()
            case ("label", True):
                fits = value.upper() in (label.upper() for label in mail.labels)
            case ("is", True):
                fits = value.upper() in mail.labels
            case _:
                fits = word.lower() in mail.mime.as_string().lower()
        if not fits:
            return False
    return True


def _headers(part: MIMEPart, wanted: set[str] | None = None) -> list[dict[str, str]]:
    return [
        {"name": name, "value": str(value)}
        for name, value in part.items()
        if wanted is None or name.lower() in wanted
    ]


def _payload(part: MIMEPart, part_id: str) -> dict[str, Any]:
    found: dict[str, Any] = {
        "partId": part_id,
        "mimeType": part.get_content_type(),
        "filename": part.get_filename() or "",
        "headers": _headers(part),
    }
    if part.is_multipart():
        found["body"] = {"size": 0}
        found["parts"] = [
            _payload(child, f"{part_id}.{index}".lstrip("."))
            for index, child in enumerate(part.iter_parts())
            if isinstance(child, MIMEPart)
        ]
        return found
    encoded = _content(part)
    found["body"] = {"size": len(encoded)}
    if found["filename"] and len(encoded) > MOST_INLINE:
        found["body"]["attachmentId"] = _file_id(part)
    else:
        found["body"]["data"] = base64.urlsafe_b64encode(encoded).decode()
    return found


def _content(part: MIMEPart) -> bytes:
    content = part.get_content()
    return content.encode() if isinstance(content, str) else bytes(content)


def _file_id(part: MIMEPart) -> str:
    return "ANGjdJ" + hashlib.sha256(_content(part)).hexdigest()


def _fault(how: str, retry_after_s: int) -> Response:
    match how:
        case "throttle":
            answer = _error(429, "RESOURCE_EXHAUSTED", "rateLimitExceeded", "Too many requests.")
            answer.headers["Retry-After"] = str(retry_after_s)
            return answer
        case "forbid":
            return _error(403, "PERMISSION_DENIED", "domainPolicy", "The domain policy has disabled Gmail.")
        case "narrow":
            return _error(403, "PERMISSION_DENIED", "insufficientPermissions", "Insufficient Permission")
        case "user_limit":
            return _error(403, "PERMISSION_DENIED", "userRateLimitExceeded", "User-rate limit exceeded.")
        case "garbage":
            return Response("<html>", media_type="text/html")
    return _error(500, "INTERNAL", "backendError", "Backend Error")


def _error(status: int, name: str, reason: str, message: str) -> Response:
    errors = [{"message": message, "domain": "global", "reason": reason}]
    return JSONResponse(
        {"error": {"code": status, "message": message, "errors": errors, "status": name}}, status
    )
