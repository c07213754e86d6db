"""What agents ask, on the page of their workspace."""

from __future__ import annotations

from datetime import timedelta

import pytest

from services.domain.questions.models import Question
from services.domain.tenancy.transaction import tenant_transaction
from services.kit.clock import now
from tests.dashboard.conftest import assert_clean
from tests.domain.cast import running

JSON = {"headers": {"Accept": "application/json"}}


@pytest.fixture
def asked(acme) -> Question:
    task, _ = running(acme)
    with tenant_transaction(task.org_id):
        return Question.objects.create(
            org_id=task.org_id,
            task=task,
            workspace_id=task.workspace_id,
            agent_id=task.agent_id,
            text="Deploy <now>?",
            options=["Yes", "No"],
            key="k",
            expires_at=now() + timedelta(hours=1),
        )


def fresh(question: Question) -> Question:
    return Question.objects.using("operator").get(id=question.id)


@pytest.mark.parametrize(
    ("sent", "answer", "option"),
    [({"option": "1"}, "No", 1), ({"text": "later"}, "later", None), ({"text": "yes"}, "Yes", 0)],
)
def test_a_question_is_answered_in_its_place(alice, asked, sent, answer, option):
    page = alice.get(f"/workspaces/{asked.workspace_id}").content.decode()
    assert_clean(page)
    assert "Deploy &lt;now&gt;?" in page
    assert 'value="1">No</button>' in page
    gone = alice.post(f"/questions/{asked.id}/answer", sent)
    assert gone.headers["Location"] == f"/workspaces/{asked.workspace_id}"
    row = fresh(asked)
    assert (row.status, row.answer, row.option, row.answered_via) == ("answered", answer, option, "dashboard")
    assert "Deploy" not in alice.get(f"/workspaces/{asked.workspace_id}/waits").content.decode()


def test_a_second_answer_is_refused_in_words(alice, bob, asked):
    alice.post(f"/questions/{asked.id}/answer", {"option": "0"}, **JSON)
    late = bob.post(f"/questions/{asked.id}/answer", {"option": "1"}, **JSON)
    assert (late.status_code, late.json()["error"]["code"]) == (409, "question_closed")
    assert fresh(asked).answer == "Yes"


@pytest.mark.parametrize("sent", [{}, {"option": "9"}, {"option": "x"}, {"text": " "}])
def test_a_useless_answer_changes_nothing(alice, asked, sent):
    assert alice.post(f"/questions/{asked.id}/answer", sent, **JSON).status_code == 400
    assert fresh(asked).status == "pending"


def test_another_tenant_finds_neither_page_nor_question(mallory, asked):
    assert mallory.get(f"/workspaces/{asked.workspace_id}/waits").status_code == 404
    assert mallory.post(f"/questions/{asked.id}/answer", {"option": "0"}).status_code == 404
    assert fresh(asked).status == "pending"
