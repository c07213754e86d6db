"""What reaches Linear, and what its answers mean."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from services.adapters.chat.linear import inbound
from services.adapters.chat.linear.adapter import LinearAdapter
from services.adapters.chat.linear.outbound import TAKEN_UP
from services.adapters.chat.linear.places import session_place
from services.adapters.chat.linear.tests.payloads import API_KEY, CONFIG, PERSONAL, SECRET
from services.adapters.chat.tests.hook import Hook
from services.domain.errors import PlatformAway, PlatformRefused, PlatformThrottled
from services.domain.ports.chat import LinkIdentity, Place
from services.domain.ports.chat_abilities import Button
from tests.fakes.linear_server import BOT_ID, ISSUE_ID, PERSON, FakeLinear
from tests.fakes.serving import Fault

ON_ISSUE = Place(ISSUE_ID)


@pytest.fixture
def server() -> Iterator[FakeLinear]:
    with FakeLinear(tokens=[API_KEY]) as running:
        yield running


@pytest.fixture
def adapter(server: FakeLinear) -> LinearAdapter:
    return LinearAdapter(server.url)


@pytest.fixture
def session(server: FakeLinear) -> Place:
    event = server.open_session("@slipway hello")
    return session_place(event["agentSession"]["id"], ISSUE_ID)


def _kinds(server: FakeLinear) -> list[str]:
    return [entry["kind"] for entry in server.sent.all()]


def test_connecting_learns_who_the_agent_is(adapter: LinearAdapter, server: FakeLinear) -> None:
    assert adapter.connect(CONFIG, "https://slipway.example/h") == LinkIdentity(BOT_ID, "slipway")
    assert adapter.connect(PERSONAL, "https://slipway.example/h") == LinkIdentity(BOT_ID, "slipway")
    assert adapter.check_health(CONFIG, "https://slipway.example/h") is None
    assert len(server.minted.all()) == 1
    assert "app:mentionable" in server.minted.all()[0]["scope"]


def test_a_token_that_was_revoked_is_made_anew_once(adapter: LinearAdapter, server: FakeLinear) -> None:
    adapter.send(CONFIG, ON_ISSUE, "one")
    server.tokens.clear()
    adapter.send(CONFIG, ON_ISSUE, "two")
    assert len(server.minted.all()) == 2
    with pytest.raises(PlatformRefused, match="secret or token"):
        adapter.send(PERSONAL, ON_ISSUE, "three")
    assert "secret or token" in str(adapter.check_health(PERSONAL, "https://slipway.example/h"))


def test_a_session_is_answered_at_once_once_and_then_with_a_response(
    adapter: LinearAdapter, server: FakeLinear, session: Place
) -> None:
    for _ in range(2):
        adapter.acknowledge(CONFIG, session, "comment:1")
    assert [entry["body"] for entry in server.sent.all()] == [TAKEN_UP]
    assert server.sent.all()[0]["params"]["ephemeral"] is True
    adapter.show_typing(CONFIG, session)
    receipt = adapter.send_with_key(CONFIG, session, "It rains.", "key-1")
    assert _kinds(server) == ["thought", "thought", "response"]
    assert receipt.message_id == f"activity:{server.sent.all()[-1]['id']}"
    (found,) = server.sessions.values()
    assert found["status"] == "complete"


def test_a_repeat_under_the_same_key_makes_nothing_new(
    adapter: LinearAdapter, server: FakeLinear, session: Place
) -> None:
    for place in (session, ON_ISSUE):
        receipts = {adapter.send_with_key(CONFIG, place, "hello", "key-1") for _ in range(3)}
        assert receipts == {adapter.find_sent(CONFIG, place, "key-1")}
    assert _kinds(server) == ["response", "comment"]


def test_a_refusal_under_a_key_is_a_refusal(adapter: LinearAdapter) -> None:
    with pytest.raises(PlatformRefused, match="refused"):
        adapter.send_with_key(CONFIG, Place("another-issue"), "hello", "key-1")


def test_an_answer_to_a_comment_goes_into_its_thread(adapter: LinearAdapter, server: FakeLinear) -> None:
    first = adapter.send(CONFIG, ON_ISSUE, "root").message_id.removeprefix("comment:")
    adapter.send(CONFIG, Place(ISSUE_ID, first), "reply")
    assert server.sent.all()[-1]["parentId"] == first


def test_a_question_in_a_session_has_options_whose_choice_comes_back_as_a_press(
    adapter: LinearAdapter, server: FakeLinear, session: Place
) -> None:
    buttons = [Button("Yes", "q:7:0"), Button("No", "q:7:1"), Button("See", url="https://e.org")]
    receipt = adapter.send_card_with_key(CONFIG, session, "Ship it?", buttons, "key-1")
    (asked,) = server.sent.all()
    assert (asked["kind"], asked["body"]) == ("elicitation", "Ship it?\n\n[See](https://e.org)")
    options = asked["params"]["signalMetadata"]["options"]
    assert [option["label"] for option in options] == ["Yes", "No"]
    (session_id,) = server.sessions
    with Hook() as hook:
        server.subscribe(hook.url, SECRET)
        server.deliver(server.prompt(session_id, options[1]["value"]))
        call = hook.calls.wait_for(1)[0]["call"]
    inbound.verify(CONFIG, call)
    (press,) = inbound.parse(CONFIG, call).presses
    assert (press.value, press.message_id, press.place) == ("q:7:1", receipt.message_id, session)
    adapter.answer_press(CONFIG, session, "x", PERSON["id"], "Somebody else decides.", is_refusal=True)
    adapter.answer_press(CONFIG, session, "x", PERSON["id"], "You said no.", is_refusal=False)
    assert _kinds(server) == ["elicitation", "elicitation"]


def test_outside_of_sessions_options_are_numbered(adapter: LinearAdapter, server: FakeLinear) -> None:
    adapter.send_card(CONFIG, ON_ISSUE, "Ship it?", [Button("Yes", "a"), Button("See", url="https://e.org")])
    assert server.sent.all()[0]["body"] == "Ship it?\n\n1. Yes\n2. See (https://e.org)"


def test_what_was_said_in_a_session_cannot_be_changed(adapter: LinearAdapter, session: Place) -> None:
    said = adapter.send(CONFIG, session, "hello").message_id
    with pytest.raises(PlatformRefused, match="session"):
        adapter.edit(CONFIG, session, said, "x")
    with pytest.raises(PlatformRefused, match="session"):
        adapter.delete(CONFIG, session, said)
    with pytest.raises(PlatformRefused, match="session"):
        adapter.react(CONFIG, session, said, "tada")


def test_comments_of_others_can_be_reacted_to_and_not_edited(
    adapter: LinearAdapter, server: FakeLinear, session: Place
) -> None:
    (comment_id,) = server.comments
    adapter.react(CONFIG, session, f"comment:{comment_id}", "eyes")
    adapter.react(CONFIG, session, f"issue:{ISSUE_ID}", "eyes")
    assert [entry["on"] for entry in server.reactions.all()] == [comment_id, ISSUE_ID]
    with pytest.raises(PlatformRefused):
        adapter.edit(CONFIG, session, f"comment:{comment_id}", "x")
    with pytest.raises(PlatformRefused):
        adapter.delete(CONFIG, session, "comment:../x")


@pytest.mark.parametrize(
    ("how", "error"),
    [
        ("complexity", PlatformThrottled),
        ("LOCK_TIMEOUT", PlatformAway),
        ("INTERNAL_SERVER_ERROR", PlatformAway),
        ("USAGE_LIMIT_EXCEEDED", PlatformRefused),
        ("SOMETHING_NEW", PlatformRefused),
    ],
)
def test_codes_mean_what_the_table_says(
    adapter: LinearAdapter, server: FakeLinear, how: str, error: type[Exception]
) -> None:
    server.faults.plan(Fault(how, retry_after_s=42))
    with pytest.raises(error) as caught:
        adapter.send(CONFIG, ON_ISSUE, "hello")
    if error is PlatformThrottled:
        assert caught.value.retry_after_s == 42  # type: ignore[attr-defined]


def test_html_is_left_as_it_was_typed(adapter: LinearAdapter) -> None:
    assert adapter.render("List<String> **x**") == ["List<String> **x**"]
