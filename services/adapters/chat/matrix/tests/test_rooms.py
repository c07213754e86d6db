"""Rooms on a local homeserver: invitations, what was missed, encrypted rooms, threads, files."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from services.adapters.chat.matrix.adapter import MatrixAdapter
from services.adapters.chat.matrix.config import Invites, MatrixConfig
from services.adapters.chat.matrix.tests.conformance import BOT, CONFIG, ROOM, TOKEN
from services.adapters.chat.tests.memory_inbox import MemoryInbox, listened, listening
from services.domain.errors import FileTooLarge, PlatformRefused
from services.domain.ports.chat import Place
from services.domain.ports.chat_abilities import OutgoingFile
from tests.fakes.matrix_server import PERSON, FakeMatrix

STRANGER = "@mallory:elsewhere"


@pytest.fixture
def matrix() -> Iterator[FakeMatrix]:
    with FakeMatrix({TOKEN: BOT}, {BOT: "Slipway"}) as server:
        server.make_room(ROOM, PERSON)
        yield server


@pytest.fixture
def adapter(matrix: FakeMatrix) -> MatrixAdapter:
    return MatrixAdapter(matrix.url)


@pytest.fixture
def inbox(adapter: MatrixAdapter) -> MemoryInbox:
    first = MemoryInbox()
    listened(adapter, CONFIG, first, lambda: bool(first.state))
    return MemoryInbox(first.state)


def test_what_was_said_before_the_link_was_made_is_not_answered(
    matrix: FakeMatrix, adapter: MatrixAdapter
) -> None:
    matrix.say(ROOM, "long ago")
    first = MemoryInbox()
    listened(adapter, CONFIG, first, lambda: bool(first.state))
    assert first.messages() == []


def test_an_invitation_is_followed_and_what_was_said_with_it_is_heard(
    matrix: FakeMatrix, adapter: MatrixAdapter, inbox: MemoryInbox
) -> None:
    matrix.invite("!new:local", PERSON, is_direct=True)
    matrix.say("!new:local", "are you there?")
    listened(adapter, CONFIG, inbox, lambda: len(inbox.messages()) == 1)
    assert inbox.messages()[0].text == "are you there?"
    assert BOT in matrix.rooms["!new:local"].members
    assert inbox.state["direct"] == ["!new:local"]


def test_an_invitation_from_elsewhere_is_declined_and_recorded(
    matrix: FakeMatrix, adapter: MatrixAdapter, inbox: MemoryInbox
) -> None:
    matrix.invite("!bad:local", STRANGER)
    listened(adapter, CONFIG, inbox, lambda: inbox.ignored() == ["invitation_declined"])
    assert BOT not in matrix.rooms["!bad:local"].members
    assert matrix.invitations == {}


def test_an_invitation_from_anywhere_is_followed_where_the_link_says_so(
    matrix: FakeMatrix, adapter: MatrixAdapter, inbox: MemoryInbox
) -> None:
    open_config = MatrixConfig.model_validate(CONFIG.revealed() | {"invites": Invites.EVERYONE})
    matrix.invite("!far:local", STRANGER)
    with listening(adapter, open_config, inbox):
        matrix.calls.wait_for(1, lambda call: call["method"] == "join")
        matrix.say("!far:local", "hello", sender=STRANGER)
        inbox.wait_until(lambda: len(inbox.messages()) == 1)


def test_a_gap_is_filled_so_that_nothing_is_missed(
    matrix: FakeMatrix, adapter: MatrixAdapter, inbox: MemoryInbox
) -> None:
    for number in range(260):
        matrix.say(ROOM, f"message {number}")
    listened(adapter, CONFIG, inbox, lambda: len(inbox.messages()) == 260)
    assert [message.text for message in inbox.messages()] == [f"message {number}" for number in range(260)]


def test_an_encrypted_room_is_told_once_that_nothing_is_read_there(
    matrix: FakeMatrix, adapter: MatrixAdapter, inbox: MemoryInbox
) -> None:
    matrix.make_room("!secret:local", PERSON, is_encrypted=True)
    for _ in range(2):
        matrix.happen("!secret:local", "m.room.encrypted", {"ciphertext": "…"})
    listened(adapter, CONFIG, inbox, lambda: inbox.ignored().count("encrypted_room") == 2)
    again = MemoryInbox(inbox.state)
    matrix.happen("!secret:local", "m.room.encrypted", {"ciphertext": "…"})
    listened(adapter, CONFIG, again, lambda: again.ignored().count("encrypted_room") == 1)
    (told,) = matrix.messages("!secret:local")
    assert told["msgtype"] == "m.notice"
    assert "encrypted" in told["body"]


def test_nothing_is_written_in_plain_into_an_encrypted_room(
    matrix: FakeMatrix, adapter: MatrixAdapter
) -> None:
    matrix.make_room("!secret:local", PERSON, is_encrypted=True)
    with pytest.raises(PlatformRefused, match="encrypted"):
        adapter.send(CONFIG, Place("!secret:local"), "hello")
    with pytest.raises(PlatformRefused, match="encrypted"):
        adapter.send_file(CONFIG, Place("!secret:local"), OutgoingFile("a", "text/plain", b"a"), "")
    assert matrix.messages("!secret:local") == []


def test_a_message_is_marked_as_read_when_it_is_kept(
    matrix: FakeMatrix, adapter: MatrixAdapter, inbox: MemoryInbox
) -> None:
    event_id = matrix.say(ROOM, "hello")
    with listening(adapter, CONFIG, inbox):
        matrix.calls.wait_for(1, lambda call: call["method"] == "receipt")
    assert matrix.rooms[ROOM].receipts == [event_id]


def test_a_renamed_person_and_room_are_known_by_their_new_names(
    matrix: FakeMatrix, adapter: MatrixAdapter, inbox: MemoryInbox
) -> None:
    room = matrix.make_room("!group:local", PERSON, "@bob:local", name="Before")
    with listening(adapter, CONFIG, inbox):
        matrix.say("!group:local", "one")
        inbox.wait_until(lambda: len(inbox.messages()) == 1)
        room.name = "After"
        matrix.happen("!group:local", "m.room.name", {"name": "After"}, state_key="")
        matrix.say("!group:local", "two")
        inbox.wait_until(lambda: len(inbox.messages()) == 2)
    assert [message.chat_title for message in inbox.messages()] == ["Before", "After"]


def test_an_answer_is_in_its_thread_and_names_what_it_answers(
    matrix: FakeMatrix, adapter: MatrixAdapter
) -> None:
    root, asked = matrix.say(ROOM, "root"), matrix.say(ROOM, "question")
    adapter.send(CONFIG, Place(ROOM, root), "in the thread")
    adapter.send(CONFIG, Place(ROOM, root), "to a question", reply_to=asked)
    adapter.send(CONFIG, Place(ROOM), "outside", reply_to=asked)
    thread, reply, outside = (message["m.relates_to"] for message in matrix.messages())
    assert thread == {
        "rel_type": "m.thread",
        "event_id": root,
        "is_falling_back": True,
        "m.in_reply_to": {"event_id": root},
    }
    assert (reply["is_falling_back"], reply["m.in_reply_to"]) == (False, {"event_id": asked})
    assert outside == {"m.in_reply_to": {"event_id": asked}}


def test_the_same_key_sends_once(matrix: FakeMatrix, adapter: MatrixAdapter) -> None:
    receipts = {adapter.send_with_key(CONFIG, Place(ROOM), "hello", "k:1/2 ä").message_id for _ in range(3)}
    assert len(receipts) == 1
    assert len(matrix.messages()) == 1


def test_typing_is_shown_for_half_a_minute(matrix: FakeMatrix, adapter: MatrixAdapter) -> None:
    adapter.show_typing(CONFIG, Place(ROOM))
    assert matrix.rooms[ROOM].typing == [{"typing": True, "timeout": 30_000}]


def test_a_file_is_fetched_within_its_limit(matrix: FakeMatrix, adapter: MatrixAdapter) -> None:
    matrix.files.append(("abc", "a.bin", b"x" * 9_000_000))
    assert len(adapter.fetch_file(CONFIG, "mxc://local/abc", 9_000_000)) == 9_000_000
    with pytest.raises(FileTooLarge):
        adapter.fetch_file(CONFIG, "mxc://local/abc", 8_999_999)
    for wrong in ("https://local/abc", "mxc://local/a/b", "mxc://local/nothing", ""):
        with pytest.raises(PlatformRefused):
            adapter.fetch_file(CONFIG, wrong, 100)


def test_health_says_what_to_mend(adapter: MatrixAdapter) -> None:
    assert adapter.check_health(CONFIG, "") is None
    other = CONFIG.model_copy(update={"bot_id": "@else:local"})
    assert "@slipway:local" in str(adapter.check_health(other, ""))
    wrong = MatrixConfig.model_validate(CONFIG.revealed() | {"access_token": "syt_wrong"})
    assert "access token" in str(adapter.check_health(wrong, ""))


def test_a_homeserver_on_the_inner_network_is_not_spoken_to(matrix: FakeMatrix) -> None:
    """A tenant names the server; only the operator may name one that is not public."""
    inner = MatrixConfig.model_validate(CONFIG.revealed() | {"homeserver": matrix.url})
    with pytest.raises(PlatformRefused):
        MatrixAdapter("https://matrix.example.org").connect(inner, "")
    assert matrix.calls.all() == []
