"""Encrypted rooms, at Synapse and with people whose client is another implementation of the encryption."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pydantic import SecretStr

from services.adapters.chat.matrix import unread
from services.adapters.chat.matrix.adapter import MatrixAdapter
from services.adapters.chat.matrix.config import MatrixConfig
from services.adapters.chat.matrix.encryption import ENCRYPTED
from services.adapters.chat.tests.memory_drawer import MemoryDrawer
from services.adapters.chat.tests.memory_inbox import MemoryInbox, listened, listening
from services.domain.errors import PlatformRefused
from services.domain.ports.chat import ChangeKind, Place
from services.domain.ports.chat_abilities import OutgoingFile
from tests.fakes.synapse import Person, Synapse
from tests.peers.matrix_person import EncryptingPerson

GENEROUS_S = 60.0


@pytest.fixture(scope="module")
def alice(synapse: Synapse, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EncryptingPerson]:
    person = synapse.register("alice-encrypting")
    with EncryptingPerson(synapse.url, person.user_id, tmp_path_factory.mktemp("alice")) as alice:
        yield alice


@pytest.fixture(scope="module")
def bot(synapse: Synapse) -> Person:
    return synapse.register("slipway-encrypting")


@pytest.fixture
def adapter(synapse: Synapse) -> MatrixAdapter:
    return MatrixAdapter(synapse.url)


@pytest.fixture(scope="module")
def drawer() -> MemoryDrawer:
    return MemoryDrawer()


@pytest.fixture
def config(adapter: MatrixAdapter, bot: Person, drawer: MemoryDrawer) -> MatrixConfig:
    bare = MatrixConfig(access_token=SecretStr(bot.token))
    return adapter.with_drawer(bare.with_identity(adapter.connect(bare, "")), drawer)


@pytest.fixture
def inbox(adapter: MatrixAdapter, config: MatrixConfig) -> MemoryInbox:
    first = MemoryInbox()
    listened(adapter, config, first, lambda: bool(first.state))
    return MemoryInbox(first.state)


@pytest.fixture
def room(inbox: MemoryInbox, alice: EncryptingPerson, bot: Person) -> str:
    """An encrypted room in which the two are alone. The bot's device is known by then."""
    room_id = alice.make_room(bot.user_id)
    bot.call("POST", f"/join/{room_id}")
    alice.sync()
    return room_id


def wait_for(inbox: MemoryInbox, count: int) -> None:
    inbox.wait_until(lambda: len(inbox.messages()) == count, timeout_s=GENEROUS_S)


def test_what_is_said_in_an_encrypted_room_is_read_and_answered_encrypted(
    adapter: MatrixAdapter,
    config: MatrixConfig,
    inbox: MemoryInbox,
    room: str,
    alice: EncryptingPerson,
    bot: Person,
) -> None:
    with listening(adapter, config, inbox) as listener:
        asked = alice.say(room, "What is the weather?")
        wait_for(inbox, 1)
        (message,) = inbox.messages()
        assert (message.text, message.message_id, message.place) == (
            "What is the weather?",
            asked,
            Place(room),
        )
        receipt = adapter.send(config, message.place, "It <strong>rains</strong>.", reply_to=asked)
        answer = alice.wait_for_text("It rains.")
        assert answer.event_id == receipt.message_id
        assert answer.source["content"]["m.relates_to"] == {"m.in_reply_to": {"event_id": asked}}
    assert listener.error is None
    assert "m.room.message" not in {event["type"] for event in bot.events(room)}
    adapter.edit(config, Place(room), receipt.message_id, "It pours.")
    edit = alice.wait_for(lambda event: "m.new_content" in event.source["content"])
    assert edit.source["content"]["m.new_content"]["body"] == "It pours."
    assert edit.source["content"]["m.relates_to"]["event_id"] == receipt.message_id


def test_threads_edits_and_files_come_and_go_encrypted(
    adapter: MatrixAdapter, config: MatrixConfig, inbox: MemoryInbox, room: str, alice: EncryptingPerson
) -> None:
    root = alice.say(room, "one")
    thread = {"rel_type": "m.thread", "event_id": root, "is_falling_back": True}
    alice.say(room, "two", **{"m.relates_to": thread})
    new = {"msgtype": "m.text", "body": "won"}
    alice.say(
        room, "* won", **{"m.new_content": new, "m.relates_to": {"rel_type": "m.replace", "event_id": root}}
    )
    data = bytes(range(256)) * 400
    alice.send_file(room, "a.zip", data)
    listened(adapter, config, inbox, lambda: len(inbox.messages()) == 3)
    one, two, file = inbox.messages()
    assert (one.place, two.place) == (Place(room), Place(room, root))
    changes = [change for parsed in inbox.kept for change in parsed.changes]
    assert [(change.kind, change.message_id, change.text) for change in changes] == [
        (ChangeKind.EDITED, root, "won")
    ]
    assert adapter.fetch_file(config, file.files[0].ref, len(data)) == data
    adapter.send_file(config, two.place, OutgoingFile("b.png", "image/png", data), "a <em>picture</em>")
    shown = alice.wait_for(lambda event: event.source["content"].get("filename") == "b.png")
    assert alice.open_file(shown) == data


def test_the_same_key_is_one_message_and_is_found(
    adapter: MatrixAdapter, config: MatrixConfig, room: str, bot: Person
) -> None:
    first = adapter.send_with_key(config, Place(room), "once", "task:1")
    assert adapter.send_with_key(config, Place(room), "once", "task:1") == first
    assert adapter.find_sent(config, Place(room), "task:1") == first
    assert adapter.find_sent(config, Place(room), "task:2") is None
    assert sum(event["type"] == "m.room.encrypted" for event in bot.events(room)) == 1


def test_whoever_takes_over_from_a_killed_listener_reads_what_that_one_had_the_key_of(
    adapter: MatrixAdapter, config: MatrixConfig, inbox: MemoryInbox, room: str, alice: EncryptingPerson
) -> None:
    alice.say(room, "before the crash")
    inbox.crashes = True
    with pytest.raises(MemoryError):
        listened(adapter, config, inbox, lambda: False)
    following = inbox.resumed()
    listened(adapter, config, following, lambda: len(following.messages()) == 1)
    assert following.messages()[0].text == "before the crash"
    assert "no_key" not in following.ignored()


def test_many_processes_write_at_once_and_every_word_is_read(
    adapter: MatrixAdapter, config: MatrixConfig, room: str, alice: EncryptingPerson
) -> None:
    said = [f"word {number}" for number in range(12)]
    with ThreadPoolExecutor(max_workers=4) as processes:
        list(processes.map(lambda text: adapter.send(config, Place(room), text), said))
    for text in said:
        alice.wait_for_text(text)


def test_who_has_left_does_not_get_the_key_of_what_is_said_afterwards(
    synapse: Synapse, adapter: MatrixAdapter, config: MatrixConfig, room: str, bot: Person, tmp_path: Path
) -> None:
    carol = synapse.register(f"carol{uuid.uuid4().hex[:8]}")
    adapter.send(config, Place(room), "before she is there")
    bot.call("POST", f"/rooms/{room}/invite", user_id=carol.user_id)
    with EncryptingPerson(synapse.url, carol.user_id, tmp_path) as client:
        adapter.send(config, Place(room), "while she is invited")
        carol.call("POST", f"/join/{room}")
        client.wait_for_text("while she is invited")
        carol.call("POST", f"/rooms/{room}/leave")
        adapter.send(config, Place(room), "after she left")
    before, invited, after = (
        event["content"]["session_id"] for event in bot.events(room) if event["type"] == ENCRYPTED
    )
    assert before == invited != after


def test_a_message_whose_key_is_late_is_told_of_and_read_when_it_comes(
    adapter: MatrixAdapter,
    config: MatrixConfig,
    drawer: MemoryDrawer,
    inbox: MemoryInbox,
    room: str,
    alice: EncryptingPerson,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(unread, "OVERDUE_S", 0.0)
    alice.say(room, "first")
    listened(adapter, config, inbox, lambda: len(inbox.messages()) == 1)
    keys = {name: entry for name, entry in drawer.entries.items() if ":in:" in name}
    for name in keys:
        del drawer.entries[name]
    following = inbox.resumed()
    with listening(adapter, config, following):
        alice.say(room, "second")
        following.wait_until(lambda: "no_key" in following.ignored(), timeout_s=GENEROUS_S)
        told = alice.wait_for(lambda event: "cannot be read" in event.source["content"]["body"])
        assert told.decrypted
    drawer.entries |= keys
    last = following.resumed()
    listened(adapter, config, last, lambda: len(last.messages()) == 2 and not last.state["waiting"])
    assert [message.text for message in last.messages()] == ["first", "second"]


def test_a_session_that_has_encrypted_elsewhere_is_named_and_its_other_rooms_work(
    adapter: MatrixAdapter, config: MatrixConfig, inbox: MemoryInbox, room: str, bot: Person, synapse: Synapse
) -> None:
    bob = synapse.register(f"bob{uuid.uuid4().hex[:8]}")
    elsewhere = config.with_drawer(MemoryDrawer())
    with pytest.raises(PlatformRefused, match="Sign in as the bot anew"):
        adapter.send(elsewhere, Place(room), "with whose keys?")
    in_clear = bob.make_room(bot.user_id)
    with listening(adapter, elsewhere, inbox):
        inbox.wait_until(lambda: "encryption_unavailable" in inbox.ignored(), timeout_s=GENEROUS_S)
        bob.say(in_clear, "in clear")
        wait_for(inbox, 1)
    assert inbox.messages()[0].text == "in clear"
