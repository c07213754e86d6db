"""The chat tools about messages: sent once, changed by their sender alone, to nowhere but where one may."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from conftest import Tenant, recorded
from services.domain.actors import system_actor
from services.domain.agents.actions import AgentFields, create_agent
from services.domain.chats.models import Delivery
from services.domain.chats.outbound import take_next_part
from services.domain.chats.sending import MAX_OF_A_TASK
from services.domain.contacts.destinations import DestinationFields, create_destination
from services.domain.tenancy.transaction import tenant_transaction
from services.kit.clock import now
from services.worker.jobs import chats as chat_jobs
from services.worker.jobs import sending
from tests.fakes.chat_places import ChatPlace, chat_place, deliver_to, drain
from tests.fakes.serving import Fault
from tests.gateway.serving import Caller, Working, at_work


@pytest.fixture(params=["telegram", "slack"])
def place(request: pytest.FixtureRequest, acme: Tenant, monkeypatch) -> Iterator[ChatPlace]:
    with chat_place(request.param, acme, monkeypatch) as running:
        yield running


@pytest.fixture
def asked(place: ChatPlace) -> str:
    """Have somebody write in the chat; gives the platform's id of the message."""
    written = place.write("go")
    message = written.get("message") or written["event"]
    return str(message.get("message_id") or message["ts"])


@pytest.fixture
def working(acme: Tenant, claude, place: ChatPlace, asked: str) -> Working:
    return at_work(acme, claude, deliver_to=deliver_to(place, asked))


@pytest.fixture
def chat(gateway: str, working: Working) -> Caller:
    return Caller(gateway, working, "chat")


def all_deliveries() -> list[Delivery]:
    return list(Delivery.objects.using("operator").order_by("id"))


# --- send_message ------------------------------------------------------------------------------------


def test_a_message_reaches_the_chat_that_asked_and_is_sent_once_however_often_it_is_called(chat, place):
    with recorded() as seen:
        first = chat("send_message", text="Half **done**")
        again = chat("send_message", text="Half **done**")
    assert (first["state"], first["parts"], first["is_repeat"]) == ("queued", 1, False)
    assert (again["message_id"], again["is_repeat"]) == (first["message_id"], True)
    assert seen.event_types == ["delivery.changed"]
    assert seen.job_types == ["delivery.send"]
    drain()
    assert [text.replace("*", "") for text in place.texts()] == ["Half done"]
    assert chat("send_message", text="Half **done**")["state"] == "sent"
    drain()
    assert len(place.texts()) == 1
    assert chat("send_message", text="Half **done**", key="2")["is_repeat"] is False
    drain()
    assert len(place.texts()) == 2


def test_a_message_goes_into_the_thread_that_asked_and_answers_what_is_named(chat, place):
    first = chat("send_message", text="one")
    drain()
    chat("send_message", text="two", reply_to=first["message_id"])
    drain()
    if place.kind == "telegram":
        replied = place.server.sent.all()[-1]["message"]["reply_to_message"]
        assert replied["text"] == "one"
    else:
        assert {entry["message"]["thread_ts"] for entry in place.server.sent.all()} == {place.thread_id}


def test_a_long_message_goes_out_as_several_in_order(chat, place):
    text = "\n\n".join(f"paragraph {number} " + "x" * 400 for number in range(30))
    given = chat("send_message", text=text)
    assert given["parts"] > 1
    drain()
    assert len(place.texts()) == given["parts"]
    words = " ".join(place.texts())
    assert words.index("paragraph 3 ") < words.index("paragraph 29 ")


def test_a_worker_that_dies_before_the_platform_was_called_costs_nothing(chat, place, acme):
    chat("send_message", text="careful")
    (row,) = all_deliveries()
    assert take_next_part(row.org_id, row.batch) is not None  # and then the worker is gone
    drain()
    assert place.texts() == []
    Delivery.objects.using("operator").update(lease_until=now(), next_attempt_at=now())
    chat_jobs.send_batch(chat_jobs.SendDelivery(org_id=row.org_id, batch=row.batch))
    assert place.texts() == ["careful"]


@pytest.mark.parametrize("tool", ["send_message", "send_card"])
def test_a_worker_that_dies_after_sending_is_found_out_where_the_platform_keeps_our_key(
    chat, place, monkeypatch, tool
):
    """Slack keeps a key with each message. Telegram does not: there a death in this moment sends twice."""
    if tool == "send_card":
        chat("send_card", title="careful", text="")
    else:
        chat("send_message", text="careful")
    (row,) = all_deliveries()
    part = take_next_part(row.org_id, row.batch)
    assert part is not None
    sending.perform(chat_jobs.adapters()[part.kind], row.org_id, part)  # sent, and not recorded
    Delivery.objects.using("operator").update(lease_until=now(), next_attempt_at=now())
    chat_jobs.send_batch(chat_jobs.SendDelivery(org_id=row.org_id, batch=row.batch))
    assert all_deliveries()[0].status == "sent"
    assert len(place.texts()) == (1 if place.kind == "slack" else 2)


def test_an_answer_that_is_lost_on_the_way_does_not_send_twice_on_slack(chat, place):
    method = "sendmessage" if place.kind == "telegram" else "chat.postMessage"
    place.server.faults.plan(Fault("drop", method=method))
    chat("send_message", text="once")
    drain()
    assert all_deliveries()[0].status == "queued"
    Delivery.objects.using("operator").update(next_attempt_at=now())
    row = all_deliveries()[0]
    chat_jobs.send_batch(chat_jobs.SendDelivery(org_id=row.org_id, batch=row.batch))
    assert all_deliveries()[0].status == "sent"
    if place.kind == "slack":
        assert place.texts() == ["once"]


def test_a_message_that_cannot_be_sent_says_so(chat, place):
    place.server.faults.plan(Fault("forbid"))
    chat("send_message", text="hello")
    drain()
    given = chat("send_message", text="hello")
    assert given["state"] == "failed"
    assert given["error"]


def test_a_task_cannot_send_without_end(chat, monkeypatch):
    from services.domain.chats import sending as domain_sending

    monkeypatch.setattr(domain_sending, "MAX_OF_A_TASK", 2)
    chat("send_message", text="1")
    chat("send_message", text="2")
    assert chat.refused("send_message", text="3").startswith("rate_limited:")
    assert chat("send_message", text="2")["is_repeat"] is True
    assert MAX_OF_A_TASK > 2


def test_bad_calls_say_how_to_mend_them(chat):
    assert "text" in chat.refused("send_message")
    assert chat.refused("send_message", text="x\x00").startswith("invalid: text:")
    assert chat.refused("send_message", text="x", chat_id="501").startswith("invalid: chat_id:")


# --- destinations ------------------------------------------------------------------------------------


def test_an_agent_sends_to_its_destinations_and_to_nothing_else(gateway, acme, globex, claude, place):
    other_agent = create_agent(acme.owner, AgentFields(name="Other"))
    chat_id = place.chat.id
    for fields in (
        {"name": "team"},
        {"name": "shared", "is_shared": True},
        {"name": "not-mine", "agent_ids": [other_agent.id]},
    ):
        create_destination(acme.owner, DestinationFields(chat_id=chat_id, **fields))
    create_destination(acme.people["bob"], DestinationFields(name="bobs", chat_id=chat_id))
    chat = Caller(gateway, at_work(acme, claude), "chat")
    shown = chat("list_destinations")["destinations"]
    assert [(one["name"], one["kind"], one["platform"]) for one in shown] == [
        ("shared", "chat", place.kind),
        ("team", "chat", place.kind),
    ]
    assert shown[0]["can"] == ["buttons", "delete", "edit", "files", "react"]
    chat("send_message", to="team", text="to the team")
    chat("send_message", to="Shared", text="to all")
    for name in ("not-mine", "bobs", "nobody", str(chat_id), place.chat_id, "@bob", "here", ""):
        assert chat.refused("send_message", to=name, text="x").startswith("destination_not_found:")
    drain()
    assert place.texts() == ["to the team", "to all"]


def test_another_tenants_chats_and_messages_do_not_exist(gateway, acme, globex, chat, place):
    mine = chat("send_message", text="ours")
    drain()
    agent = create_agent(globex.owner, AgentFields(name="Spy", provider="claude"))
    spying = Caller(gateway, at_work(globex, agent), "chat")
    assert spying("list_destinations") == {"destinations": []}
    for to in ("here", "team", str(place.chat.id)):
        assert spying.refused("send_message", to=to, text="x").startswith("destination_not_found:")
    for tool, more in (
        ("edit_message", {"text": "x"}),
        ("delete_message", {}),
        ("add_reaction", {"emoji": "👍"}),
    ):
        words = spying.refused(tool, message_id=mine["message_id"], **more)
        assert words.startswith("delivery_not_found:")
    assert place.texts() == ["ours"]


def test_the_chat_that_asked_is_the_only_here(gateway, acme, claude, place):
    nobodys = at_work(acme, claude, who=system_actor(acme.organisation.id), deliver_to=deliver_to(place))
    chat = Caller(gateway, nobodys, "chat")
    assert [one["name"] for one in chat("list_destinations")["destinations"]] == ["here"]
    chat("send_message", text="hello")
    drain()
    assert place.texts() == ["hello"]


# --- edit, delete, react -----------------------------------------------------------------------------


def test_a_message_is_edited_in_place_and_the_last_word_stays(chat, place):
    given = chat("send_message", text="1 of 3")
    for step in ("2 of 3", "3 of 3", "3 of 3"):
        chat("edit_message", message_id=given["message_id"], text=step)
    drain()
    for row in all_deliveries():
        Delivery.objects.using("operator").filter(id=row.id).update(next_attempt_at=now())
        chat_jobs.send_batch(chat_jobs.SendDelivery(org_id=row.org_id, batch=row.batch))
    assert place.texts() == ["3 of 3"]
    assert [row.kind for row in all_deliveries()] == ["text", "edit", "edit"]
    assert all(row.status == "sent" for row in all_deliveries())
    back = chat("edit_message", message_id=given["message_id"], text="2 of 3")
    assert back["is_repeat"] is False
    drain()
    assert place.texts() == ["2 of 3"]


def test_an_edit_that_takes_several_messages_is_refused(chat):
    given = chat("send_message", text="short")
    words = chat.refused("edit_message", message_id=given["message_id"], text="long " * 3_000)
    assert words.startswith("invalid:")
    assert "text: takes" in words


def test_a_change_of_what_was_never_sent_fails_with_it(chat, place):
    place.server.faults.plan(Fault("forbid"))
    given = chat("send_message", text="x")
    chat("edit_message", message_id=given["message_id"], text="y")
    drain()
    row = all_deliveries()[1]
    chat_jobs.send_batch(chat_jobs.SendDelivery(org_id=row.org_id, batch=row.batch))
    assert [row.status for row in all_deliveries()] == ["failed", "failed"]
    words = chat.refused("edit_message", message_id=given["message_id"], text="z")
    assert words.startswith("message_gone:")


def test_a_message_is_taken_back_once_with_all_its_parts(chat, place):
    given = chat("send_message", text="word " * 2_000)
    drain()
    chat("delete_message", message_id=given["message_id"])
    assert chat("delete_message", message_id=given["message_id"])["is_repeat"] is True
    drain()
    assert place.deleted() == given["parts"] > 1
    assert chat.refused("edit_message", message_id=given["message_id"], text="x").startswith("conflict:")


def test_a_reaction_goes_to_what_asked_or_to_ones_own_message(chat, place):
    chat("add_reaction", emoji="👀")
    assert chat("add_reaction", emoji="eyes")["is_repeat"] is True
    own = chat("send_message", text="done")
    drain()
    chat("add_reaction", emoji="🎉", message_id=own["message_id"])
    drain()
    drain()
    expected = [["👀"], ["🎉"]] if place.kind == "telegram" else ["eyes", "tada"]
    assert place.reactions() == expected
    assert chat.refused("add_reaction", emoji="not an emoji").startswith("invalid:")


def test_another_agent_of_the_person_does_not_change_what_this_one_sent(gateway, acme, chat, place):
    given = chat("send_message", text="mine")
    drain()
    other = create_agent(acme.owner, AgentFields(name="Other", provider="claude"))
    working = at_work(acme, other, deliver_to=deliver_to(place))
    words = Caller(gateway, working, "chat").refused(
        "edit_message", message_id=given["message_id"], text="hijacked"
    )
    assert words.startswith("delivery_not_found:")
    assert place.texts() == ["mine"]
    with tenant_transaction(acme.organisation.id):
        assert Delivery.objects.count() == 1
