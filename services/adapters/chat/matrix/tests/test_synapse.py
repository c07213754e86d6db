"""The adapter and Synapse: the homeserver that most people run."""

from __future__ import annotations

import uuid

import pytest
from pydantic import SecretStr

from services.adapters.chat.matrix.adapter import MatrixAdapter
from services.adapters.chat.matrix.config import MatrixConfig
from services.adapters.chat.tests.memory_inbox import MemoryInbox, listened, listening
from services.domain.errors import FileTooLarge, PlatformRefused
from services.domain.ports.chat import ChangeKind, ChatKind, Place
from services.domain.ports.chat_abilities import OutgoingFile
from tests.fakes.synapse import Person, Synapse


@pytest.fixture(scope="module")
def alice(synapse: Synapse) -> Person:
    return synapse.register("alice")


@pytest.fixture(scope="module")
def bot(synapse: Synapse) -> Person:
    return synapse.register("slipway")


@pytest.fixture
def adapter(synapse: Synapse) -> MatrixAdapter:
    return MatrixAdapter(synapse.url)


@pytest.fixture
def config(adapter: MatrixAdapter, bot: Person) -> MatrixConfig:
    bare = MatrixConfig(access_token=SecretStr(bot.token))
    return bare.with_identity(adapter.connect(bare, ""))


@pytest.fixture
def inbox(adapter: MatrixAdapter, config: MatrixConfig) -> MemoryInbox:
    first = MemoryInbox()
    listened(adapter, config, first, lambda: bool(first.state))
    return MemoryInbox(first.state)


@pytest.fixture
def room(alice: Person, bot: Person) -> str:
    """A room in which the two are alone."""
    room_id = alice.make_room(bot.user_id, preset="trusted_private_chat", is_direct=True)
    bot.call("POST", f"/join/{room_id}")
    return room_id


def test_the_bot_is_known_by_its_token(config: MatrixConfig, bot: Person) -> None:
    assert (config.bot_id, config.bot_name) == (bot.user_id, "slipway")


def test_a_person_invites_the_bot_asks_and_is_answered(
    adapter: MatrixAdapter, config: MatrixConfig, inbox: MemoryInbox, alice: Person, bot: Person
) -> None:
    room_id = alice.make_room(bot.user_id, preset="trusted_private_chat", is_direct=True)
    asked = alice.say(room_id, "What is the weather?")
    listened(adapter, config, inbox, lambda: len(inbox.messages()) == 1)
    (message,) = inbox.messages()
    assert (message.text, message.message_id) == ("What is the weather?", asked)
    assert (message.chat_kind, message.sender.display_name) == (ChatKind.DIRECT, "alice")
    adapter.show_typing(config, message.place)
    (part,) = adapter.render("It **rains** & pours")
    receipt = adapter.send(config, message.place, part, reply_to=message.message_id)
    answer = alice.events(room_id)[-1]
    assert answer["event_id"] == receipt.message_id
    assert answer["content"]["body"] == "It rains & pours"
    assert answer["content"]["formatted_body"] == "It <strong>rains</strong> &amp; pours"
    assert answer["content"]["m.relates_to"] == {"m.in_reply_to": {"event_id": asked}}


def test_a_conversation_goes_on_while_it_listens_in_its_thread(
    adapter: MatrixAdapter, config: MatrixConfig, room: str, inbox: MemoryInbox, alice: Person
) -> None:
    with listening(adapter, config, inbox) as listener:
        root = alice.say(room, "one")
        inbox.wait_until(lambda: len(inbox.messages()) == 1)
        thread = {"rel_type": "m.thread", "event_id": root, "is_falling_back": True}
        alice.say(room, "two", **{"m.relates_to": thread})
        inbox.wait_until(lambda: len(inbox.messages()) == 2)
        adapter.send(config, inbox.messages()[1].place, "in the thread")
    assert listener.error is None
    assert inbox.messages()[1].place == Place(room, root)
    assert alice.events(room)[-1]["content"]["m.relates_to"]["event_id"] == root
    assert inbox.ignored() in ([], ["own_message"])


def test_edits_and_deletions_of_people_are_heard(
    adapter: MatrixAdapter, config: MatrixConfig, room: str, inbox: MemoryInbox, alice: Person
) -> None:
    said = alice.say(room, "helo")
    new = {"msgtype": "m.text", "body": "hello"}
    alice.say(
        room, "* hello", **{"m.new_content": new, "m.relates_to": {"rel_type": "m.replace", "event_id": said}}
    )
    alice.call("PUT", f"/rooms/{room}/redact/{said}/{uuid.uuid4().hex}")

    def changes() -> list[tuple[ChangeKind, str, str]]:
        found = [change for parsed in list(inbox.kept) for change in parsed.changes]
        return [(change.kind, change.message_id, change.text) for change in found]

    listened(adapter, config, inbox, lambda: len(changes()) == 2)
    assert changes() == [(ChangeKind.EDITED, said, "hello"), (ChangeKind.DELETED, said, "")]


def test_the_bots_messages_are_edited_reacted_to_and_deleted(
    adapter: MatrixAdapter, config: MatrixConfig, alice: Person, room: str
) -> None:
    place = Place(room)
    message_id = adapter.send(config, place, "draft").message_id
    for _ in range(2):
        adapter.edit(config, place, message_id, "<strong>done</strong>")
        adapter.react(config, place, message_id, "👍")
    edits = [event for event in alice.events(room) if "m.new_content" in event["content"]]
    assert edits[-1]["content"]["m.new_content"]["formatted_body"] == "<strong>done</strong>"
    assert sum(event["type"] == "m.reaction" for event in alice.events(room)) == 1
    for _ in range(2):
        adapter.delete(config, place, message_id)
    with pytest.raises(PlatformRefused):
        adapter.edit(config, place, message_id, "again")
    with pytest.raises(PlatformRefused):
        adapter.edit(config, place, "$nothing", "again")


def test_the_same_key_is_one_message_and_is_found(
    adapter: MatrixAdapter, config: MatrixConfig, alice: Person, room: str
) -> None:
    place = Place(room)
    first = adapter.send_with_key(config, place, "once", "task:1/2 ä")
    assert adapter.send_with_key(config, place, "once", "task:1/2 ä") == first
    assert adapter.find_sent(config, place, "task:1/2 ä") == first
    assert adapter.find_sent(config, place, "task:2") is None
    assert adapter.find_sent(config, Place("!none:localhost"), "task:1") is None
    assert sum(event["content"].get("body") == "once" for event in alice.events(room)) == 1


def test_the_longest_part_and_its_edit_fit_into_events(
    adapter: MatrixAdapter, config: MatrixConfig, room: str
) -> None:
    parts = adapter.render('"quoted\\" & <b>\n' * 6_000)
    assert len(parts) > 1
    message_id = adapter.send(config, Place(room), parts[0]).message_id
    adapter.edit(config, Place(room), message_id, parts[1])


def test_files_go_both_ways(
    adapter: MatrixAdapter, config: MatrixConfig, room: str, inbox: MemoryInbox, alice: Person
) -> None:
    data = bytes(range(256)) * 4_000
    content = {"msgtype": "m.file", "body": "a.bin", "url": alice.upload(data, "application/zip")}
    alice.send(room, content | {"info": {"mimetype": "application/zip", "size": len(data)}})
    listened(adapter, config, inbox, lambda: len(inbox.messages()) == 1)
    (file,) = inbox.messages()[0].files
    assert (file.name, file.size) == ("a.bin", len(data))
    assert adapter.fetch_file(config, file.ref, len(data)) == data
    with pytest.raises(FileTooLarge):
        adapter.fetch_file(config, file.ref, len(data) - 1)
    adapter.send_file(config, Place(room), OutgoingFile("b.png", "image/png", data), "a <em>picture</em>")
    shown = alice.events(room)[-1]["content"]
    assert (shown["msgtype"], shown["filename"], shown["body"]) == ("m.image", "b.png", "a picture")


def test_a_gap_is_filled(
    adapter: MatrixAdapter, config: MatrixConfig, room: str, inbox: MemoryInbox, alice: Person
) -> None:
    for number in range(130):
        alice.say(room, f"message {number}")
    listened(adapter, config, inbox, lambda: len(inbox.messages()) >= 130)
    assert [message.text for message in inbox.messages()] == [f"message {number}" for number in range(130)]


def test_an_encrypted_room_is_told_so_where_the_keys_are_not_at_hand(
    adapter: MatrixAdapter, config: MatrixConfig, room: str, inbox: MemoryInbox, alice: Person
) -> None:
    alice.call("PUT", f"/rooms/{room}/state/m.room.encryption/", algorithm="m.megolm.v1.aes-sha2")
    secret = {"algorithm": "m.megolm.v1.aes-sha2", "ciphertext": "x", "session_id": "s", "device_id": "d"}
    alice.send(room, secret, "m.room.encrypted")
    listened(adapter, config, inbox, lambda: "encrypted_room" in inbox.ignored())
    with pytest.raises(PlatformRefused, match="encrypted"):
        adapter.send(config, Place(room), "in plain")
    said = [event["content"] for event in alice.events(room) if event["sender"] == config.bot_id]
    assert [content["body"][:22] for content in said if "body" in content] == ["This room is encrypted"]
