"""One trace from submit to delivery, and nothing in it that a tenant wrote or a sandbox chose."""

from __future__ import annotations

import time

import pytest

from services.domain.outbox.models import OutboxJob
from services.domain.tasks.runner import issue_turn
from services.domain.tasks.submit import TaskOrder, submit_task
from services.kit import tracing
from services.kit.environment import environment
from services.worker.relay import OutboxRow, to_message
from tests.domain.cast import Runner, fresh, running, start
from tests.fakes.otlp_server import OtlpServer, Span
from tests.gateway.serving import at_work, eventually, rpc

SECRET = "only-the-tenant-may-read-this"
FORGED = f"00-{'a' * 32}-{'b' * 16}-01"


def spans_of(collector: OtlpServer, traceparent: str) -> list[Span]:
    """Return a trace once it is whole: a batch may be under way beside the one that a flush sends."""

    def find() -> list[Span]:
        tracing.flush()
        spans = collector.of_trace(traceparent.split("-")[1])
        return spans if {span.parent for span in spans} <= {"", *(span.id for span in spans)} else []

    return eventually(find)


def assert_connected(spans: list[Span], *, root: str = "task.submit") -> None:
    """Check that one span is the root and every other's parent is among them."""
    ids = {span.id for span in spans}
    assert [span.name for span in spans if not span.parent] == [root]
    assert all(span.parent in ids for span in spans if span.parent)


def test_a_task_is_one_trace_from_submit_to_its_jobs(collector, gateway, acme, claude):
    from services.worker.app import app

    task = submit_task(acme.owner, TaskOrder(agent_id=claude.id, prompt=SECRET), source="api")
    assert tracing.TRACEPARENT.fullmatch(task.traceparent)
    sandbox_id = start(task).sandbox.id
    runner = Runner(task, sandbox_id)
    runner.says("turn.started", provider="claude")
    frame = issue_turn(task.org_id, task.id, sandbox_id)
    assert frame is not None
    token = next(server["token"] for server in frame["mcp"] if server["name"] == "memory")
    arguments = {"name": "memory_write", "arguments": {"name": "a", "body": SECRET}}
    given = frame["options"]["traceparent"]
    rpc(f"{gateway}/mcp/memory", token, "tools/call", arguments, traceparent=given)
    runner.says("turn.done", status="succeeded", text=SECRET)
    jobs = list(OutboxJob.objects.using("operator").filter(type="sandbox.settle"))
    assert [job.traceparent.split("-")[1] for job in jobs] == [task.traceparent.split("-")[1]]
    for job in jobs:
        row = OutboxRow(job.id, job.org_id, job.type, job.queue, job.payload, job.attempt, job.traceparent)
        message = to_message(row)
        execute = app.tasks["answer.deliver"]
        execute.push_request(traceparent=message.headers["traceparent"])
        execute.run({"org_id": str(task.org_id), "task_id": str(task.id)})
        execute.pop_request()
    spans = spans_of(collector, task.traceparent)
    assert_connected(spans)
    names = [span.name for span in spans]
    assert sorted(names) == ["job.run", "mcp.call", "task.finish", "task.submit", "turn.issue"]
    call = next(span for span in spans if span.name == "mcp.call")
    assert call.links == (given.split("-")[2],)
    assert call.attributes == {
        "kind": "own", "server": "memory", "tool": "memory_write", "outcome": "ok", "code": "",
    }  # fmt: skip
    assert SECRET.encode() not in collector.raw


def test_what_a_sandbox_names_as_its_trace_is_linked_to_and_never_believed(collector, gateway, acme, claude):
    working = at_work(acme, claude)
    url, token = f"{gateway}/mcp/memory", working.tokens["mcp:memory"]
    scope = "io.modelcontextprotocol"
    meta = {
        "traceparent": FORGED, f"{scope}/protocolVersion": "2026-07-28", f"{scope}/clientCapabilities": {},
        f"{scope}/clientInfo": {"name": "x", "version": "1"},
    }  # fmt: skip
    modern = {"MCP-Protocol-Version": "2026-07-28", "Mcp-Method": "tools/call", "Mcp-Name": "memory_list"}
    params = {"name": "memory_list", "arguments": {}, "_meta": meta}
    assert rpc(url, token, "tools/call", params, traceparent=FORGED, **modern).status_code == 200
    rpc(url, token, "tools/call", {"name": "memory_list"}, traceparent="nonsense")
    calls = [span for span in spans_of(collector, working.task.traceparent) if span.name == "mcp.call"]
    assert [call.links for call in calls] == [("b" * 16,), ()]
    assert collector.of_trace("a" * 32) == []


def test_a_model_call_is_part_of_its_tasks_trace(collector, gateway, acme, claude):
    import httpx

    working = at_work(acme, claude)
    body = {"model": "claude-sonnet-4-6", "max_tokens": 10, "messages": [{"role": "user", "content": SECRET}]}
    httpx.post(f"{gateway}/llm/anthropic/v1/messages", json=body, headers=working.llm)
    spans = spans_of(collector, working.task.traceparent)
    (call,) = [span for span in spans if span.name == "model.call"]
    assert call.attributes == {"vendor": "anthropic", "outcome": "ok", "code": "", "attempts": 1}
    assert_connected(spans)
    assert SECRET.encode() not in collector.raw


def test_work_that_a_task_submits_is_part_of_its_trace(collector, gateway, acme, claude):
    working = at_work(acme, claude)
    arguments = {"name": "task_submit", "arguments": {"prompt": "true", "agent": acme.agent.slug}}
    answer = rpc(f"{gateway}/mcp/platform", working.tokens["mcp:platform"], "tools/call", arguments).json()
    assert not answer["result"].get("isError"), answer
    spans = spans_of(collector, working.task.traceparent)
    submits = [span for span in spans if span.name == "task.submit"]
    call = next(span for span in spans if span.name == "mcp.call")
    assert {span.parent for span in submits} == {"", call.id}


def test_an_error_is_marked_without_its_words(collector, acme):
    with pytest.raises(ValueError, match=SECRET), tracing.span("task.submit"):
        raise ValueError(SECRET)
    tracing.flush()
    (span,) = collector.spans
    assert span.is_error
    assert span.attributes == {"error.type": "ValueError"}
    assert SECRET.encode() not in collector.raw


def test_nothing_is_traced_unless_an_endpoint_is_set(acme):
    task, runner = running(acme)
    assert fresh(task).traceparent == ""
    frame = issue_turn(task.org_id, task.id, runner.sandbox_id)
    assert frame is not None
    assert "traceparent" not in frame["options"]
    assert set(OutboxJob.objects.using("operator").values_list("traceparent", flat=True)) == {""}


def test_a_span_costs_nothing_while_nothing_is_traced():
    began = time.perf_counter()
    for _ in range(10_000):
        with tracing.span("mcp.call", parent="", kind="own"):
            pass
    assert time.perf_counter() - began < 0.5


def test_a_receiver_that_is_away_holds_nothing_up(collector, monkeypatch, acme):
    monkeypatch.setattr(environment(), "otlp_endpoint", "http://127.0.0.1:1")
    began = time.perf_counter()
    task, runner = running(acme)
    runner.says("turn.done", status="succeeded", text="done")
    assert fresh(task).status == "succeeded"
    assert fresh(task).traceparent
    assert time.perf_counter() - began < 3
