"""Hearing Discord over the gateway: nothing lost, nothing acknowledged before it is kept, and ends understood."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from services.adapters.chat.discord import gateway, missed, sessions
from services.adapters.chat.discord.adapter import DiscordAdapter
from services.adapters.chat.discord.tests import payloads
from services.adapters.chat.discord.tests.payloads import CONFIG
from services.adapters.chat.tests.listening import HeldInbox, heard_by
from services.domain.errors import PlatformAway, PlatformRefused, PlatformThrottled
from services.domain.ports.chat import ChangeKind, ChatKind, Place
from services.domain.ports.chat_abilities import Button
from tests.fakes.discord_server import BOT, BOT_ID, CHANNEL_ID, DIRECT_ID, FakeDiscord


@pytest.fixture
def server() -> Iterator[FakeDiscord]:
    with FakeDiscord(tokens=[payloads.TOKEN]) as running:
        yield running


@pytest.fixture
def adapter(server: FakeDiscord) -> DiscordAdapter:
    return DiscordAdapter(server.api_base)


@pytest.fixture
def inbox() -> HeldInbox:
    return HeldInbox()


def test_every_bot_is_listened_to(adapter: DiscordAdapter) -> None:
    assert adapter.wants_listener(CONFIG)


def test_messages_of_channels_and_direct_chats_are_kept(
    adapter: DiscordAdapter, server: FakeDiscord, inbox: HeldInbox
) -> None:
    with heard_by(adapter, CONFIG, inbox):
        inbox.wait_for_state()
        server.people.write(DIRECT_ID, "What is the weather?")
        asked = server.people.write(CHANNEL_ID, f"<@{BOT_ID}> build it")
        thread_id = server.add_channel(11, "a thread", CHANNEL_ID)
        server.people.write(thread_id, "and test it")
        direct, mention, threaded = inbox.wait_for_messages(3)
    assert (direct.text, direct.chat_kind, direct.is_mention) == (
        "What is the weather?",
        ChatKind.DIRECT,
        True,
    )
    assert (mention.text, mention.place) == ("build it", Place(CHANNEL_ID, asked["id"]))
    assert (mention.chat_title, mention.is_mention) == ("general", True)
    assert (threaded.place, threaded.is_mention) == (Place(CHANNEL_ID, thread_id), False)


def test_its_own_messages_are_ignored(adapter: DiscordAdapter, server: FakeDiscord, inbox: HeldInbox) -> None:
    with heard_by(adapter, CONFIG, inbox):
        inbox.wait_for_state()
        adapter.send(CONFIG, Place(CHANNEL_ID), "It rains.")
        server.people.write(CHANNEL_ID, "hello")
        inbox.wait_for_messages(1)
    assert [message.text for message in inbox.messages()] == ["hello"]
    assert [parsed.ignored for parsed in inbox.kept if parsed.ignored] == ["own_message"]


def test_changes_and_deletions_are_kept(
    adapter: DiscordAdapter, server: FakeDiscord, inbox: HeldInbox
) -> None:
    with heard_by(adapter, CONFIG, inbox):
        inbox.wait_for_state()
        message = server.people.write(CHANNEL_ID, "helo")
        server.people.change(message, "hello")
        server.people.delete(message)
        server.people.write(CHANNEL_ID, "the end")
        inbox.wait_for_messages(2)
    changes = [change for parsed in inbox.kept for change in parsed.changes]
    assert [(change.kind, change.text) for change in changes] == [
        (ChangeKind.EDITED, "hello"),
        (ChangeKind.DELETED, ""),
    ]
    assert {change.message_id for change in changes} == {message["id"]}
    assert {change.place for change in changes} == {Place(CHANNEL_ID, message["id"])}


def test_what_came_while_nobody_listened_is_sent_again_and_nothing_twice(
    adapter: DiscordAdapter, server: FakeDiscord, inbox: HeldInbox
) -> None:
    with heard_by(adapter, CONFIG, inbox):
        inbox.wait_for_state()
        server.people.write(DIRECT_ID, "one")
        inbox.wait_for_messages(1)
    assert [entry["code"] for entry in server.gateway.closed.wait_for(1)] == [4900]
    server.people.write(DIRECT_ID, "two")
    server.people.write(CHANNEL_ID, "three")
    # Another process, which knows no more than what was kept.
    with heard_by(DiscordAdapter(server.api_base), CONFIG, inbox):
        inbox.wait_for_messages(3)
        server.people.write(DIRECT_ID, "four")
        inbox.wait_for_messages(4)
    assert [message.text for message in inbox.messages()] == ["one", "two", "three", "four"]
    assert [entry["how"] for entry in server.gateway.begun.all()] == ["identify", "resume"]
    # It asked what kind of channel it was, as nobody told it.
    assert inbox.messages()[2].chat_title == "general"


def test_what_could_not_be_kept_is_sent_again(
    adapter: DiscordAdapter, server: FakeDiscord, inbox: HeldInbox
) -> None:
    with pytest.raises(RuntimeError), heard_by(adapter, CONFIG, inbox):
        inbox.wait_for_state()
        inbox.failures = [RuntimeError("the database is away")]
        server.people.write(DIRECT_ID, "hello")
        inbox.wait_for_attempt()
    with heard_by(adapter, CONFIG, inbox):
        inbox.wait_for_messages(1)
    assert [message.text for message in inbox.messages()] == ["hello"]


def test_a_command_over_the_gateway_is_kept_and_then_answered(
    adapter: DiscordAdapter, server: FakeDiscord, inbox: HeldInbox
) -> None:
    with heard_by(adapter, CONFIG, inbox):
        inbox.wait_for_state()
        answer = server.people.send(server.people.command(CHANNEL_ID, "build it"))
        (kept,) = inbox.wait_for_messages(1)
    assert answer["type"] == 4
    assert answer["data"]["content"] == "build it"
    assert (kept.text, kept.place) == ("build it", Place(CHANNEL_ID))


def test_a_press_over_the_gateway_is_not_answered_before_it_is_kept(
    adapter: DiscordAdapter, server: FakeDiscord, inbox: HeldInbox
) -> None:
    adapter.send_card(CONFIG, Place(CHANNEL_ID), "Which?", [Button("Yes", "q:1:0"), Button("No", "q:1:1")])
    card = server.sent.all()[0]["message"]
    with pytest.raises(RuntimeError), heard_by(adapter, CONFIG, inbox):
        inbox.wait_for_state()
        inbox.failures = [RuntimeError("the database is away")]
        server.gateway.dispatch("INTERACTION_CREATE", server.people.press(card, "No"))
        inbox.wait_for_attempt()
    assert server.people.answers.all() == []
    with heard_by(adapter, CONFIG, inbox):
        assert server.people.send(server.people.press(card, "Yes")) == {"type": 6}
    presses = [press for parsed in inbox.kept for press in parsed.presses]
    assert [press.value for press in presses] == ["q:1:1", "q:1:0"]
    assert presses[1].message_id == card["id"]


# --- Heartbeats ------------------------------------------------------------------------------------------


def test_heartbeats_carry_the_last_number_and_keep_where_to_resume(
    adapter: DiscordAdapter, server: FakeDiscord, inbox: HeldInbox
) -> None:
    server.gateway.heartbeat_ms = 50
    with heard_by(adapter, CONFIG, inbox):
        inbox.wait_for_state()
        server.people.write(DIRECT_ID, "hello")
        inbox.wait_for_messages(1)
        seq = inbox.load_state()["sessions"][0]["seq"]
        server.gateway.heard.wait_for(3, lambda frame: frame == {"op": 1, "d": seq})


def test_a_heartbeat_that_is_asked_for_comes_at_once(
    adapter: DiscordAdapter, server: FakeDiscord, inbox: HeldInbox
) -> None:
    with heard_by(adapter, CONFIG, inbox):
        inbox.wait_for_state()
        server.gateway.send_raw({"op": 1, "d": None})
        server.gateway.heard.wait_for(1, lambda frame: frame["op"] == 1)


def test_a_connection_whose_heartbeats_are_not_answered_is_given_up_and_resumed(
    adapter: DiscordAdapter, server: FakeDiscord, inbox: HeldInbox
) -> None:
    server.gateway.heartbeat_ms = 50
    server.gateway.answers_heartbeats = False
    with pytest.raises(PlatformAway, match="heartbeat"), heard_by(adapter, CONFIG, inbox) as listening:
        listening.join()
    server.gateway.answers_heartbeats = True
    with heard_by(adapter, CONFIG, inbox):
        server.gateway.begun.wait_for(1, lambda entry: entry["how"] == "resume")


# --- Ends ------------------------------------------------------------------------------------------------


def test_it_resumes_when_discord_asks_for_another_connection(
    adapter: DiscordAdapter, server: FakeDiscord, inbox: HeldInbox
) -> None:
    with heard_by(adapter, CONFIG, inbox) as listening:
        inbox.wait_for_state()
        server.gateway.ask_to_reconnect()
        listening.join()
    with heard_by(adapter, CONFIG, inbox):
        server.gateway.begun.wait_for(1, lambda entry: entry["how"] == "resume")


@pytest.mark.parametrize(("can_resume", "how"), [(True, "resume"), (False, "identify")])
def test_an_invalid_session_is_resumed_only_if_it_can_be(
    adapter: DiscordAdapter,
    server: FakeDiscord,
    inbox: HeldInbox,
    monkeypatch: pytest.MonkeyPatch,
    can_resume: bool,
    how: str,
) -> None:
    monkeypatch.setattr(gateway, "_INVALID_PAUSE_S", (0.0, 0.01))
    with heard_by(adapter, CONFIG, inbox) as listening:
        inbox.wait_for_state()
        server.gateway.invalidate(can_resume=can_resume)
        listening.join()
    with heard_by(adapter, CONFIG, inbox):
        assert server.gateway.begun.wait_for(2)[1]["how"] == how


def test_a_session_that_was_forgotten_is_begun_anew(
    adapter: DiscordAdapter, server: FakeDiscord, inbox: HeldInbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway, "_INVALID_PAUSE_S", (0.0, 0.01))
    with heard_by(adapter, CONFIG, inbox):
        inbox.wait_for_state()
    server.gateway.forget_sessions()
    with heard_by(adapter, CONFIG, inbox) as listening:
        listening.join()
    assert inbox.load_state() == {}
    with heard_by(adapter, CONFIG, inbox):
        assert server.gateway.begun.wait_for(2)[1]["how"] == "identify"


@pytest.mark.parametrize(
    ("code", "how"),
    [(4000, "resume"), (4008, "resume"), (4007, "identify"), (4009, "identify"), (4010, "identify")],
)
def test_a_close_is_temporary_and_its_code_says_whether_the_session_goes_on(
    adapter: DiscordAdapter, server: FakeDiscord, inbox: HeldInbox, code: int, how: str
) -> None:
    with pytest.raises(PlatformAway), heard_by(adapter, CONFIG, inbox) as listening:
        inbox.wait_for_state()
        server.gateway.break_all(code)
        listening.join()
    with heard_by(adapter, CONFIG, inbox):
        assert server.gateway.begun.wait_for(2)[1]["how"] == how


@pytest.mark.parametrize("code", [4004, 4012, 4013, 4014])
def test_a_fatal_close_needs_a_person_and_says_why(
    adapter: DiscordAdapter, server: FakeDiscord, inbox: HeldInbox, code: int
) -> None:
    with pytest.raises(PlatformRefused) as caught, heard_by(adapter, CONFIG, inbox) as listening:
        inbox.wait_for_state()
        server.gateway.break_all(code)
        listening.join()
    assert caught.value.message.endswith(".")
    assert payloads.TOKEN not in f"{caught.value.message}{caught.value.details}"


def test_a_bot_that_may_not_read_messages_is_told_so(
    adapter: DiscordAdapter, server: FakeDiscord, inbox: HeldInbox
) -> None:
    server.application["flags"] = 0
    with pytest.raises(PlatformRefused, match="Message Content Intent"):
        adapter.listen(CONFIG, inbox)


def test_a_bot_with_a_wrong_token_is_refused_before_it_connects(
    adapter: DiscordAdapter, server: FakeDiscord, inbox: HeldInbox
) -> None:
    server.tokens = []
    with pytest.raises(PlatformRefused, match="token"):
        adapter.listen(CONFIG, inbox)


def test_a_bot_without_sessions_left_waits(
    adapter: DiscordAdapter, server: FakeDiscord, inbox: HeldInbox
) -> None:
    server.gateway.starts_left = 0
    with pytest.raises(PlatformThrottled) as caught:
        adapter.listen(CONFIG, inbox)
    assert caught.value.retry_after_s == 14_400


# --- What nobody sends again ------------------------------------------------------------------------------


@pytest.fixture
def lost(
    adapter: DiscordAdapter, server: FakeDiscord, inbox: HeldInbox, monkeypatch: pytest.MonkeyPatch
) -> str:
    """Hear something in three places, then lose the session; gives the id of the thread among them."""
    monkeypatch.setattr(gateway, "_INVALID_PAUSE_S", (0.0, 0.01))
    monkeypatch.setattr(sessions, "BEGIN_EVERY_S", 0.0)
    with heard_by(adapter, CONFIG, inbox):
        inbox.wait_for_state()
        server.people.write(DIRECT_ID, "one")
        server.people.write(CHANNEL_ID, "two")
        thread_id = server.add_channel(11, "a thread", CHANNEL_ID)
        server.people.write(thread_id, "three")
        inbox.wait_for_messages(3)
    server.gateway.forget_sessions()
    return thread_id


def hear_again(adapter: DiscordAdapter, inbox: HeldInbox) -> None:
    """Let the lost session be refused."""
    with heard_by(adapter, CONFIG, inbox) as listening:
        listening.join()
    assert inbox.load_state() == {}


def is_caught_up(inbox: HeldInbox) -> bool:
    known = inbox.load_state().get("sessions", [])
    return bool(known) and not any(one["is_behind"] for one in known)


def test_what_was_said_while_a_session_was_lost_is_asked_for_in_order_and_once(
    adapter: DiscordAdapter, server: FakeDiscord, inbox: HeldInbox, lost: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(missed, "PAGE", 2)
    places = (DIRECT_ID, CHANNEL_ID, lost)
    for place in places:
        for number in range(5):
            server.people.write(place, f"missed {number}")
    adapter.send(CONFIG, Place(DIRECT_ID), "It rains.")
    hear_again(adapter, inbox)
    news = [lost]

    def write_something_new(asked_id: str) -> None:
        # Elsewhere than in the channel that is asked: that one is asked before this is kept.
        if asked_id == CHANNEL_ID and news:
            server.people.write(news.pop(), "live")

    server.rest.before_list = write_something_new
    with heard_by(adapter, CONFIG, inbox):
        inbox.wait_for_messages(19)
        while not is_caught_up(inbox):
            inbox.wait_for_state(len(inbox.states) + 1)
    wanted = [f"missed {number}" for number in range(5)]
    by_place: dict[tuple[str, bool], list[str]] = {}
    keys: set[str] = set()
    for message in inbox.messages()[3:]:
        if message.dedupe_key not in keys:
            is_thread = message.place.thread_id == lost
            by_place.setdefault((message.place.chat_id, is_thread), []).append(message.text)
        keys.add(message.dedupe_key)
    assert by_place == {
        (DIRECT_ID, False): wanted,
        (CHANNEL_ID, False): wanted,
        (CHANNEL_ID, True): [*wanted, "live"],
    }


def test_what_could_not_be_asked_for_is_asked_for_by_the_next_connection(
    adapter: DiscordAdapter, server: FakeDiscord, inbox: HeldInbox, lost: str
) -> None:
    server.people.write(DIRECT_ID, "missed")
    server.rest.closed_channels = {CHANNEL_ID}
    hear_again(adapter, inbox)
    server.rest.is_down = True
    with pytest.raises(PlatformAway), heard_by(adapter, CONFIG, inbox) as listening:
        listening.join()
    server.rest.is_down = False
    with heard_by(adapter, CONFIG, inbox):
        inbox.wait_for_messages(4)
        while not is_caught_up(inbox):
            inbox.wait_for_state(len(inbox.states) + 1)
    assert [message.text for message in inbox.messages()[3:]] == ["missed"]
    assert [entry["how"] for entry in server.gateway.begun.all()] == ["identify", "identify", "resume"]


# --- Several shards ---------------------------------------------------------------------------------------


def test_a_bot_in_many_servers_is_heard_over_several_shards_which_begin_one_after_the_other(
    adapter: DiscordAdapter, server: FakeDiscord, inbox: HeldInbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "BEGIN_EVERY_S", 0.3)
    server.gateway.shards, server.gateway.begin_every_s = 2, 0.2
    with heard_by(adapter, CONFIG, inbox):
        begun = server.gateway.begun.wait_for(2)
        assert sorted(entry["shard"] for entry in begun) == [(0, 2), (1, 2)]
        server.people.write(DIRECT_ID, "to the first")
        server.people.write(CHANNEL_ID, "to the second")
        inbox.wait_for_messages(2)
        # One that is to connect anew does so alone.
        server.gateway.ask_to_reconnect()
        server.gateway.begun.wait_for(4)
    server.people.write(CHANNEL_ID, "while nobody listened")
    with heard_by(adapter, CONFIG, inbox):
        inbox.wait_for_messages(3)
    assert sorted(message.text for message in inbox.messages()) == [
        "to the first",
        "to the second",
        "while nobody listened",
    ]
    assert {entry["how"] for entry in server.gateway.begun.all()[2:]} == {"resume"}


def test_a_bot_that_has_come_into_too_many_servers_for_one_connection_begins_with_more(
    adapter: DiscordAdapter, server: FakeDiscord, inbox: HeldInbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "BEGIN_EVERY_S", 0.0)
    with pytest.raises(PlatformAway) as caught, heard_by(adapter, CONFIG, inbox) as listening:
        inbox.wait_for_state()
        server.gateway.shards = 2
        server.gateway.break_all(4011)
        listening.join()
    assert caught.value.retry_after_s == 60
    with heard_by(adapter, CONFIG, inbox):
        assert server.gateway.begun.wait_for(3)[1]["shard"][1] == 2


@pytest.mark.parametrize(
    "frame",
    [
        *(None, [], {"op": "x"}, {"op": 99, "d": {}}, {"op": 0}, {"op": 0, "s": 1, "t": 5, "d": {}},
          {"op": 0, "s": 1, "t": "MESSAGE_CREATE", "d": {"id": []}}),
        {"op": 0, "s": 1, "t": "SOMETHING_NEW", "d": {"channels": 5}},
        {"op": 0, "s": 1, "t": "GUILD_CREATE", "d": {"channels": [5, {"id": "x"}]}},
        {"op": 0, "s": 1, "t": "MESSAGE_DELETE", "d": {"channel_id": 5, "guild_id": "1"}},
        {"op": 0, "s": 1, "t": "INTERACTION_CREATE", "d": {"type": 3}},
    ],
)  # fmt: skip
def test_frames_that_nobody_understands_break_nothing(
    adapter: DiscordAdapter, server: FakeDiscord, inbox: HeldInbox, frame: Any
) -> None:
    with heard_by(adapter, CONFIG, inbox):
        inbox.wait_for_state()
        server.gateway.send_raw(frame)
        server.people.write(DIRECT_ID, "hello")
        inbox.wait_for_messages(1)
    assert [message.text for message in inbox.messages()] == ["hello"]
    assert BOT["id"] == BOT_ID
