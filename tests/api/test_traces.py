"""Requests as spans: what becomes of a request is part of its trace, and whose word is believed about its parent."""

from __future__ import annotations

from services.domain.identity import handover
from services.domain.identity.handover import TRACE_HEADER, sign_traceparent
from services.domain.outbox.models import OutboxJob
from services.domain.tasks.models import Task
from services.kit import tracing
from tests.api.client import Api
from tests.api.test_hooks import telegram_update, to_telegram
from tests.fakes.otlp_server import OtlpServer, Span
from tests.gateway.test_tracing import FORGED, assert_connected, spans_of

GENUINE = f"00-{'c' * 32}-{'d' * 16}-01"


def request_span(collector: OtlpServer, task_id: str) -> Span:
    """Return the span of the request that submitted a task; the task's own is below it."""
    spans = spans_of(collector, Task.objects.using("operator").get(id=task_id).traceparent)
    (request,) = [span for span in spans if span.name == "http.request"]
    (submit,) = [span for span in spans if span.name == "task.submit"]
    assert submit.parent == request.id
    return request


def submit(api: Api, acme, **headers: str) -> str:
    answer = api.post("/v1/tasks", {"agent_id": str(acme.agent.id), "prompt": "true"}, **headers)
    assert answer.status == 202
    return str(answer.body["id"])


def test_a_submit_is_part_of_its_requests_trace(collector, alice, acme):
    request = request_span(collector, submit(alice, acme))
    assert request.parent == ""
    assert request.attributes == {"method": "POST", "route": "v1/tasks", "status": 202}


def test_what_an_outsider_names_as_its_trace_is_linked_to_and_never_believed(collector, alice, acme):
    task_id = submit(alice, acme, traceparent=FORGED, **{TRACE_HEADER: FORGED})
    request = request_span(collector, task_id)
    assert (request.parent, request.links) == ("", ("b" * 16,))
    assert collector.of_trace("a" * 32) == []


def test_a_span_that_a_sibling_service_signed_is_the_parent(collector, alice, acme):
    task_id = submit(alice, acme, **{TRACE_HEADER: sign_traceparent(GENUINE)})
    traceparent = Task.objects.using("operator").get(id=task_id).traceparent
    assert traceparent.split("-")[1] == "c" * 32
    tracing.flush()
    (request,) = [span for span in collector.of_trace("c" * 32) if span.name == "http.request"]
    assert request.parent == "d" * 16


def test_a_signature_is_good_for_moments_and_for_traces_only(collector, acme, alice, monkeypatch):
    too_old = sign_traceparent(GENUINE)
    of_an_actor = handover.sign_actor(acme.owner)
    monkeypatch.setattr(handover, "HANDOVER_LIFE", -handover.HANDOVER_LIFE)
    for text in (too_old, of_an_actor, "nonsense", ""):
        assert request_span(collector, submit(alice, acme, **{TRACE_HEADER: text})).parent == ""


def test_what_comes_of_a_platforms_message_is_part_of_its_trace(collector, world):
    assert to_telegram(world, telegram_update(text="only-for-the-tenant")).status == 200
    job = OutboxJob.objects.using("operator").filter(type="message.route").latest("id")
    spans = spans_of(collector, job.traceparent)
    assert_connected(spans, root="http.request")
    (request,) = spans
    assert request.attributes["route"] == "hooks/<slug:kind>/<uuid:link_id>"
    assert b"only-for-the-tenant" not in collector.raw


def test_reading_is_no_span(collector, alice):
    alice.get("/v1/tasks")
    tracing.flush()
    assert collector.spans == []
