"""A strict local connector of the Bot Framework, as Teams answers it; with `teams_issuer`, which it trusts.

In a test: `with TeamsIssuer() as issuer, FakeTeams(issuer) as teams: …`. As a process:
`python -m tests.fakes.teams_server --port 8083`.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Self

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.fakes.serving import BrokenConnection, Fault, Faults, Journal, LocalServer
from tests.fakes.teams_checks import Refused, check_message, shown_text
from tests.fakes.teams_issuer import TeamsIssuer
from tests.fakes.teams_streams import TeamsStreams

BOT_NAME = "Slipway"
MAX_BYTES = 100 * 1024
_FIRST_SIGNS = ("a:", "19:")
_PATH = "/{region}/v3/conversations/{conversation}/activities"
JSON = dict[str, Any]


class FakeTeams:
    """The connector below the path `/emea/`, and what people do in Teams. `sent` has the bot's messages.

    `calls_per_s` is how many calls a conversation takes in a second; without it, any number.
    """

    def __init__(
        self,
        issuer: TeamsIssuer,
        port: int = 0,
        *,
        calls_per_s: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.issuer = issuer
        self.sent, self.calls, self.typing = Journal(), Journal(), Journal()
        self.faults = Faults()
        self.files: dict[str, bytes] = {}
        self._calls_per_s, self._clock = calls_per_s, clock
        self._recent: dict[str, list[float]] = {}
        self._messages: dict[tuple[str, str], JSON] = {}
        self._numbers = itertools.count(1_700_000_000_001)
        self.streams = TeamsStreams(clock)
        routes = [
            Route(_PATH, self._answer, methods=["POST"]),
            Route("/{region}/v3/conversations", self._answer, methods=["POST"]),
            Route(_PATH + "/{activity}", self._answer, methods=["POST", "PUT", "DELETE"]),
            Route("/{region}/v3/attachments/{name}", self._file),
        ]
        self._server = LocalServer(Starlette(routes=routes), port)
        self.url = self._server.url
        self.service_url = f"{self.url}/emea/"

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop()

    def run_here(self) -> None:
        """Serve on this thread."""
        self._server.run_here()

    # --- What people do ----------------------------------------------------------------------------------

    def activity(self, app_id: str, text: str, **fields: Any) -> JSON:
        """Make the activity of a message that Bob writes to the bot alone; `fields` replace its own."""
        made: JSON = {
            "type": "message",
            "id": str(next(self._numbers)),
            "timestamp": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
            "channelId": "msteams",
            "serviceUrl": self.service_url,
            "from": {"id": "29:bob", "name": "Bob", "aadObjectId": "b0b00000-0000-4000-8000-000000000000"},
            "conversation": {"conversationType": "personal", "tenantId": "acme", "id": "a:bob"},
            "recipient": {"id": f"28:{app_id}", "name": BOT_NAME},
            "textFormat": "plain",
            "text": text,
            "channelData": {"tenant": {"id": "acme"}},
        }
        return made | fields

    def deliver(self, hook_url: str, app_id: str, activity: JSON) -> httpx.Response:
        """Post an activity with its token."""
        claims = self.issuer.claims(app_id, str(activity["serviceUrl"]))
        headers = {
            "authorization": f"Bearer {self.issuer.keys.sign(claims)}",
            "content-type": "application/json; charset=utf-8",
        }
        return httpx.post(hook_url, content=json.dumps(activity).encode(), headers=headers, timeout=10)

    def press(self, app_id: str, entry: JSON, label: str) -> JSON:
        """Make the activity of somebody who presses a button below one of the bot's messages."""
        (card,) = entry["activity"]["attachments"]
        (action,) = [one for one in card["content"]["actions"] if one["title"] == label]
        made = self.activity(app_id, "", value=action["data"], replyToId=entry["id"])
        made["conversation"] = {"conversationType": "personal", "id": entry["conversation"]}
        del made["text"]
        return made

    def messages(self) -> list[JSON]:
        """List the bot's messages that are there, without those that were deleted."""
        return list(self._messages.values())

    # --- The connector -----------------------------------------------------------------------------------

    async def _answer(self, request: Request) -> Response:
        body = await request.body()
        conversation = request.path_params.get("conversation")
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        self.calls.add({"method": request.method, "path": request.url.path, "token": token})
        try:
            if not self.issuer.is_good(token):
                raise Refused(401, "Unauthorized")
            fault = self.faults.take(request.method)
            if fault is not None and fault.how != "drop":
                return _failure(fault)
            if conversation is None:
                result: Response = self._open(json.loads(body))
                return BrokenConnection() if fault is not None else result
            self._check(conversation, body)
            result = self._do(request, conversation, json.loads(body) if body else {})
        except Refused as refused:
            return refused.answer()
        return BrokenConnection() if fault is not None else result

    def _open(self, wanted: JSON) -> Response:
        """Give the bot's conversation with Bob, the only person of the tenant."""
        (member,) = wanted["members"]
        if wanted["isGroup"] or not str(wanted["bot"]["id"]).startswith("28:"):
            raise Refused(400, "BadSyntax")
        if wanted["channelData"]["tenant"]["id"] != wanted["tenantId"]:
            raise Refused(400, "BadSyntax")
        if member["id"] not in ("29:bob", "b0b00000-0000-4000-8000-000000000000"):
            raise Refused(403, "BotNotInConversationRoster")
        return JSONResponse({"id": "a:bob"}, status_code=201)

    def _check(self, conversation: str, body: bytes) -> None:
        if not conversation.startswith(_FIRST_SIGNS):
            raise Refused(404, "ConversationNotFound")
        if len(body.decode("utf-8").encode("utf-16-le")) > MAX_BYTES:
            raise Refused(413, "MessageSizeTooBig")
        moment = self._clock()
        recent = [each for each in self._recent.get(conversation, []) if moment - each < 1.0]
        if self._calls_per_s is not None and len(recent) >= self._calls_per_s:
            raise Refused(429, "TooManyRequests", retry_after_s=1)
        self._recent[conversation] = [*recent, moment]

    def _do(self, request: Request, conversation: str, activity: JSON) -> Response:
        if request.method == "POST":
            return self._post(conversation, activity)
        key = (conversation, request.path_params["activity"])
        if request.method == "DELETE" and self.streams.delete(key[1]):
            return Response(status_code=200)
        if key not in self._messages:
            raise Refused(404, "ActivityNotFoundInConversation")
        if request.method == "DELETE":
            del self._messages[key]
            return Response(status_code=200)
        check_message(activity)
        entry = self._messages[key]
        entry |= {"activity": activity, "text": shown_text(activity)}
        return JSONResponse({"id": entry["id"]})

    def _post(self, conversation: str, activity: JSON) -> Response:
        if self.streams.is_part(activity):
            made = self.streams.take(conversation, activity)
            if made.is_final:
                self._keep(conversation, activity, made.stream_id)
            return JSONResponse({"id": made.stream_id}, status_code=201)
        if activity.get("type") == "typing":
            self.typing.add({"conversation": conversation})
            return JSONResponse({"id": ""}, status_code=202)
        check_message(activity)
        return JSONResponse({"id": self._keep(conversation, activity)}, status_code=201)

    def _keep(self, conversation: str, activity: JSON, activity_id: str = "") -> str:
        made = activity_id or str(next(self._numbers))
        entry = {
            "id": made,
            "conversation": conversation,
            "activity": activity,
            "text": shown_text(activity),
        }
        self._messages[conversation, made] = entry
        self.sent.add(entry)
        return made

    async def _file(self, request: Request) -> Response:
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        data = self.files.get(request.path_params["name"])
        if not self.issuer.is_good(token):
            return Refused(401, "Unauthorized").answer()
        return Response(status_code=404) if data is None else Response(data, media_type="image/png")


def _failure(fault: Fault) -> Response:
    match fault.how:
        case "throttle":
            return Refused(429, "TooManyRequests", retry_after_s=fault.retry_after_s).answer()
        case "error":
            return Response("upstream failure", status_code=502)
        case "conflict":
            return Refused(412, "PreconditionFailed").answer()
        case "forbid":
            return Refused(403, "BotNotInConversationRoster").answer()
        case code:
            return Refused(403, code).answer()


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8083)
    with TeamsIssuer() as issuer:
        server = FakeTeams(issuer, port=parser.parse_args().port)
        print(f"TEAMS_API_BASE={server.url}", flush=True)
        for name, value in issuer.settings().items():
            print(f"{name}={value}", flush=True)
        server.run_here()


if __name__ == "__main__":
    main()
