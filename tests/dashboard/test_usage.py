"""The page of what was used: sums by day and by who used it, their names, and a file that no spreadsheet runs."""

from __future__ import annotations

import csv
import io

import pytest

from conftest import Tenant
from services.domain.agents.actions import AgentFields, create_agent, update_agent
from services.domain.chats.actions import create_link
from services.domain.chats.models import Chat
from services.domain.tasks.models import Task, UsageRecord
from services.domain.tenancy.transaction import tenant_transaction
from tests.dashboard.conftest import assert_clean
from tests.dashboard.samples import submit


def spend(task: Task, model: str, microusd: int) -> None:
    with tenant_transaction(task.org_id):
        UsageRecord.objects.create(
            org_id=task.org_id, task=task, kind="llm", model=model, input_tokens=1_200, output_tokens=34,
            cost_microusd=microusd,
        )  # fmt: skip


@pytest.fixture
def spent(acme: Tenant) -> Task:
    """Let one task of a chat's, and one of a person's, have called models for $3 and $1."""
    config = {"bot_token": "12345:sealed-value"}
    link = create_link(acme.owner, kind="telegram", name="Helpdesk", config=config)
    with tenant_transaction(acme.organisation.id):
        chat = Chat.objects.create(
            org_id=acme.organisation.id, link=link, platform_chat_id="7", kind="group", title="Ops"
        )
    task = submit(acme, deliver_to={"chat_id": str(chat.id)})
    spend(task, "claude-sonnet-5", 3_000_000)
    spend(submit(acme), "gpt-5.4", 1_000_000)
    return task


def rows_of(page: str) -> list[list[str]]:
    import re

    body = page.split("<tbody>")[1].split("</tbody>")[0]
    cells = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in body.split("</tr>")[:-1]]
    return [[re.sub(r"<[^>]+>", "", cell).strip() for cell in row] for row in cells]


@pytest.mark.parametrize(
    ("by", "lines"),
    [
        ("model", [("claude-sonnet-5", "$3.00"), ("gpt-5.4", "$1.00")]),
        ("chat", [("Ops (Helpdesk)", "$3.00"), ("not from a chat", "$1.00")]),
        ("agent", [("shell", "$4.00")]),
        ("member", [("alice", "$4.00")]),
    ],
)
def test_spend_is_shown_by_who_or_what_spent_it(alice, acme, spent, by, lines):
    page = alice.get(f"/usage?by={by}").content.decode()
    assert_clean(page)
    shown = rows_of(page)
    names = {"shell": acme.agent.name}
    assert [tuple(row[:2]) for row in shown] == [(names.get(name, name), cost) for name, cost in lines]
    assert "<dd>$4.00</dd>" in page
    assert page.count("<rect ") == 30


def test_the_workspaces_are_linked(alice, spent):
    page = alice.get("/usage?by=workspace&days=7").content.decode()
    assert f'href="/workspaces/{spent.workspace_id}"' in page
    assert page.count("<rect ") == 7


def test_the_file_has_the_same_figures_and_no_formula(alice, acme, spent):
    agent = create_agent(acme.owner, AgentFields(name="plain", provider="shell"))
    update_agent(acme.owner, agent.id, {"name": "=HYPERLINK(1)"})
    task = submit(acme, agent_id=agent.id)
    spend(task, "claude-sonnet-5", 9_000_000)
    answer = alice.get("/usage.csv?by=agent&days=7")
    assert answer.headers["Content-Disposition"] == 'attachment; filename="usage-by-agent-7-days.csv"'
    head, first, second = list(csv.reader(io.StringIO(answer.content.decode())))
    assert head[:2] == ["agent", "name"]
    assert (first[1], first[head.index("cost_microusd")]) == ("'=HYPERLINK(1)", "9000000")
    assert second[head.index("input_tokens")] == "2400"


def test_nothing_of_another_tenant_is_counted(mallory, spent):
    page = mallory.get("/usage?by=model").content.decode()
    assert "claude-sonnet-5" not in page
    assert "No model was paid for" in page


@pytest.mark.parametrize("query", ["days=8", "by=task", "by=day", "days="])
def test_a_view_that_does_not_exist_is_refused(alice, query):
    assert alice.get(f"/usage?{query}").status_code == 400
