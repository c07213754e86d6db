"""Approvals in chats: a card for those who may decide, and for nobody else."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest

from conftest import Tenant
from services.api.hooks.receive import receive_update
from services.domain.agents.actions import AgentFields, create_agent
from services.domain.approvals.actions import (
    Question,
    all_tenants_expire_approvals,
    decide_approval,
    request_approval,
)
from services.domain.approvals.models import Approval
from services.domain.chats.actions import update_link
from services.domain.chats.models import Chat, Delivery, InboundMessage, UnknownSenders
from services.domain.chats.wirings import WiringFields, create_wiring
from services.domain.contacts.models import PlatformAccount
from services.domain.identity.models import Membership
from services.domain.outbox.jobs import RouteMessage, ShowQuestion, enqueue
from services.domain.ports.chat import HookRequest
from services.domain.questions.models import Question as AskedQuestion
from services.domain.tasks.models import Task
from services.domain.tenancy.transaction import tenant_transaction
from services.kit.clock import now
from tests.fakes.chat_places import ChatPlace, chat_place, deliver_to, drain
from tests.gateway.serving import Working, at_work


@pytest.fixture(params=["telegram", "slack"])
def place(request: pytest.FixtureRequest, acme: Tenant, monkeypatch) -> Iterator[ChatPlace]:
    with chat_place(request.param, acme, monkeypatch) as running:
        yield running


@pytest.fixture
def working(acme: Tenant, claude, place: ChatPlace) -> Working:
    return at_work(acme, claude, deliver_to=deliver_to(place))


def ask(task: Task) -> Approval:
    subject = {"host": "files.example.org", "port": 443, "methods": None}
    with tenant_transaction(task.org_id):
        asked = request_approval(
            Question(task.org_id, "egress", subject, task.workspace_id, task.agent_id, task.id)
        )
    assert asked is not None
    return asked


def fresh(approval: Approval) -> Approval:
    return Approval.objects.using("operator").get(id=approval.id)


def link_account(tenant: Tenant, place: ChatPlace, name: str, chat: Chat | None = None) -> None:
    with tenant_transaction(tenant.organisation.id):
        PlatformAccount.objects.create(
            org_id=tenant.organisation.id,
            user_id=tenant.people[name].user_id,
            link=place.link,
            platform_user_id=place.person_id if chat is None else f"of-{name}",
            chat=chat or place.chat,
        )


def other_chat(place: ChatPlace, number: str) -> Chat:
    with tenant_transaction(place.link.org_id):
        return Chat.objects.create(
            org_id=place.link.org_id,
            link=place.link,
            platform_chat_id=number if place.kind == "telegram" else f"D0000{number}",
            kind="direct",
        )


def hear_from_a_stranger(tenant: Tenant, place: ChatPlace) -> Chat:
    """Let somebody unknown write to the tenant's agent in a chat of their own, on a link that asks."""
    chat = other_chat(place, "7770")
    update_link(tenant.owner, place.link.id, unknown_senders=UnknownSenders.REQUEST_APPROVAL)
    create_wiring(tenant.owner, WiringFields(chat_id=chat.id, agent_id=tenant.agent.id))
    with tenant_transaction(tenant.organisation.id):
        message = InboundMessage.objects.create(
            org_id=tenant.organisation.id,
            link=place.link,
            chat=chat,
            dedupe_key="stranger",
            platform_message_id="",
            sender_id=place.stranger_id,
            sender_name="Eve",
            text="let me in",
            is_mention=True,
            sent_at=now(),
        )
        enqueue(RouteMessage(org_id=tenant.organisation.id, message_id=message.id))
    drain()
    return chat


def press(place: ChatPlace, label: str, person_id: str | None = None, *, index: int = -1) -> None:
    body, headers = place.press(label, person_id or place.person_id, index)
    receive_update(place.kind, place.link.id, HookRequest("POST", headers, {}, body, now()))
    drain()
    drain()


def test_an_approval_of_work_from_a_chat_is_decided_there_by_a_linked_member(acme, place, working):
    link_account(acme, place, "bob")
    approval = ask(working.task)
    drain()
    (text,) = place.texts()
    assert "Claude wants to reach" in text.replace("*", "")
    assert "files.example.org" in text
    assert place.buttons() == ["Allow once", "Always", "Deny"]
    press(place, "Allow once")
    decided = fresh(approval)
    assert (decided.status, decided.scope, decided.decided_by_id) == (
        "allowed",
        "once",
        acme.people["bob"].user_id,
    )
    assert "✅ Allowed once by bob" in place.texts()[0]
    assert place.refusals() == []


@pytest.mark.parametrize(
    ("label", "status", "scope"), [("Always", "allowed", "always"), ("Deny", "denied", "")]
)
def test_each_button_does_what_it_says(acme, place, working, label, status, scope):
    link_account(acme, place, "bob")
    approval = ask(working.task)
    drain()
    press(place, label)
    assert (fresh(approval).status, fresh(approval).scope) == (status, scope)


def test_a_stranger_is_refused_where_it_can_be_seen(acme, place, working):
    link_account(acme, place, "bob")
    approval = ask(working.task)
    drain()
    press(place, "Always", place.stranger_id)
    assert fresh(approval).status == "pending"
    (refusal,) = place.refusals()
    assert "Only members" in refusal


def test_an_approval_without_a_chat_goes_to_the_persons_own(acme, claude, place):
    working = at_work(acme, claude)
    ask(working.task)
    drain()
    assert place.texts() == []
    link_account(acme, place, "alice")
    with tenant_transaction(acme.organisation.id):
        Approval.objects.all().delete()
    approval = ask(working.task)
    drain()
    assert "files.example.org" in place.texts()[0]
    press(place, "Deny")
    assert fresh(approval).status == "denied"


def test_what_is_decided_elsewhere_or_expires_is_shown_on_the_card(acme, place, working):
    approval = ask(working.task)
    drain()
    decide_approval(acme.owner, approval.id, "deny")
    drain()
    assert "⛔ Denied by alice" in place.texts()[0]
    with tenant_transaction(acme.organisation.id):
        Approval.objects.all().delete()
    ask(working.task)
    drain()
    Approval.objects.using("operator").update(expires_at=now() - timedelta(seconds=1))
    assert all_tenants_expire_approvals() == 1
    drain()
    assert "Nobody decided in time" in place.texts()[1]


def test_a_stranger_is_let_in_by_an_admin_in_the_admins_own_chat(acme, place):
    link_account(acme, place, "alice")
    theirs = hear_from_a_stranger(acme, place)
    waiting, card = place.texts()
    assert "keep your message" in waiting
    assert "Eve" in card
    assert "let me in" in card
    assert place.buttons() == ["Allow once", "Always", "Deny"]
    press(place, "Always", place.stranger_id)
    assert "Only members" in place.refusals()[0]
    press(place, "Always")
    task = Task.objects.using("operator").get()
    assert (task.prompt, task.deliver_to["chat_id"], task.user_id) == ("let me in", str(theirs.id), None)
    assert "Allowed always by alice" in place.texts()[1]


def test_every_admin_who_linked_a_chat_is_asked_and_told_who_decided(acme, place):
    Membership.objects.using("operator").filter(user=acme.people["bob"].user_id).update(role="admin")
    link_account(acme, place, "alice")
    bobs = other_chat(place, "5020")
    link_account(acme, place, "bob", bobs)
    hear_from_a_stranger(acme, place)
    cards = Delivery.objects.using("operator").filter(kind="card").order_by("id")
    assert [card.chat_id for card in cards] == [place.chat.id, bobs.id]
    press(place, "Deny", index=1)
    assert [text.count("⛔ Denied by alice") for text in place.texts()] == [0, 1, 1, 0]
    assert place.texts()[3] == "I may not answer you."


def test_a_stranger_presses_no_answer_of_an_agents_question(acme, place, working):
    with tenant_transaction(acme.organisation.id):
        question = AskedQuestion.objects.create(
            org_id=acme.organisation.id,
            task_id=working.task.id,
            workspace_id=working.task.workspace_id,
            agent_id=working.task.agent_id,
            chat_id=place.chat.id,
            thread_id=place.thread_id,
            text="Deploy?",
            options=["Yes", "No"],
            key="k",
            expires_at=now() + timedelta(hours=1),
        )
        enqueue(ShowQuestion(org_id=acme.organisation.id, question_id=question.id))
    drain()
    update_link(acme.owner, place.link.id, unknown_senders=UnknownSenders.STRICT)
    press(place, "Yes", place.stranger_id)
    assert "I do not know you" in place.refusals()[0]
    link_account(acme, place, "bob")
    press(place, "No")
    assert AskedQuestion.objects.using("operator").get().answer == "No"


def test_agents_that_a_card_has_no_room_for_are_paged_through(acme, place):
    for number in range(9):
        create_agent(acme.owner, AgentFields(name=f"Worker {number}"))
    link_account(acme, place, "alice")
    chat = other_chat(place, "7771")
    update_link(acme.owner, place.link.id, unknown_senders=UnknownSenders.PUBLIC)
    with tenant_transaction(acme.organisation.id):
        message = InboundMessage.objects.create(
            org_id=acme.organisation.id,
            link=place.link,
            chat=chat,
            dedupe_key="new",
            platform_message_id="",
            sender_id=place.stranger_id,
            text="anybody?",
            is_mention=True,
            sent_at=now(),
        )
        enqueue(RouteMessage(org_id=acme.organisation.id, message_id=message.id))
    drain()
    drain()
    assert place.buttons() == ["Shell", *(f"Worker {number}" for number in range(7)), "More…", "Deny"]
    cards = len(place.texts())
    press(place, "More…")
    assert len(place.texts()) == cards + 1
    assert place.buttons() == ["Worker 7", "Worker 8", "Deny"]
    press(place, "Worker 8")
    with tenant_transaction(acme.organisation.id):
        assert chat.wirings.get().agent.name == "Worker 8"
    closed = [text for text in place.texts() if "✅ Worker 8" in text]
    assert len(closed) == 2
