"""Questions: asked once, answered once, by every way there is, by nobody else, and not for ever."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from conftest import Tenant, recorded
from services.api.hooks.receive import receive_update
from services.domain.agents.actions import AgentFields, create_agent
from services.domain.chats import sending
from services.domain.chats.inbound import all_tenants_find_link
from services.domain.chats.models import Delivery
from services.domain.chats.wirings import WiringFields, create_wiring
from services.domain.contacts.accounts import issue_account_code
from services.domain.contacts.destinations import DestinationFields, create_destination
from services.domain.contacts.models import PlatformAccount
from services.domain.errors import HookUnverified, NotTheDecider, QuestionClosed, QuestionMissing
from services.domain.ports.chat import HookRequest
from services.domain.questions.actions import (
    all_tenants_expire_questions,
    answer_question,
)
from services.domain.questions.models import ButtonPress, Question
from services.domain.tasks.answers import answer_task
from services.domain.tasks.models import Task
from services.domain.tenancy.transaction import tenant_transaction
from services.kit.clock import now
from tests.domain.cast import fresh
from tests.fakes.chat_places import ChatPlace, chat_place, deliver_to, drain
from tests.gateway.serving import Caller, Working, at_work, eventually


@pytest.fixture(params=["telegram", "slack"])
def place(request: pytest.FixtureRequest, acme: Tenant, monkeypatch) -> Iterator[ChatPlace]:
    with chat_place(request.param, acme, monkeypatch) as running:
        yield running


@pytest.fixture
def working(acme: Tenant, claude, place: ChatPlace) -> Working:
    return at_work(acme, claude, deliver_to=deliver_to(place))


@pytest.fixture
def chat(gateway: str, working: Working) -> Caller:
    return Caller(gateway, working, "chat")


def ask(chat: Caller, **more: Any) -> dict[str, Any]:
    given = {"question": "Deploy now?", "options": ["Yes", "No"], "wait_s": 0, **more}
    return chat("ask_user_question", **given)


def hook(place: ChatPlace, body: bytes, headers: dict[str, str]) -> None:
    """Call the link's webhook as the platform does, then run what it left to do."""
    receive_update(place.kind, place.link.id, HookRequest("POST", headers, {}, body, now()))
    drain()


def say(place: ChatPlace, text: str, person_id: str | None = None) -> None:
    import json

    body = json.dumps(place.write(text, person_id or place.person_id)).encode()
    hook(place, body, place.signed(body))


def press(place: ChatPlace, label: str, person_id: str | None = None, index: int = -1) -> None:
    hook(place, *place.press(label, person_id or place.person_id, index))


def only_question() -> Question:
    return Question.objects.using("operator").get()


def link_account(tenant: Tenant, place: ChatPlace, name: str, platform_user_id: str) -> None:
    with tenant_transaction(tenant.organisation.id):
        PlatformAccount.objects.create(
            org_id=tenant.organisation.id,
            user_id=tenant.people[name].user_id,
            link=place.link,
            platform_user_id=platform_user_id,
            chat=place.chat,
        )


# --- asking ------------------------------------------------------------------------------------------


def test_a_question_stands_in_the_chat_with_its_buttons(chat, place, working, acme):
    with recorded() as seen:
        given = ask(chat)
        again = ask(chat)
    assert (given["status"], given["answer"], given["asked_in"]) == ("pending", None, "The chat")
    assert again["question_id"] == given["question_id"]
    assert seen.event_types == ["question.asked"]
    assert only_question().status == "pending"
    drain()
    (text,) = place.texts()
    assert "Deploy now?" in text
    assert place.buttons() == ["Yes", "No"]


def test_a_press_answers_once_is_shown_on_the_card_and_lets_the_task_go_on(chat, place, working, acme):
    given = ask(chat)
    drain()
    answers: list[dict[str, Any]] = []
    waiting = threading.Thread(
        target=lambda: answers.append(chat("question_wait", question_id=given["question_id"], wait_s=5))
    )
    began = time.monotonic()
    waiting.start()
    eventually(lambda: fresh(working.task).status == "waiting")
    with recorded() as seen:
        body, headers = place.press("Yes")
        for _ in range(3):
            receive_update(place.kind, place.link.id, HookRequest("POST", headers, {}, body, now()))
    assert seen.job_types == ["press.handle"]
    drain()
    drain()
    waiting.join(6)
    assert time.monotonic() - began < 5
    (answer,) = answers
    assert (answer["status"], answer["answer"], answer["option"]) == ("answered", "Yes", 1)
    assert answer["answered_via"] == place.kind
    assert fresh(working.task).status == "running"
    (text,) = place.texts()
    assert "✅ Yes" in text
    assert place.refusals() == []
    assert only_question().status == "answered"


def test_a_second_press_is_refused_where_it_can_be_seen(chat, place):
    ask(chat)
    drain()
    late = place.press("No")
    press(place, "Yes")
    hook(place, *late)
    (refusal,) = place.refusals()
    assert "answered already: Yes" in refusal
    assert only_question().answer == "Yes"


def test_what_is_written_answers_by_number_by_label_or_in_own_words(chat, place):
    for said, answer, option in (
        ("2", "No", 1),
        ("yes", "Yes", 0),
        ("Tomorrow, please", "Tomorrow, please", None),
    ):
        given = ask(chat, question=f"Now, or {said}?")
        drain()
        say(place, said)
        row = Question.objects.using("operator").get(id=given["question_id"])
        assert (row.status, row.answer, row.option) == ("answered", answer, option)
    with tenant_transaction(place.link.org_id):
        assert Task.objects.count() == 1  # an answer is no new work


def test_many_or_long_options_are_shown_in_full(chat, place):
    options = [f"Option {number} " + "x" * 120 for number in range(3)]
    ask(chat, options=options)
    drain()
    assert all(option in place.texts()[-1] for option in options)
    assert len(place.buttons()) == 3
    press(place, place.buttons()[1])
    assert only_question().answer == options[1]


def test_a_question_without_a_chat_is_answered_by_rest_or_dashboard_alone(gateway, acme, claude):
    working = at_work(acme, claude)
    chat = Caller(gateway, working, "chat")
    given = ask(chat)
    assert given["asked_in"] is None
    answer_question(acme.people["bob"], uuid.UUID(given["question_id"]), option=1)
    done = chat("question_wait", question_id=given["question_id"])
    assert (done["answer"], done["option"], done["answered_by"], done["answered_via"]) == (
        "No",
        2,
        "bob",
        "api",
    )


def test_a_task_is_answered_by_its_own_id(gateway, acme, claude):
    working = at_work(acme, claude)
    chat = Caller(gateway, working, "chat")
    first, second = ask(chat), ask(chat, question="And then?")
    for text in ("yes", "rest"):
        answer_task(acme.owner, working.task.id, text)
    given = [chat("question_wait", question_id=one["question_id"])["answer"] for one in (first, second)]
    assert given == ["Yes", "rest"]


def test_the_answer_is_there_after_the_gateway_has_started_anew(chat, place, working, acme, model_server):
    from pydantic import SecretStr

    from services.mcp_gateway.http import AgentHttp
    from services.mcp_gateway.llm.vendor import Vendor
    from tests.gateway.serving import served

    given = ask(chat)
    answer_question(acme.owner, uuid.UUID(given["question_id"]), option=0)
    with served(AgentHttp(Vendor(model_server.url, SecretStr("x")))) as url:
        later = Caller(url, working, "chat")
        assert later("question_wait", question_id=given["question_id"])["answer"] == "Yes"


def test_an_agent_cannot_touch_the_card_of_its_question(chat, place):
    ask(chat)
    drain()
    card = Delivery.objects.using("operator").get()
    for tool, more in (
        ("edit_message", {"text": "x"}),
        ("delete_message", {}),
        ("add_reaction", {"emoji": "👍"}),
    ):
        assert chat.refused(tool, message_id=str(card.id), **more).startswith("delivery_not_found:")


def test_a_task_that_has_said_enough_can_still_be_answered(chat, place, monkeypatch):
    monkeypatch.setattr(sending, "MAX_OF_A_TASK", 0)
    assert chat.refused("send_message", text="x").startswith("rate_limited:")
    ask(chat)
    drain()
    assert place.buttons() == ["Yes", "No"]


# --- who may answer ----------------------------------------------------------------------------------


def test_a_question_of_a_named_person_is_theirs_alone(gateway, acme, claude, place):
    link_account(acme, place, "bob", place.person_id)
    create_destination(acme.owner, DestinationFields(name="bob", person_id=acme.people["bob"].user_id))
    chat = Caller(gateway, at_work(acme, claude), "chat")
    given = ask(chat, to="bob")
    drain()
    press(place, "Yes", place.stranger_id)
    (refusal,) = place.refusals()
    assert "somebody else" in refusal
    with pytest.raises(NotTheDecider):
        answer_question(acme.owner, uuid.UUID(given["question_id"]), option=0)
    assert only_question().status == "pending"
    press(place, "No")
    assert (only_question().answer, only_question().answered_by_id) == ("No", acme.people["bob"].user_id)


def test_a_stranger_who_writes_does_not_answer_for_a_named_person(gateway, acme, claude, place):
    link_account(acme, place, "bob", place.person_id)
    create_destination(acme.owner, DestinationFields(name="bob", person_id=acme.people["bob"].user_id))
    ask(Caller(gateway, at_work(acme, claude), "chat"), to="bob")
    drain()
    say(place, "yes", place.stranger_id)
    assert only_question().status == "pending"


def test_a_forged_press_and_one_from_another_chat_do_nothing(chat, place, acme):
    ask(chat)
    drain()
    body, headers = place.press("Yes")
    forged = {name: value[:-1] + "x" for name, value in headers.items() if "content" not in name}
    with pytest.raises(HookUnverified):
        receive_update(place.kind, place.link.id, HookRequest("POST", headers | forged, {}, body, now()))
    assert ButtonPress.objects.using("operator").count() == 0
    from services.domain.chats.models import Chat

    with tenant_transaction(acme.organisation.id):
        Chat.objects.filter(id=place.chat.id).update(platform_chat_id="elsewhere")
        Chat.objects.create(
            org_id=acme.organisation.id, link=place.link, platform_chat_id=place.chat_id, kind="direct"
        )
    hook(place, body, headers)
    assert only_question().status == "pending"
    assert place.refusals()


def test_another_tenant_finds_no_question(gateway, acme, globex, chat, place):
    given = ask(chat)
    with pytest.raises(QuestionMissing):
        answer_question(globex.owner, uuid.UUID(given["question_id"]), option=0)
    agent = create_agent(globex.owner, AgentFields(name="Spy", provider="claude"))
    spying = Caller(gateway, at_work(globex, agent), "chat")
    words = spying.refused("question_wait", question_id=given["question_id"])
    assert words.startswith("question_not_found:")


# --- the end -----------------------------------------------------------------------------------------


def test_a_question_expires_and_its_card_says_so(chat, place):
    given = ask(chat)
    drain()
    late = place.press("Yes")
    Question.objects.using("operator").update(expires_at=now() - timedelta(seconds=1))
    assert chat("question_wait", question_id=given["question_id"])["status"] == "expired"
    assert all_tenants_expire_questions() == 1
    drain()
    assert "Nobody answered in time" in place.texts()[0]
    hook(place, *late)
    assert "time to answer this is over" in place.refusals()[0]
    again = ask(chat)
    assert again["question_id"] != given["question_id"]


def test_a_question_ends_with_its_task(chat, place, working, acme):
    given = ask(chat)
    drain()
    working.end()
    assert only_question().status == "withdrawn"
    drain("question.show", "delivery.send")
    assert any("is over" in text for text in place.texts())
    with pytest.raises(QuestionClosed):
        answer_question(acme.owner, uuid.UUID(given["question_id"]), option=0)


def test_bad_questions_are_refused_with_words_that_help(chat):
    assert chat.refused("ask_user_question", question="", wait_s=0).startswith("invalid: question:")
    assert "options" in chat.refused("ask_user_question", question="x", options=["a", "A"], wait_s=0)
    assert chat.refused("ask_user_question", question="x", timeout_s=1, wait_s=0).startswith("invalid:")
    assert chat.refused("ask_user_question", question="x", to="nobody", wait_s=0).startswith("destination_")
    assert chat.refused("question_wait", question_id=str(uuid.uuid4())).startswith("question_not_found:")


# --- cards, accounts ---------------------------------------------------------------------------------


def test_a_card_shows_its_fields_and_a_press_comes_back_as_new_work(chat, place, acme, claude):
    create_wiring(acme.owner, WiringFields(chat_id=place.chat.id, agent_id=claude.id, engage="mention"))
    card = {
        "title": "Build 7",
        "text": "It is **green**.",
        "fields": [{"name": "Branch", "value": "main"}],
        "buttons": [{"label": "Release"}, {"label": "Look", "url": "https://ci.example/7"}],
    }
    first = chat("send_card", **card)
    assert chat("send_card", **card)["is_repeat"] is True
    drain()
    (text,) = place.texts()
    assert "Build 7" in text
    assert "Branch" in text
    assert place.buttons() == ["Release", "Look"]
    press(place, "Release")
    with tenant_transaction(acme.organisation.id):
        task = Task.objects.order_by("-id").first()
        assert "Release" in task.prompt
        assert task.deliver_to["chat_id"] == str(place.chat.id)
    assert place.refusals() == []
    chat("edit_message", message_id=first["message_id"], text="Released.")
    drain()
    assert place.texts()[0] == "Released."
    assert chat.refused("send_card", title="x", buttons=[{"label": "x", "url": "http://x"}])


def test_an_account_is_linked_by_a_code_that_is_good_once(acme, place):
    if place.kind != "telegram":
        pytest.skip("a direct chat is needed")
    issued = issue_account_code(acme.people["bob"])
    handle = all_tenants_find_link(place.link.id, place.kind)
    assert handle is not None
    say(place, f"/start {issued.code}")
    assert "linked to bob@acme.example" in place.texts()[-1]
    account = PlatformAccount.objects.using("operator").get()
    assert (account.user_id, account.platform_user_id) == (acme.people["bob"].user_id, place.person_id)
    say(place, f"/link {issued.code}", place.stranger_id)
    assert "not valid" in place.texts()[-1]
    assert PlatformAccount.objects.using("operator").count() == 1
