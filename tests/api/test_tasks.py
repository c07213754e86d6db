"""Tasks over REST."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from django.db import connections

from conftest import recorded
from services.domain.identity.models import Organisation
from services.domain.tasks.models import Task
from tests.api.client import Api

ROUTE = "/v1/tasks"


def order(agent: object, **fields: object) -> dict[str, object]:
    return {"agent_id": str(agent), "prompt": "echo hi"} | fields


def test_a_submitted_task_is_accepted_with_its_event_and_job(alice, acme):
    with recorded() as seen:
        answer = alice.post(ROUTE, order(acme.agent.id, max_turns=3, timeout_s=60, model="m1"))
    assert answer.status == 202
    assert answer.body["status"] == "queued"
    assert (answer.body["max_turns"], answer.body["timeout_s"], answer.body["model"]) == (3, 60, "m1")
    assert answer.body["result"] is None
    assert answer.body["error"] is None
    assert seen.event_types == ["task.queued", "message.created"]
    assert seen.job_types == ["task.dispatch"]
    assert alice.get(f"{ROUTE}/{answer.body['id']}").body == answer.body


@pytest.mark.parametrize(
    ("usd", "microusd"), [("0.000001", 1), (1.5, 1_500_000), ("12", 12_000_000), (0.1, 100_000)]
)
def test_money_is_exact(alice, acme, usd, microusd):
    answer = alice.post(ROUTE, order(acme.agent.id, max_budget_usd=usd))
    assert (answer.status, answer.body["max_budget_microusd"]) == (202, microusd)


def test_a_task_goes_on_in_its_workspace(alice, acme):
    first = alice.post(ROUTE, order(acme.agent.id)).body
    second = alice.post(ROUTE, {"workspace_id": first["workspace_id"], "prompt": "echo again"}).body
    assert second["workspace_id"] == first["workspace_id"]
    assert (first["turn"], second["turn"]) == (1, 2)


def test_a_finished_task_shows_its_result_and_cannot_be_cancelled(alice, acme, finish):
    task = alice.post(ROUTE, order(acme.agent.id)).body
    finish(acme, task["id"], text="hi\n")
    shown = alice.get(f"{ROUTE}/{task['id']}").body
    usage = {"input_tokens": 0, "output_tokens": 0, "cost_microusd": 0, "cost_usd": "0.000000"}
    assert shown["result"] == {
        "text": "hi\n", "output": None, "tool_calls": 2, "usage": usage, "turns": 1,
    }  # fmt: skip
    assert shown["status"] == "succeeded"
    refused = alice.post(f"{ROUTE}/{task['id']}/cancel")
    assert (refused.status, refused.code) == (409, "task_finished")


def test_a_queued_task_is_cancelled_at_once_and_asking_twice_is_fine(alice, acme):
    task = alice.post(ROUTE, order(acme.agent.id)).body
    with recorded() as seen:
        answers = [alice.post(f"{ROUTE}/{task['id']}/cancel") for _ in range(2)]
    assert [(answer.status, answer.body["status"]) for answer in answers] == [(200, "cancelled")] * 2
    assert answers[0].body["error"]["code"] == "cancelled"
    assert seen.event_types == ["task.finished"]


def test_an_answer_that_nobody_asked_for_is_refused(alice, acme, finish):
    task = alice.post(ROUTE, order(acme.agent.id)).body
    refused = alice.post(f"{ROUTE}/{task['id']}/answer", {"text": "yes"})
    assert (refused.status, refused.code) == (409, "nothing_asked")
    finish(acme, task["id"])
    refused = alice.post(f"{ROUTE}/{task['id']}/answer", {"text": "yes"})
    assert (refused.status, refused.code) == (409, "task_finished")


def test_an_answer_to_an_unknown_task_is_404(alice):
    missing = alice.post(f"{ROUTE}/{uuid.uuid4()}/answer", {"text": "yes"})
    assert (missing.status, missing.code) == (404, "task_not_found")


def test_tasks_are_listed_newest_first_and_narrowed(alice, acme, finish):
    first = alice.post(ROUTE, order(acme.agent.id)).body
    second = alice.post(ROUTE, order(acme.agent.id)).body
    finish(acme, first["id"])

    def listed(query: str) -> list[str]:
        return [item["id"] for item in alice.get(f"{ROUTE}?{query}").body["items"]]

    assert listed("") == [second["id"], first["id"]]
    assert listed("status=succeeded") == [first["id"]]
    assert listed(f"workspace_id={second['workspace_id']}") == [second["id"]]
    assert listed(f"agent_id={acme.agent.id}&status=queued") == [second["id"]]
    assert listed(f"agent_id={uuid.uuid4()}") == []


def test_the_same_key_and_body_give_the_same_task(alice, acme):
    body = order(acme.agent.id)
    first = alice.post(ROUTE, body, Idempotency_Key="k1")
    again = alice.post(ROUTE, dict(reversed(body.items())), Idempotency_Key="k1")
    assert (first.status, again.status) == (202, 202)
    assert first.body["id"] == again.body["id"]
    assert len(alice.get(ROUTE).body["items"]) == 1


def test_the_same_key_with_another_body_is_refused(alice, acme):
    alice.post(ROUTE, order(acme.agent.id), Idempotency_Key="k1")
    refused = alice.post(ROUTE, order(acme.agent.id, prompt="echo other"), Idempotency_Key="k1")
    assert (refused.status, refused.code) == (422, "idempotency_key_reused")


def test_a_key_belongs_to_its_caller(alice, acme):
    first = alice.post(ROUTE, order(acme.agent.id), Idempotency_Key="k1")
    bobs = Api(acme.tokens["bob"]).post(ROUTE, order(acme.agent.id), Idempotency_Key="k1")
    assert first.body["id"] != bobs.body["id"]


@pytest.mark.parametrize("key", ["", " ", "x" * 151])
def test_an_unusable_key_is_refused(alice, acme, key):
    assert alice.post(ROUTE, order(acme.agent.id), Idempotency_Key=key).code == "invalid"


def test_twenty_parallel_posts_with_one_key_make_one_task(acme):
    start = Barrier(20)

    def submit(_: int) -> tuple[int, str]:
        api = Api(acme.token)
        start.wait(timeout=10)
        try:
            answer = api.post(ROUTE, order(acme.agent.id), Idempotency_Key="once")
            return answer.status, answer.body["id"]
        finally:
            connections.close_all()

    with ThreadPoolExecutor(20) as threads:
        answers = set(threads.map(submit, range(20)))
    assert len(answers) == 1
    assert answers.pop()[0] == 202
    assert Task.objects.using("operator").count() == 1


def test_a_full_queue_answers_429_and_says_when_to_come_back(alice, acme):
    Organisation.objects.using("operator").filter(id=acme.organisation.id).update(max_queued_tasks=1)
    assert alice.post(ROUTE, order(acme.agent.id)).status == 202
    refused = alice.post(ROUTE, order(acme.agent.id))
    assert (refused.status, refused.code, refused.headers["Retry-After"]) == (429, "queue_full", "30")


def test_attachments_are_not_supported_yet(alice, acme):
    refused = alice.post(ROUTE, order(acme.agent.id, attachments=[{"id": "a"}]))
    assert (refused.status, refused.code) == (400, "unsupported_field")
    assert alice.post(ROUTE, order(acme.agent.id, attachments=[])).status == 202


def test_an_answer_can_be_delivered_to_a_chat(alice, acme, world):
    place = {"chat_id": world["chat_id"], "thread_id": "7"}
    answer = alice.post(ROUTE, order(acme.agent.id, deliver_to=place))
    assert answer.status == 202
    assert place.items() <= answer.body["deliver_to"].items()


def test_an_archived_agent_and_an_archived_workspace_get_no_work(alice, acme, finish):
    task = alice.post(ROUTE, order(acme.agent.id)).body
    finish(acme, task["id"])
    alice.post(f"/v1/workspaces/{task['workspace_id']}/archive")
    refused = alice.post(ROUTE, {"workspace_id": task["workspace_id"], "prompt": "x"})
    assert (refused.status, refused.code) == (409, "workspace_archived")
    alice.delete(f"/v1/agents/{acme.agent.id}")
    refused = alice.post(ROUTE, order(acme.agent.id))
    assert (refused.status, refused.code) == (409, "agent_archived")


def test_a_message_steers_a_task_until_it_has_ended(alice, acme, finish):
    task = alice.post(ROUTE, order(acme.agent.id)).body
    route = f"{ROUTE}/{task['id']}/messages"
    sent = alice.post(route, {"text": "and this"}, Idempotency_Key="m1")
    assert sent.status == 202
    assert (sent.body["task_id"], sent.body["text"], sent.body["state"]) == (
        task["id"],
        "and this",
        "waiting",
    )
    assert alice.post(route, {"text": "and this"}, Idempotency_Key="m1").body == sent.body
    finish(acme, task["id"], text="hi")
    refused = alice.post(route, {"text": "too late"})
    assert (refused.status, refused.code) == (409, "task_finished")
