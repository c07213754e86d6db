"""What changes something goes to the api service, under the caller's own identity."""

from __future__ import annotations

import uuid

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from services.domain.identity.handover import TRACE_HEADER, unsign_actor, unsign_traceparent
from services.domain.identity.tickets import issue_ticket
from services.kit import tracing
from tests.fakes.serving import LocalServer
from tests.realtime.test_access import browser, sign_in

TASK = {"id": str(uuid.uuid4()), "status": "queued"}


class FakeApi:
    """Remembers what it was asked, and refuses an empty prompt."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict, httpx.Headers]] = []
        self.app = Starlette(
            routes=[
                Route("/v1/tasks", self._answer, methods=["POST"]),
                Route("/v1/tasks/{id}/cancel", self._answer, methods=["POST"]),
                Route("/v1/tasks/{id}/messages", self._answer, methods=["POST"]),
                Route("/v1/tasks/{id}/answer", self._answer, methods=["POST"]),
                Route("/v1/questions/{id}/answer", self._answer, methods=["POST"]),
            ]
        )

    async def _answer(self, request: Request) -> JSONResponse:
        body = await request.json()
        self.asked.append((request.url.path, body, httpx.Headers(request.headers.raw)))
        if body.get("prompt") == "":
            error = {
                "code": "prompt_invalid",
                "message": "Empty.",
                "details": {"fields": {"prompt": "empty"}},
            }
            return JSONResponse({"error": error}, 400)
        if body.get("prompt") == "break":
            return JSONResponse(["unexpected"], 500)
        return JSONResponse(TASK, 202)


@pytest.fixture
def api():
    """Run a stand-in for the api service."""
    fake = FakeApi()
    with LocalServer(fake.app) as server:
        fake.url = server.url
        yield fake


def test_submit_passes_the_body_the_bearer_and_the_key_on(start, api, acme):
    service = start(api_url=api.url)
    with service.client(acme.token) as client:
        answer = client.ask(op="submit", agent_id="x", prompt="hello", idempotency_key="k-1")
    assert (answer["op"], answer["task"]) == ("ok", TASK)
    [(path, body, headers)] = api.asked
    assert (path, body) == ("/v1/tasks", {"agent_id": "x", "prompt": "hello"})
    assert headers["authorization"] == f"Bearer {acme.token}"
    assert headers["idempotency-key"] == "k-1"


def test_a_refusal_of_the_api_keeps_its_code(start, api, acme):
    service = start(api_url=api.url)
    with service.client(acme.token) as client:
        answer = client.ask(op="submit", prompt="")
        assert (answer["op"], answer["code"]) == ("error", "prompt_invalid")
        assert answer["details"] == {"fields": {"prompt": "empty"}}
        assert client.ask(op="submit", prompt="break")["code"] == "temporary"


def test_cancel_names_the_task(start, api, acme):
    service = start(api_url=api.url)
    with service.client(acme.token) as client:
        assert client.ask(op="cancel", task_id=TASK["id"])["op"] == "ok"
    assert api.asked[0][0] == f"/v1/tasks/{TASK['id']}/cancel"


def test_steer_passes_the_text_and_the_key_on(start, api, acme):
    service = start(api_url=api.url)
    with service.client(acme.token) as client:
        answer = client.ask(op="steer", task_id=TASK["id"], text="and this", idempotency_key="k-2")
    assert (answer["op"], answer["message"]) == ("ok", TASK)
    [(path, body, headers)] = api.asked
    assert (path, body) == (f"/v1/tasks/{TASK['id']}/messages", {"text": "and this"})
    assert headers["idempotency-key"] == "k-2"


def test_an_answer_goes_to_its_question_or_to_the_task_that_waits(start, api, acme):
    service = start(api_url=api.url)
    with service.client(acme.token) as client:
        first = client.ask(op="answer", question_id=TASK["id"], option=1)
        second = client.ask(op="answer", task_id=TASK["id"], text="yes")
    assert (first["op"], first["question"], second["task"]) == ("ok", TASK, TASK)
    assert [(path, body) for path, body, _ in api.asked] == [
        (f"/v1/questions/{TASK['id']}/answer", {"text": "", "option": 1}),
        (f"/v1/tasks/{TASK['id']}/answer", {"text": "yes"}),
    ]


def test_a_session_and_a_ticket_are_handed_over_signed(start, api, acme):
    service = start(api_url=api.url)
    session = sign_in(acme.users["bob"])
    with service.client(headers=browser(session)) as client:
        client.ask(op="submit", prompt="by cookie")
    with service.client(query=f"?ticket={issue_ticket(acme.owner)}") as client:
        client.ask(op="submit", prompt="by ticket")
    actors = [unsign_actor(headers["x-slipway-actor"]) for _, _, headers in api.asked]
    assert actors == [acme.people["bob"], acme.owner]
    assert all("cookie" not in headers and "authorization" not in headers for _, _, headers in api.asked)


def test_while_the_api_is_away_submitting_is_temporarily_refused_and_streams_go_on(start, acme, stream):
    service = start(api_url="http://127.0.0.1:1")
    with service.client(acme.token) as client:
        client.subscribe(stream.name)
        assert client.ask(op="submit", prompt="x")["code"] == "temporary"
        stream.add(1)
        assert client.numbers(1) == [1]


def test_what_is_passed_on_is_part_of_its_own_trace(start, api, acme, collector):
    service = start(api_url=api.url)
    forged = f"00-{'a' * 32}-{'b' * 16}-01"
    with service.client(acme.token, headers={"traceparent": forged, TRACE_HEADER: forged}) as client:
        client.ask(op="submit", prompt="")
        client.ask(op="cancel", task_id=TASK["id"])
        client.ask(op="steer", task_id=TASK["id"], text="and this")
        client.ask(op="answer", question_id=TASK["id"], option=1)
    given = [unsign_traceparent(headers[TRACE_HEADER]) for _, _, headers in api.asked]
    tracing.flush()
    spans = {span.id: span for span in collector.spans}
    sent = [spans[traceparent.split("-")[2]] for traceparent in given]
    assert [span.name for span in sent] == ["ws.submit", "ws.cancel", "ws.steer", "ws.answer"]
    assert {(span.parent, span.links) for span in sent} == {("", ())}
    assert len({span.trace for span in sent}) == 4
    # A refusal is marked as one.
    assert [span.is_error for span in sent] == [True, False, False, False]


def test_nothing_is_said_of_a_trace_while_nothing_is_traced(start, api, acme):
    service = start(api_url=api.url)
    with service.client(acme.token) as client:
        client.ask(op="submit", prompt="hello")
    assert all(TRACE_HEADER.lower() not in headers for _, _, headers in api.asked)
