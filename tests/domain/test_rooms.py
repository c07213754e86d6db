"""Rooms of our own: people and agents write to each other, by the same router, deliveries and buttons as anywhere."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Iterator
from datetime import timedelta

import pytest

from conftest import Tenant
from services.adapters.chat.web.adapter import WebAdapter
from services.domain.agents.actions import AgentFields, create_agent
from services.domain.chats.models import Chat, Delivery, DeliveryKind, InboundMessage, Link
from services.domain.chats.sending import Piece, Spot, write_change
from services.domain.chats.sending import write_message as write_delivery
from services.domain.contacts.accounts import find_own_chat
from services.domain.errors import (
    ChatMessageMissing,
    ChatMissing,
    FileMissing,
    FileTooLarge,
    Invalid,
    NameTaken,
    NotPermitted,
    RoleMissing,
)
from services.domain.events.log import list_events
from services.domain.identity.models import Membership
from services.domain.outbox.jobs import SendDelivery, enqueue
from services.domain.ports.chat_abilities import Ability, abilities_of
from services.domain.rooms.actions import bring_agent, close_room, open_room, rename_room
from services.domain.rooms.files import (
    Upload,
    add_file,
    all_tenants_forget_unsaid_files,
    get_file,
    plan_file,
)
from services.domain.rooms.models import RoomFile
from services.domain.rooms.names import called_by_name
from services.domain.rooms.queries import Entry, list_at_work, list_entries, list_rooms
from services.domain.rooms.writing import Words, add_reaction, press_button, remove_reaction, write_message
from services.domain.tasks.models import Task
from services.domain.tenancy.transaction import tenant_transaction
from services.kit.clock import now
from services.kit.environment import environment
from services.worker.jobs.volumes import storage
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
    write_message(acme.owner, room.id, Words("echo hello"), key="1")
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
        write_message(acme.owner, room.id, Words("echo hello"), key="1")
        drain()
    assert len(entries(acme, room)) == 1
    assert len(tasks(acme)) == 1


def test_of_two_agents_the_one_answers_that_is_named(acme, room):
    other = create_agent(acme.owner, AgentFields(name="C++ (beta)", provider="shell"))
    bring_agent(acme.owner, room.id, acme.agent.id, answers_all=False)
    bring_agent(acme.owner, room.id, other.id, answers_all=False)
    with pytest.raises(NameTaken):
        bring_agent(acme.owner, room.id, other.id, answers_all=True)
    write_message(acme.owner, room.id, Words("good morning"), key="1")
    write_message(acme.owner, room.id, Words("@c++ (BETA): true"), key="2")
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
    write_message(acme.owner, room.id, Words("hello?"), key="1")
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
        write_message(viewer, room.id, Words("hi"), key="1")
    with pytest.raises(NotPermitted):
        write_message(dataclasses.replace(acme.owner, user_id=None), room.id, Words("hi"), key="1")
    with pytest.raises(RoleMissing):
        close_room(dataclasses.replace(acme.owner, role="member"), room.id)
    close_room(acme.owner, room.id)
    with pytest.raises(ChatMissing):
        entries(acme, room)


def test_a_room_is_nobodys_own_chat(acme, room):
    write_message(acme.owner, room.id, Words("hello"), key="1")
    with tenant_transaction(acme.organisation.id):
        assert find_own_chat(acme.owner.user_id) is None


def test_text_is_bounded_and_storable(acme, room):
    for text in (" \n ", "x" * 20_001):
        with pytest.raises(Invalid):
            write_message(acme.owner, room.id, Words(text), key="1")
    write_message(acme.owner, room.id, Words("a\x00b\r\nc"), key="2")
    assert [entry.text for entry in entries(acme, room)] == ["a\ufffdb\nc"]


def test_commands_are_understood_in_a_room(acme, room):
    write_message(acme.owner, room.id, Words("/agent"), key="1")
    bring_agent(acme.owner, room.id, acme.agent.id, answers_all=False)
    write_message(acme.owner, room.id, Words("/status"), key="2")
    drain()
    assert outcomes(acme) == ["command: agent", "command: status"]
    assert "no conversation here yet" in entries(acme, room)[-1].text
    assert tasks(acme) == []


class Stored:
    """Object storage of the test's own, with a file that alice brought into the room."""

    def __init__(self, tenant: Tenant, room: Chat) -> None:
        self.tenant, self.room = tenant, room

    def bring(self, name: str = "plan.txt", data: bytes = b"the plan") -> RoomFile:
        key = plan_file(self.tenant.owner, self.room.id, len(data))
        storage().put(key, io.BytesIO(data))
        upload = Upload(key, name, "text/plain", len(data))
        return add_file(self.tenant.owner, self.room.id, upload)


@pytest.fixture
def stored(acme, room, tmp_path, monkeypatch) -> Iterator[Stored]:
    monkeypatch.setattr(environment(), "storage_dir", tmp_path / "objects")
    storage.cache_clear()
    yield Stored(acme, room)
    storage.cache_clear()


def test_a_file_that_a_person_brings_is_read_by_the_agent_and_stays_in_the_room(acme, room, stored):
    bring_agent(acme.owner, room.id, acme.agent.id, answers_all=True)
    file = stored.bring()
    for _ in range(2):
        write_message(acme.owner, room.id, Words("read this", (file.id,)), key="1")
        drain("message.route", "file.fetch")
    (task,) = tasks(acme)
    assert "[File plan.txt: text/plain, 8 bytes, at inbox/" in task.prompt
    (entry,) = entries(acme, room)
    assert [(one.id, one.name, one.size_bytes) for one in entry.files] == [(file.id, "plan.txt", 8)]
    with tenant_transaction(acme.organisation.id):
        assert get_file(acme.owner, room.id, file.id).key == file.key
    with pytest.raises(FileMissing):
        write_message(acme.owner, room.id, Words("again", (file.id,)), key="2")
    close_room(acme.owner, room.id)
    drain("objects.forget")
    assert not storage().exists(file.key)


def test_a_file_that_was_never_sent_is_forgotten(acme, room, stored):
    file, said = stored.bring(), stored.bring("said.txt")
    write_message(acme.owner, room.id, Words("", (said.id,)), key="1")
    RoomFile.objects.using("operator").update(created_at=now() - timedelta(days=2))
    all_tenants_forget_unsaid_files()
    drain("objects.forget")
    assert (storage().exists(file.key), storage().exists(said.key)) == (False, True)
    assert RoomFile.objects.using("operator").count() == 1


def test_a_file_is_bounded_and_the_writers_own(acme, room, stored):
    with pytest.raises(FileTooLarge):
        plan_file(acme.owner, room.id, 10**10)
    with pytest.raises(Invalid):
        plan_file(acme.owner, room.id, 0)
    bob = dataclasses.replace(acme.owner, role="member", user_id=acme.users["bob"].pk)
    with pytest.raises(FileMissing):
        write_message(bob, room.id, Words("mine", (stored.bring().id,)), key="1")


def test_a_thread_is_answered_where_it_is_and_stands_below_its_message(acme, room):
    bring_agent(acme.owner, room.id, acme.agent.id, answers_all=True)
    write_message(acme.owner, room.id, Words("first"), key="1")
    drain()
    (root,) = entries(acme, room)
    write_message(acme.owner, room.id, Words("more", thread_id=root.message_id), key="2")
    drain()
    task = tasks(acme)[-1]
    assert task.deliver_to["thread_id"] == root.message_id
    (shown,) = entries(acme, room)
    assert (shown.text, shown.replies) == ("first", 1)
    with tenant_transaction(acme.organisation.id):
        below = list_entries(acme.owner, room.id, thread_id=root.message_id)
        assert [entry.text for entry in below] == ["first", "more"]
    with pytest.raises(ChatMessageMissing):
        write_message(acme.owner, room.id, Words("x", thread_id="no such"), key="3")
    with pytest.raises(Invalid):
        write_message(acme.owner, room.id, Words("x", thread_id=below[1].message_id), key="4")


def test_people_react_each_once_and_take_it_back(acme, room):
    write_message(acme.owner, room.id, Words("shipped"), key="1")
    (entry,) = entries(acme, room)
    bob = dataclasses.replace(acme.owner, role="member", user_id=acme.users["bob"].pk)
    for actor in (acme.owner, bob, bob):
        add_reaction(actor, room.id, entry.message_id, "❤️")
    (given,) = entries(acme, room)[0].reactions
    assert (given.emoji, len(given.names), given.is_own) == ("❤", 2, True)
    remove_reaction(acme.owner, room.id, entry.message_id, "❤")
    (left,) = entries(acme, room)[0].reactions
    assert (left.names, left.is_own) == ((acme.users["bob"].shown_name,), False)
    for text in ("no", "👍 👍", ""):
        with pytest.raises(Invalid):
            add_reaction(acme.owner, room.id, entry.message_id, text)


def _edit(room: Chat, first: Delivery) -> None:
    write_change(first, DeliveryKind.EDIT, text="ONE", task=None)


def _delete(room: Chat, first: Delivery) -> None:
    write_change(first, DeliveryKind.DELETE, task=None)


def _react(room: Chat, first: Delivery) -> None:
    row = Delivery(
        org_id=room.org_id, link_id=room.link_id, chat=room, batch="react", part=0, kind=DeliveryKind.REACT,
        target=first, text="", payload={"emoji": "👍", "message_id": ""},
    )  # fmt: skip
    row.save()
    enqueue(SendDelivery(org_id=room.org_id, batch="react"))


def _send_file(room: Chat, first: Delivery) -> None:
    payload = {"key": "outgoing/plan", "name": "plan.txt", "content_type": "text/plain", "size_bytes": 8}
    storage().put(payload["key"], io.BytesIO(b"the plan"))
    write_delivery(Spot(room), [Piece("Here", DeliveryKind.FILE, payload)], batch="file", task=None)


def _send_card(room: Chat, first: Delivery) -> None:
    piece = Piece("Ship?", DeliveryKind.CARD, {"buttons": [{"label": "Yes", "value": "y", "url": ""}]})
    write_delivery(Spot(room), [piece], batch="card", task=None)


ABILITIES = {
    Ability.EDIT: (_edit, lambda shown: [entry.text for entry in shown] == ["ONE"]),
    Ability.DELETE: (_delete, lambda shown: shown == []),
    Ability.REACT: (_react, lambda shown: [one.emoji for one in shown[0].reactions] == ["👍"]),
    Ability.FILES: (_send_file, lambda shown: [one.name for one in shown[1].files] == ["plan.txt"]),
    Ability.BUTTONS: (_send_card, lambda shown: [one.label for one in shown[1].buttons] == ["Yes"]),
}


@pytest.mark.parametrize("ability", sorted(abilities_of(WebAdapter(""))))
def test_what_an_agent_can_do_in_rooms_is_seen_there(acme, room, stored, ability):
    act, is_seen = ABILITIES[ability]
    with tenant_transaction(acme.organisation.id):
        first = write_delivery(Spot(room), [Piece("one")], batch="a", task=None).first
    drain()
    with tenant_transaction(acme.organisation.id):
        act(room, first)
    drain()
    shown = entries(acme, room)
    assert is_seen(shown)
    for file in [file for entry in shown for file in entry.files]:
        with tenant_transaction(acme.organisation.id):
            key = get_file(acme.owner, room.id, file.id).key
        with storage().open(key) as stream:
            assert stream.read() == b"the plan"
