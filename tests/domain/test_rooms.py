"""Rooms of our own: people and agents write to each other, by the same router, deliveries and buttons as anywhere."""

from __future__ import annotations

import dataclasses

import pytest

from conftest import Tenant
from services.domain.agents.actions import AgentFields, create_agent
from services.domain.chats.models import Chat, DeliveryKind, InboundMessage, Link
from services.domain.chats.sending import Piece, Spot, write_change
from services.domain.chats.sending import write_message as write_delivery
from services.domain.contacts.accounts import find_own_chat
from services.domain.errors import ChatMissing, Invalid, NameTaken, NotPermitted, RoleMissing
from services.domain.events.log import list_events
from services.domain.identity.models import Membership
from services.domain.rooms.actions import (
    bring_agent,
    called_by_name,
    close_room,
    open_room,
    press_button,
    rename_room,
    write_message,
)
from services.domain.rooms.queries import Entry, list_at_work, list_entries, list_rooms
from services.domain.tasks.models import Task
from services.domain.tenancy.transaction import tenant_transaction
from tests.domain.cast import Runner, start
from tests.fakes.chat_places import drain


def entries(tenant: Tenant, room: Chat) -> list[Entry]:
    with tenant_transaction(tenant.organisation.id):
        return list_entries(tenant.owner, room.id)


def tasks(tenant: Tenant) -> list[Task]:
    with tenant_transaction(tenant.organisation.id):
        return list(Task.objects.select_related("agent").order_by("id"))


def outcomes(tenant: Tenant) -> list[str]:
    with tenant_transaction(tenant.organisation.id):
        return list(InboundMessage.objects.order_by("id").values_list("outcome", flat=True))


@pytest.fixture
def room(acme: Tenant) -> Chat:
    return open_room(acme.owner, "  Release   plans ")


def test_rooms_share_one_link_and_have_names(acme, room):
    other = open_room(acme.owner, "Ops")
    assert (room.title, other.link_id) == ("Release plans", room.link_id)
    with tenant_transaction(acme.organisation.id):
        assert Link.objects.get(kind="web").status == "connected"
        assert [row.title for row in list_rooms(acme.owner).order_by("id")] == ["Release plans", "Ops"]
    assert rename_room(acme.owner, other.id, "Operations").title == "Operations"
    with pytest.raises(Invalid):
        open_room(acme.owner, " ")


def test_an_agent_answers_in_the_room_under_its_name(acme, room):
    bring_agent(acme.owner, room.id, acme.agent.id, answers_all=True)
    write_message(acme.owner, room.id, "echo hello", key="1")
    drain()
    (task,) = tasks(acme)
    # Others write and read there: what an agent does in a room is nobody's own work.
    assert (task.prompt, task.source, task.user_id) == ("echo hello", "web", None)
    with tenant_transaction(acme.organisation.id):
        assert [row.id for row in list_at_work(acme.owner, room.id)] == [task.id]
    runner = Runner(task, start(task).sandbox.id)
    runner.says("turn.started", provider="shell")
    runner.says("turn.done", status="succeeded", text="**hello**", turns=1, tool_calls=1)
    drain()
    said, answer = entries(acme, room)
    assert (said.text, said.user_id, said.agent_name) == ("echo hello", str(acme.owner.user_id), "")
    assert (answer.text, answer.agent_name, answer.state) == ("**hello**", acme.agent.name, "sent")
    assert answer.workspace_id == task.workspace_id
    with tenant_transaction(acme.organisation.id):
        assert list_at_work(acme.owner, room.id) == []
        stream = list_events(f"org:{acme.organisation.id}", after=0, limit=100)
        told = [event for event in stream if event.type == "room.changed"]
        assert told[-1].data == {"chat_id": str(room.id)}
        # Opened, an agent in it, written, and the answer written and sent.
        assert len(told) == 5


def test_the_same_key_writes_once(acme, room):
    bring_agent(acme.owner, room.id, acme.agent.id, answers_all=True)
    for _ in range(2):
        write_message(acme.owner, room.id, "echo hello", key="1")
        drain()
    assert len(entries(acme, room)) == 1
    assert len(tasks(acme)) == 1


def test_of_two_agents_the_one_answers_that_is_named(acme, room):
    other = create_agent(acme.owner, AgentFields(name="C++ (beta)", provider="shell"))
    bring_agent(acme.owner, room.id, acme.agent.id, answers_all=False)
    bring_agent(acme.owner, room.id, other.id, answers_all=False)
    with pytest.raises(NameTaken):
        bring_agent(acme.owner, room.id, other.id, answers_all=True)
    write_message(acme.owner, room.id, "good morning", key="1")
    write_message(acme.owner, room.id, "@c++ (BETA): true", key="2")
    drain()
    assert [task.agent_id for task in tasks(acme)] == [other.id]
    assert outcomes(acme)[0].startswith("context")


@pytest.mark.parametrize(
    ("name", "text", "is_called"),
    [
        ("Coder", "@Coder do it", True),
        ("Coder", "please, @coder!", True),
        ("Coder", "@Coders do it", False),
        ("Coder", "mail@Coder.example", False),
        ("Coder", "Coder do it", False),
        ("a.b", "@aXb", False),
    ],
)
def test_a_name_is_a_word_after_an_at(name, text, is_called):
    import re

    assert (re.search(called_by_name(name), text) is not None) is is_called


def test_without_an_agent_it_says_so(acme, room):
    write_message(acme.owner, room.id, "hello?", key="1")
    drain()
    assert [entry.reason for entry in entries(acme, room)] == ["no_wiring"]


def test_edits_are_folded_in_and_deletions_left_out(acme, room):
    with tenant_transaction(acme.organisation.id):
        first = write_delivery(Spot(room), [Piece("one")], batch="a", task=None).first
        second = write_delivery(Spot(room), [Piece("two")], batch="b", task=None).first
    drain()
    with tenant_transaction(acme.organisation.id):
        write_change(first, DeliveryKind.EDIT, text="ONE", task=None)
        write_change(second, DeliveryKind.DELETE, task=None)
    drain()
    (entry,) = entries(acme, room)
    assert (entry.text, entry.is_edited, entry.state) == ("ONE", True, "sent")


def test_a_button_of_an_agents_card_comes_to_it_as_a_message(acme, room):
    bring_agent(acme.owner, room.id, acme.agent.id, answers_all=True)
    payload = {"buttons": [{"label": "Ship it", "value": "c:0:ship", "url": ""}]}
    with tenant_transaction(acme.organisation.id):
        piece = Piece("Ship?", DeliveryKind.CARD, payload)
        write_delivery(Spot(room), [piece], batch="card", task=None)
    drain()
    (card,) = entries(acme, room)
    assert [button.label for button in card.buttons] == ["Ship it"]
    press_button(acme.owner, room.id, card.message_id, card.buttons[0].value)
    drain()
    assert len(tasks(acme)) == 1


def test_only_members_write_and_only_admins_close(acme, room):
    with tenant_transaction(acme.organisation.id):
        Membership.objects.filter(user=acme.users["bob"]).update(role="viewer")
    viewer = dataclasses.replace(acme.owner, role="viewer", user_id=acme.users["bob"].pk)
    with pytest.raises(NotPermitted):
        write_message(viewer, room.id, "hi", key="1")
    with pytest.raises(NotPermitted):
        write_message(dataclasses.replace(acme.owner, user_id=None), room.id, "hi", key="1")
    with pytest.raises(RoleMissing):
        close_room(dataclasses.replace(acme.owner, role="member"), room.id)
    close_room(acme.owner, room.id)
    with pytest.raises(ChatMissing):
        entries(acme, room)


def test_a_room_is_nobodys_own_chat(acme, room):
    write_message(acme.owner, room.id, "hello", key="1")
    with tenant_transaction(acme.organisation.id):
        assert find_own_chat(acme.owner.user_id) is None


def test_text_is_bounded_and_storable(acme, room):
    for text in (" \n ", "x" * 20_001):
        with pytest.raises(Invalid):
            write_message(acme.owner, room.id, text, key="1")
    write_message(acme.owner, room.id, "a\x00b\r\nc", key="2")
    assert [entry.text for entry in entries(acme, room)] == ["a\ufffdb\nc"]


def test_commands_are_understood_in_a_room(acme, room):
    write_message(acme.owner, room.id, "/agent", key="1")
    bring_agent(acme.owner, room.id, acme.agent.id, answers_all=False)
    write_message(acme.owner, room.id, "/status", key="2")
    drain()
    assert outcomes(acme) == ["command: agent", "command: status"]
    assert "no conversation here yet" in entries(acme, room)[-1].text
    assert tasks(acme) == []
