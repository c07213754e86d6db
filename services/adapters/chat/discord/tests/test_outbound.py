"""What reaches Discord, and what its answers mean."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
from pydantic import SecretStr

from services.adapters.chat.discord.adapter import DiscordAdapter
from services.adapters.chat.discord.tests import payloads
from services.adapters.chat.discord.tests.payloads import CONFIG
from services.domain.errors import FileTooLarge, PlatformRefused, PlatformThrottled
from services.domain.ports.chat import LinkIdentity, Place
from services.domain.ports.chat_abilities import Button, CommandHint, OutgoingFile
from tests.fakes.discord_server import BOT_ID, CHANNEL_ID, DIRECT_ID, FakeDiscord
from tests.fakes.serving import Fault

HERE = Place(CHANNEL_ID)


@pytest.fixture
def server() -> Iterator[FakeDiscord]:
    with FakeDiscord(tokens=[payloads.TOKEN]) as running:
        yield running


@pytest.fixture
def adapter(server: FakeDiscord) -> DiscordAdapter:
    return DiscordAdapter(server.api_base)


def contents(server: FakeDiscord, channel_id: str) -> list[str]:
    return [entry["message"]["content"] for entry in server.sent.all() if entry["channel"] == channel_id]


# --- Linking ---------------------------------------------------------------------------------------------


def test_connecting_learns_who_the_bot_is(adapter: DiscordAdapter, server: FakeDiscord) -> None:
    assert adapter.connect(CONFIG, "http://127.0.0.1:1/") == LinkIdentity(BOT_ID, "slipway")
    assert server.application["interactions_endpoint_url"] is None


def test_it_has_a_command_that_asks_the_agent_and_each_of_ours(
    adapter: DiscordAdapter, server: FakeDiscord
) -> None:
    adapter.show_commands(
        CONFIG,
        [CommandHint("help", "List what I understand"), CommandHint("link", "Say who", usage="<code>")],
    )
    (made,) = server.extras.commands.all()
    shown = [(one["name"], [option["name"] for option in one.get("options", [])]) for one in made["commands"]]
    assert shown == [("ask", ["text"]), ("help", []), ("link", ["text"])]


def test_a_bot_that_may_not_read_messages_is_not_connected(
    adapter: DiscordAdapter, server: FakeDiscord
) -> None:
    server.application["flags"] = 0
    with pytest.raises(PlatformRefused, match="Message Content Intent"):
        adapter.connect(CONFIG, "http://127.0.0.1:1/")
    assert "Message Content Intent" in (adapter.check_health(CONFIG, "") or "")


def test_an_address_that_discord_cannot_reach_is_refused(
    adapter: DiscordAdapter, server: FakeDiscord
) -> None:
    with pytest.raises(PlatformRefused):
        adapter.connect(CONFIG, "https://127.0.0.1:1/hooks/discord/1")
    assert server.application["interactions_endpoint_url"] is None


def test_health_says_what_is_to_be_mended(adapter: DiscordAdapter, server: FakeDiscord) -> None:
    hook_url = "https://slipway.example/hooks/discord/1"
    keyless = CONFIG.model_copy(update={"public_key": None})
    assert adapter.check_health(keyless, hook_url) is None
    assert "elsewhere" in (adapter.check_health(CONFIG, hook_url) or "")
    server.application["interactions_endpoint_url"] = hook_url
    assert adapter.check_health(CONFIG, hook_url) is None
    server.application["interactions_endpoint_url"] = "https://other.example/"
    assert "elsewhere" in (adapter.check_health(keyless, hook_url) or "")
    server.tokens = []
    assert "token" in (adapter.check_health(CONFIG, hook_url) or "")


# --- Messages --------------------------------------------------------------------------------------------


def test_nobody_is_called_but_whom_the_agent_names_and_no_preview_is_shown(
    adapter: DiscordAdapter, server: FakeDiscord
) -> None:
    adapter.send(CONFIG, HERE, "@everyone", reply_to="830000000000000001")
    (entry,) = server.sent.all()
    assert entry["params"] == {
        "content": "@everyone",
        "flags": 4,
        "allowed_mentions": {"parse": ["users"], "replied_user": True},
        "message_reference": {"message_id": "830000000000000001", "fail_if_not_exists": False},
    }


def test_the_same_key_again_makes_no_second_message(adapter: DiscordAdapter, server: FakeDiscord) -> None:
    first = adapter.send_once(CONFIG, HERE, "hello", "key of a delivery " * 9, reply_to="830000000000000001")
    again = adapter.send_once(CONFIG, HERE, "hello", "key of a delivery " * 9)
    other = adapter.send_once(CONFIG, HERE, "hello", "another key", [Button("a", "b")])
    assert first == again != other
    assert len(server.sent.all()) == 2


def test_an_answer_that_broke_off_is_not_sent_twice_under_its_key(
    adapter: DiscordAdapter, server: FakeDiscord
) -> None:
    server.faults.plan(Fault("drop"))
    with pytest.raises(Exception, match="does not answer"):
        adapter.send_once(CONFIG, HERE, "hello", "key")
    assert adapter.send_once(CONFIG, HERE, "hello", "key").message_id == server.sent.all()[0]["message"]["id"]
    assert len(server.sent.all()) == 1


def test_an_answer_opens_a_thread_below_its_question_and_stays_in_it(
    adapter: DiscordAdapter, server: FakeDiscord
) -> None:
    question = server.people.write(CHANNEL_ID, f"<@{BOT_ID}> What is the weather?\nPlease.")
    place = Place(CHANNEL_ID, question["id"])
    first = adapter.send(CONFIG, place, "It rains.", reply_to=question["id"])
    adapter.send(CONFIG, place, "Still.")
    assert server.channels[question["id"]]["name"] == "What is the weather?"
    assert contents(server, question["id"]) == ["It rains.", "Still."]
    assert "message_reference" not in server.sent.all()[0]["params"]
    adapter.edit(CONFIG, place, first.message_id, "It snows.")
    adapter.react(CONFIG, place, first.message_id, "👍")
    adapter.react(CONFIG, place, question["id"], "👀")
    assert contents(server, question["id"]) == ["It snows.", "Still."]
    reacted = [entry["message"]["id"] for entry in server.extras.reactions.all()]
    assert reacted == [first.message_id, question["id"]]
    adapter.delete(CONFIG, place, first.message_id)
    assert [entry["message"]["id"] for entry in server.extras.deleted.all()] == [first.message_id]


def test_where_no_thread_may_be_opened_the_answer_points_to_its_question(
    adapter: DiscordAdapter, server: FakeDiscord
) -> None:
    server.extras.has_threads = False
    question = server.people.write(CHANNEL_ID, "hello")
    place = Place(CHANNEL_ID, question["id"])
    receipt = adapter.send(CONFIG, place, "It rains.", reply_to=question["id"])
    assert contents(server, CHANNEL_ID) == ["It rains."]
    assert server.sent.all()[0]["params"]["message_reference"]["message_id"] == question["id"]
    adapter.edit(CONFIG, place, receipt.message_id, "It snows.")
    assert contents(server, CHANNEL_ID) == ["It snows."]
    adapter.show_typing(CONFIG, place)
    assert [entry["channel"] for entry in server.extras.typing.all()] == [CHANNEL_ID]


def test_a_thread_that_somebody_else_opened_is_used(adapter: DiscordAdapter, server: FakeDiscord) -> None:
    thread_id = server.add_channel(11, "a thread", CHANNEL_ID)
    adapter.send(CONFIG, Place(CHANNEL_ID, thread_id), "hello")
    adapter.show_typing(CONFIG, Place(CHANNEL_ID, thread_id))
    assert contents(server, thread_id) == ["hello"]
    assert [entry["channel"] for entry in server.extras.typing.all()] == [thread_id]


@pytest.mark.parametrize(
    "place", [Place("../users/@me"), Place(CHANNEL_ID, "1/../2"), Place("9" * 30), Place("")]
)
def test_nothing_but_an_id_gets_into_a_path(
    adapter: DiscordAdapter, server: FakeDiscord, place: Place
) -> None:
    with pytest.raises(PlatformRefused):
        adapter.send(CONFIG, place, "hello")
    assert server.calls.all() == []


def test_a_refusal_of_a_press_is_seen_by_its_person_alone(
    adapter: DiscordAdapter, server: FakeDiscord
) -> None:
    interaction = server.people.command(DIRECT_ID, "x")
    server.people._waiting[interaction["token"]] = (interaction["id"], time.monotonic())
    server.people.acknowledge(interaction["id"], interaction["token"], {"type": 6})
    ref = f"{BOT_ID}:{interaction['token']}"
    adapter.answer_press(CONFIG, HERE, ref, "1", "Not you.", is_refusal=True)
    adapter.answer_press(CONFIG, HERE, ref, "1", "Answered.", is_refusal=False)
    assert server.extras.ephemeral.all() == [{"text": "Not you.", "flags": 64}]


# --- Files -----------------------------------------------------------------------------------------------


def test_a_file_that_somebody_sent_is_fetched_up_to_a_size(
    adapter: DiscordAdapter, server: FakeDiscord
) -> None:
    file = server.extras.add_attachment(CHANNEL_ID, "a.txt", "text/plain", b"x" * 1_000)
    message = server.people.write(CHANNEL_ID, "see", attachments=[file])
    ref = f"{CHANNEL_ID}/{message['id']}/{file['id']}"
    assert adapter.fetch_file(CONFIG, ref, 1_000) == b"x" * 1_000
    with pytest.raises(FileTooLarge):
        adapter.fetch_file(CONFIG, ref, 999)


@pytest.mark.parametrize(
    "url", ["http://169.254.169.254/", "https://evil.example/a", "file:///etc/passwd", ""]
)
def test_a_file_is_fetched_from_discord_and_nowhere_else(
    adapter: DiscordAdapter, server: FakeDiscord, url: str
) -> None:
    message = server.people.write(CHANNEL_ID, "see", attachments=[{"id": "5", "filename": "a", "url": url}])
    with pytest.raises(PlatformRefused):
        adapter.fetch_file(CONFIG, f"{CHANNEL_ID}/{message['id']}/5", 1_000)


def test_a_file_that_is_too_large_is_refused(adapter: DiscordAdapter) -> None:
    large = OutgoingFile("a.bin", "application/octet-stream", b"x" * (adapter.max_file_bytes + 1))
    with pytest.raises(PlatformRefused):
        adapter.send_file(CONFIG, HERE, large, "")


# --- Limits ----------------------------------------------------------------------------------------------


def test_a_full_bucket_is_not_asked_again_before_its_time(
    adapter: DiscordAdapter, server: FakeDiscord
) -> None:
    server.buckets.limit = 5
    for number in range(5):
        adapter.send(CONFIG, HERE, f"message {number}")
    calls = len(server.calls.all())
    with pytest.raises(PlatformThrottled) as caught:
        adapter.send(CONFIG, HERE, "one too many")
    assert 0 < caught.value.retry_after_s <= 5
    assert len(server.calls.all()) == calls
    adapter.send(CONFIG, Place(DIRECT_ID), "another channel is another bucket")
    assert len(server.sent.all()) == 6


def test_a_bucket_is_used_again_after_its_time(adapter: DiscordAdapter, server: FakeDiscord) -> None:
    server.buckets.limit, server.buckets.per_s = 1, 0.2
    adapter.send(CONFIG, HERE, "one")
    with pytest.raises(PlatformThrottled) as caught:
        adapter.send(CONFIG, HERE, "two")
    assert 0 < caught.value.retry_after_s <= 0.2
    threading.Event().wait(caught.value.retry_after_s)
    adapter.send(CONFIG, HERE, "two")
    assert contents(server, CHANNEL_ID) == ["one", "two"]


def test_a_global_limit_stops_all_calls_of_the_bot_and_of_no_other(
    adapter: DiscordAdapter, server: FakeDiscord
) -> None:
    server.faults.plan(Fault("global", retry_after_s=30))
    with pytest.raises(PlatformThrottled):
        adapter.send(CONFIG, HERE, "one")
    calls = len(server.calls.all())
    with pytest.raises(PlatformThrottled) as caught:
        adapter.edit(CONFIG, HERE, "1", "x")
    assert 25 < caught.value.retry_after_s <= 30
    assert len(server.calls.all()) == calls
    server.tokens = None
    other = CONFIG.model_copy(update={"bot_token": SecretStr("another")})
    adapter.send(other, HERE, "of another bot")
    assert contents(server, CHANNEL_ID) == ["of another bot"]
