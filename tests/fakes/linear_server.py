"""A strict local GraphQL API of Linear with signed webhooks, and controls for tests under `/__control`.

In a test: `with FakeLinear() as linear: …`. As a process: `python -m tests.fakes.linear_server --port 8084`.
It knows the operations that are named here, and their arguments; whatever else is asked is an error, as at Linear.
"""

from __future__ import annotations

import argparse
import hashlib
import hmac
import itertools
import json
import re
import time
import uuid
from collections.abc import Callable, Collection
from datetime import UTC, datetime
from typing import Any, Self
from urllib.parse import parse_qs

import httpx
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from tests.fakes.serving import BrokenConnection, Fault, Faults, Journal, LocalServer

JSON = dict[str, Any]
BOT_ID, BOT_NAME = "b0b0b0b0-0000-4000-8000-000000000001", "slipway"
PERSON = {"id": "u1u1u1u1-0000-4000-8000-000000000002", "name": "Bob", "email": "bob@example.com"}
ISSUE_ID = "a1a1a1a1-0000-4000-8000-000000000003"
ISSUE = {"id": ISSUE_ID, "identifier": "ENG-12", "title": "Login fails", "description": "It says 500."}
CLIENT_ID, CLIENT_SECRET = "8b1e1d1c0c1e", "linear-client-secret-0001"
TOKEN_LIFE_S = 2_591_999
_UUID4 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
_ACTIVITIES = {"thought", "action", "elicitation", "response", "error"}


def sign(body: bytes, secret: str, event: str, delivery: str) -> dict[str, str]:
    """Make the headers with which Linear sends an event."""
    return {
        "content-type": "application/json; charset=utf-8",
        "linear-event": event,
        "linear-delivery": delivery,
        "linear-signature": hmac.new(secret.encode(), body, hashlib.sha256).hexdigest(),
    }


class _Refused(Exception):
    """An answer with errors."""

    def __init__(self, message: str, code: str = "INPUT_ERROR", status: int = 400) -> None:
        super().__init__(message)
        self.code, self.status = code, status


class FakeLinear:
    """The server, its state, and what tests ask of it. `sent` has comments and activities, `calls` every operation."""

    def __init__(self, tokens: Collection[str] = (), port: int = 0) -> None:
        self.tokens = set(tokens)
        self.sent, self.calls, self.reactions, self.minted = Journal(), Journal(), Journal(), Journal()
        self.faults = Faults()
        self.subscription: tuple[str, str] | None = None
        self.comments: dict[str, JSON] = {}
        self.activities: dict[str, JSON] = {}
        self.sessions: dict[str, JSON] = {}
        self._reacted: set[str] = set()
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

    def subscribe(self, url: str, secret: str) -> None:
        """Send events to this address, as the app's settings say."""
        self.subscription = (url, secret)

    def open_session(self, text: str | None = None, **fields: Any) -> JSON:
        """Open a session by a mention in a comment, or without a text by giving the issue to the agent."""
        session: JSON = {
            "id": str(uuid.uuid4()), "issueId": ISSUE_ID, "issue": ISSUE, "creatorId": PERSON["id"], "creator": PERSON,
            "status": "pending", "createdAt": _now(), "appUserId": BOT_ID,
        }  # fmt: skip
        if text is not None:
            comment_id = str(uuid.uuid4())
            session["comment"] = {"id": comment_id, "body": text, "userId": PERSON["id"]}
            self.comments[comment_id] = {"id": comment_id, "body": text, "own": False}
        self.sessions[str(session["id"])] = session
        return self._event("AgentSessionEvent", "created", agentSession=session, **fields)

    def prompt(self, session_id: str, text: str, signal: str | None = None) -> JSON:
        """Say something in a session; with the signal `stop`, that the agent is to stop."""
        activity = {
            "id": str(uuid.uuid4()), "agentSessionId": session_id, "content": {"type": "prompt", "body": text},
            "signal": signal, "user": PERSON, "userId": PERSON["id"], "createdAt": _now(),
        }  # fmt: skip
        session = self.sessions[session_id]
        return self._event("AgentSessionEvent", "prompted", agentSession=session, agentActivity=activity)

    def _event(self, kind: str, action: str, **fields: Any) -> JSON:
        return {
            "type": kind, "action": action, "createdAt": _now(), "organizationId": "org", "appUserId": BOT_ID,
            "oauthClientId": CLIENT_ID, "webhookId": "hook", "webhookTimestamp": int(time.time() * 1000), **fields,
        }  # fmt: skip

    def deliver(self, event: JSON, delivery: str | None = None) -> httpx.Response:
        """Post an event, signed, to the app's webhook."""
        if self.subscription is None:
            raise LookupError("nothing is subscribed")
        url, secret = self.subscription
        body = json.dumps(event).encode()
        headers = sign(body, secret, str(event["type"]), delivery or str(uuid.uuid4()))
        return httpx.post(url, content=body, headers=headers, timeout=10)

    # --- The API -----------------------------------------------------------------------------------------

    def _app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/graphql", self._graphql, methods=["POST"]),
                Route("/oauth/token", self._make_token, methods=["POST"]),
                Route("/__control/{what}", self._control, methods=["GET", "POST"]),
            ]
        )

    async def _make_token(self, request: Request) -> Response:
        form = {name: values[0] for name, values in parse_qs((await request.body()).decode()).items()}
        is_known = (form.get("client_id"), form.get("client_secret")) == (CLIENT_ID, CLIENT_SECRET)
        if (
            form.get("grant_type") != "client_credentials"
            or not is_known
            or "write" not in form.get("scope", "")
        ):
            return JSONResponse({"error": "invalid_client"}, 401)
        token = f"lin_oauth_{next(self._numbers):08d}"
        self.tokens.add(token)
        self.minted.add({"token": token, "scope": form["scope"]})
        return JSONResponse({"access_token": token, "token_type": "Bearer", "expires_in": TOKEN_LIFE_S})

    async def _graphql(self, request: Request) -> Response:
        body = await request.json()
        name = self._operation(str(body.get("query", "")))
        self.calls.add({"operation": name, "variables": body.get("variables")})
        fault = self.faults.take(name)
        if fault is not None and fault.how != "drop":
            return _failure(fault)
        try:
            self._check_token(request.headers.get("authorization", ""))
            answer = self._operations()[name](body.get("variables") or {})
        except _Refused as refused:
            return _error(str(refused), refused.code, refused.status)
        except KeyError as error:
            return _error(f"Variable {error} is missing", "GRAPHQL_VALIDATION_FAILED", 400)
        if fault is not None:
            return BrokenConnection()
        headers = {"X-Complexity": "12", "X-RateLimit-Requests-Remaining": "4999"}
        return JSONResponse({"data": {name: answer}}, headers=headers)

    def _operation(self, query: str) -> str:
        """Return the one field that is asked for at the top."""
        found = re.search(r"\{\s*(\w+)", query)
        return found[1] if found else ""

    def _check_token(self, given: str) -> None:
        """An API key is given as it is, an app's token as a bearer's."""
        token = given if given.startswith("lin_api_") else given.removeprefix("Bearer ")
        is_bearer = given.startswith("Bearer ") != given.startswith("lin_api_")
        if not is_bearer or token not in self.tokens:
            raise _Refused("Authentication required, not authenticated", "AUTHENTICATION_ERROR", 401)

    def _operations(self) -> dict[str, Callable[[JSON], JSON]]:
        return {
            "viewer": lambda given: {"id": BOT_ID, "name": BOT_NAME, "displayName": BOT_NAME},
            "comment": lambda given: {"id": self._comment(given["id"])["id"]},
            "agentActivity": lambda given: {"id": self._activity(given["id"])["id"]},
            "commentCreate": lambda given: self._create_comment(given["input"]),
            "commentUpdate": lambda given: self._update_comment(given["id"], given["input"]),
            "commentDelete": lambda given: self._delete_comment(given["id"]),
            "reactionCreate": lambda given: self._react(given["input"]),
            "agentActivityCreate": lambda given: self._create_activity(given["input"]),
        }

    def _comment(self, comment_id: str) -> JSON:
        if comment_id not in self.comments:
            raise _Refused("Entity not found: Comment - Could not find referenced Comment.")
        return self.comments[comment_id]

    def _activity(self, activity_id: str) -> JSON:
        if activity_id not in self.activities:
            raise _Refused("Entity not found: AgentActivity - Could not find referenced AgentActivity.")
        return self.activities[activity_id]

    def _new_id(self, given: JSON, known: JSON) -> str:
        made = str(given.get("id") or uuid.uuid4())
        if not _UUID4.fullmatch(made):
            raise _Refused("Argument Validation Error - id must be a UUID", "INVALID_INPUT")
        if made in known:
            raise _Refused("Entity with this id already exists", "INVALID_INPUT")
        return made

    def _create_comment(self, given: JSON) -> JSON:
        _only(given, {"id", "issueId", "parentId", "body"})
        if given["issueId"] != ISSUE_ID:
            raise _Refused("Entity not found: Issue - Could not find referenced Issue.")
        if given.get("parentId"):
            self._comment(given["parentId"])
        made: JSON = {
            "id": self._new_id(given, self.comments), "body": _words(given["body"]), "kind": "comment", "own": True,
            "parentId": given.get("parentId"),
        }  # fmt: skip
        self.comments[str(made["id"])] = made
        self.sent.add(made)
        return {"success": True, "comment": {"id": made["id"]}}

    def _update_comment(self, comment_id: str, given: JSON) -> JSON:
        _only(given, {"body"})
        found = self._comment(comment_id)
        if not found["own"]:
            raise _Refused("You may only edit your own comments", "FORBIDDEN")
        found["body"] = _words(given["body"])
        return {"success": True}

    def _delete_comment(self, comment_id: str) -> JSON:
        del self.comments[self._comment(comment_id)["id"]]
        return {"success": True}

    def _react(self, given: JSON) -> JSON:
        _only(given, {"id", "commentId", "issueId", "emoji"})
        if given.get("issueId") != ISSUE_ID:
            self._comment(str(given.get("commentId")))
        if not re.fullmatch(r"[a-z0-9_+-]{1,80}", given["emoji"]):
            raise _Refused("Argument Validation Error - emoji", "INVALID_INPUT")
        self._reacted.add(self._new_id(given, dict.fromkeys(self._reacted)))
        self.reactions.add({"on": given.get("commentId") or given.get("issueId"), "emoji": given["emoji"]})
        return {"success": True}

    def _create_activity(self, given: JSON) -> JSON:
        _only(given, {"id", "agentSessionId", "content", "ephemeral", "signal", "signalMetadata"})
        session, content = self.sessions.get(given["agentSessionId"]), given["content"]
        if session is None:
            raise _Refused("Entity not found: AgentSession - Could not find referenced AgentSession.")
        if content.get("type") not in _ACTIVITIES:
            raise _Refused("Argument Validation Error - content", "INVALID_INPUT")
        if given.get("ephemeral") and content["type"] not in ("thought", "action"):
            raise _Refused("Only thoughts and actions may be ephemeral", "INVALID_INPUT")
        if given.get("signal") not in (None, "select", "auth"):
            raise _Refused("Argument Validation Error - signal", "INVALID_INPUT")
        if given.get("signal") == "select" and not given["signalMetadata"]["options"]:
            raise _Refused("Argument Validation Error - options", "INVALID_INPUT")
        made = {
            "id": self._new_id(given, self.activities),
            "kind": content["type"],
            "body": _words(content["body"]),
        }
        self.activities[made["id"]] = made
        states = {"response": "complete", "error": "error", "elicitation": "awaitingInput"}
        session["status"] = states.get(content["type"], "active")
        self.sent.add(made | {"session": session["id"], "params": given})
        return {"success": True, "agentActivity": {"id": made["id"]}}

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
                self.subscribe(body["url"], body["secret"])
                return JSONResponse({})
            case "deliver":
                event = body.get("event") or self.open_session(str(body["text"]))
                answer = await run_in_threadpool(self.deliver, event)
                return JSONResponse({"event": event, "statuses": [answer.status_code]})
            case "reset":
                for journal in (self.sent, self.calls, self.reactions):
                    journal.clear()
                self.faults.clear()
                return JSONResponse({})
        return PlainTextResponse("unknown control", status_code=404)


def _only(given: JSON, known: set[str]) -> None:
    unknown = set(given) - known
    if unknown:
        raise _Refused(f"Field {unknown} is not defined by type", "GRAPHQL_VALIDATION_FAILED")


def _words(text: Any) -> str:
    if not isinstance(text, str) or not text.strip():
        raise _Refused("Argument Validation Error - body", "INVALID_INPUT")
    return text


def _failure(fault: Fault) -> Response:
    match fault.how:
        case "throttle":
            answer = _error("Rate limit exceeded", "RATELIMITED", 400)
            reset = int((time.time() + fault.retry_after_s) * 1000)
            answer.headers["X-RateLimit-Requests-Remaining"] = "0"
            answer.headers["X-RateLimit-Requests-Reset"] = str(reset)
            return answer
        case "complexity":
            answer = _error("Complexity limit exceeded", "RATELIMITED", 400)
            answer.headers["X-RateLimit-Complexity-Remaining"] = "0"
            answer.headers["X-RateLimit-Complexity-Reset"] = str(
                int((time.time() + fault.retry_after_s) * 1000)
            )
            return answer
        case "error":
            return PlainTextResponse("upstream failure", status_code=502)
        case "forbid":
            return _error("You do not have access to this team", "FORBIDDEN", 200)
        case code:
            return _error("x", code, 200)


def _error(message: str, code: str, status: int) -> Response:
    extensions = {"code": code, "type": code.lower(), "userPresentableMessage": message}
    return JSONResponse({"errors": [{"message": message, "extensions": extensions}], "data": None}, status)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8084)
    parser.add_argument("--token", action="append", default=[], help="a token that is good")
    options = parser.parse_args()
    server = FakeLinear(tokens=options.token, port=options.port)
    print(f"LINEAR_API_BASE={server.url}", flush=True)
    server.run_here()


if __name__ == "__main__":
    main()
