"""What stands between us and the emulated Linear, which has sessions and signatures but writes some things otherwise.

The emulator (npm `emulate` 0.12.2) differs from what Linear documents in this, and nothing else is changed on the way:
- an activity is made with `sessionId`, `type` and `body` there, for `agentSessionId` and `content`;
- comments have no threads, and nothing that is made can be given an id;
- an event of a session tells ids only, under `data`, for the session with its comment, issue and creator, and what a
  person said last. The bridge asks for these, and signs the event again.
Source: https://linear.app/developers/agent-interaction
"""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any, Self

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tests.fakes.serving import LocalServer
from tests.peers.seeds import BOB_AT_LINEAR, SECRET

JSON = dict[str, Any]
_SESSION = (
    "query($id: String!) { agentSession(id: $id) { id createdAt agentUser { id }"
    " issue { id identifier title description } comment { id body }"
    " activities(last: 50) { nodes { id type body createdAt user { id name } } } } }"
)


class LinearBridge:
    """Linear's API at `url`, and at `hook_url` what the emulator calls. It must `join` the two before it is used."""

    def __init__(self) -> None:
        self._emulator, self._hook = "", ""
        routes = [
            Route("/graphql", self._ask, methods=["POST"]),
            Route("/oauth/token", self._pass, methods=["POST"]),
            Route("/hook", self._tell, methods=["POST"]),
        ]
        self._server = LocalServer(Starlette(routes=routes))
        self.url = self._server.url
        self.hook_url = f"{self.url}/hook"

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop()

    def join(self, emulator: str, hook: str) -> None:
        """Say where the emulator is, and who hears of its sessions."""
        self._emulator, self._hook = emulator, hook

    async def _pass(self, request: Request) -> Response:
        return await _post(f"{self._emulator}{request.url.path}", await request.body(), _headers(request))

    async def _ask(self, request: Request) -> Response:
        body = json.loads(await request.body())
        given = body.get("variables", {}).get("input", {})
        if "agentActivityCreate(" in body["query"]:
            content = given.pop("content")
            given = {
                "sessionId": given["agentSessionId"],
                "ephemeral": given.get("ephemeral", False),
            } | content
            body["variables"]["input"] = given
        elif "commentCreate(" in body["query"]:
            body["variables"]["input"] = {name: given[name] for name in ("issueId", "body")}
        return await _post(f"{self._emulator}/graphql", json.dumps(body).encode(), _headers(request))

    async def _tell(self, request: Request) -> Response:
        raw = await request.body()
        signature = request.headers.get("linear-signature", "")
        assert hmac.compare_digest(signature, _sign(raw)), "the emulator signs what it sends"
        event = json.loads(raw)
        session = await self._find_session(event.pop("data")["id"])
        activities = session.pop("activities")["nodes"]
        event["appUserId"] = session.pop("agentUser")["id"]
        event["agentSession"] = session | {"creator": event["actor"]}
        if event["action"] == "prompted":
            said = [one for one in activities if one["type"] == "prompt"][-1]
            content = {"type": "prompt", "body": said["body"]}
            event["agentActivity"] = {name: said[name] for name in ("id", "createdAt", "user")} | {
                "content": content
            }
        body = json.dumps(event).encode()
        return await _post(self._hook, body, _headers(request) | {"linear-signature": _sign(body)})

    async def _find_session(self, session_id: str) -> JSON:
        body = json.dumps({"query": _SESSION, "variables": {"id": session_id}}).encode()
        headers = {"authorization": BOB_AT_LINEAR, "content-type": "application/json"}
        answer = await _post(f"{self._emulator}/graphql", body, headers)
        found: JSON = json.loads(bytes(answer.body))["data"]["agentSession"]
        return found


def _sign(body: bytes) -> str:
    return hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()


def _headers(request: Request) -> dict[str, str]:
    names = ("authorization", "content-type", "linear-delivery", "linear-event", "linear-signature")
    return {name: request.headers[name] for name in names if name in request.headers}


async def _post(url: str, body: bytes, headers: dict[str, str]) -> Response:
    async with httpx.AsyncClient(timeout=10) as client:
        answer = await client.post(url, content=body, headers=headers)
    return Response(answer.content, answer.status_code, media_type=answer.headers.get("content-type"))
