"""An answer that is shown in Teams while it is written."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from services.adapters.chat.teams.adapter import TeamsAdapter
from services.adapters.chat.teams.tests.payloads import APP_ID, CONFIG, TENANT
from services.domain.errors import PlatformRefused, PlatformThrottled, ShownAnswerStopped
from services.domain.ports.chat import ChatKind, Place
from tests.fakes.teams_issuer import TeamsIssuer
from tests.fakes.teams_server import FakeTeams

DIRECT = Place("emea/a:bob")


class Clock:
    """A clock that tests move."""

    def __init__(self) -> None:
        self.at = 0.0

    def __call__(self) -> float:
        return self.at


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def server(clock: Clock) -> Iterator[FakeTeams]:
    with (
        TeamsIssuer({(TENANT, APP_ID): CONFIG.client_secret.get_secret_value()}) as issuer,
        FakeTeams(issuer, clock=clock) as running,
    ):
        yield running


@pytest.fixture
def adapter(server: FakeTeams) -> TeamsAdapter:
    return TeamsAdapter(server.url, server.issuer.settings())


def test_only_a_chat_with_one_person_takes_a_stream(adapter: TeamsAdapter) -> None:
    limits = adapter.stream_limits(DIRECT, ChatKind.DIRECT)
    assert limits is not None
    assert limits.min_interval_s >= 1
    assert limits.max_age_s < 120
    assert adapter.stream_limits(DIRECT, ChatKind.GROUP) is None
    assert adapter.stream_limits(DIRECT, ChatKind.CHANNEL) is None
    with pytest.raises(PlatformRefused):
        adapter.open_stream(CONFIG, Place("emea/19:general@thread.tacv2"))


def test_a_text_grows_and_the_answer_takes_its_place(
    adapter: TeamsAdapter, server: FakeTeams, clock: Clock
) -> None:
    limits = adapter.stream_limits(DIRECT, ChatKind.DIRECT)
    assert limits is not None
    stream, shown = adapter.open_stream(CONFIG, DIRECT), ""
    for text in ("A", "A *brown*", "A *brown*", "A *brown* fox 🦊", "A *brown* fox 🦊 jumps"):
        clock.at += limits.min_interval_s
        adapter.show_stream(CONFIG, DIRECT, stream, shown, text)
        assert server.streams.all[stream].shown == text
        shown = text
    (part,) = adapter.render(shown)
    receipt = adapter.close_stream(CONFIG, DIRECT, stream, shown, part, "key")
    assert receipt.message_id == stream
    assert [entry["text"] for entry in server.sent.all()] == ["A brown fox 🦊 jumps"]
    adapter.edit(CONFIG, DIRECT, receipt.message_id, "Changed")
    assert [entry["text"] for entry in server.sent.all()] == ["Changed"]


def test_too_much_haste_is_throttled(adapter: TeamsAdapter, clock: Clock) -> None:
    stream = adapter.open_stream(CONFIG, DIRECT)
    with pytest.raises(PlatformThrottled):
        adapter.show_stream(CONFIG, DIRECT, stream, "", "A")


def test_a_stream_that_the_person_stopped_says_so(
    adapter: TeamsAdapter, server: FakeTeams, clock: Clock
) -> None:
    stream = adapter.open_stream(CONFIG, DIRECT)
    server.streams.stop(stream)
    clock.at += 2
    with pytest.raises(ShownAnswerStopped) as caught:
        adapter.show_stream(CONFIG, DIRECT, stream, "", "A")
    assert caught.value.details["answer"] == "ContentStreamNotAllowed"


def test_a_stream_that_went_on_for_too_long_was_stopped_by_nobody(
    adapter: TeamsAdapter, clock: Clock
) -> None:
    stream = adapter.open_stream(CONFIG, DIRECT)
    clock.at += 121
    with pytest.raises(PlatformRefused) as caught:
        adapter.show_stream(CONFIG, DIRECT, stream, "", "A")
    assert caught.value.details["answer"] == "ContentStreamNotAllowed"
    assert not isinstance(caught.value, ShownAnswerStopped)


def test_an_answer_after_two_minutes_is_sent_anew_and_what_was_shown_is_taken_away(
    adapter: TeamsAdapter, server: FakeTeams, clock: Clock
) -> None:
    stream = adapter.open_stream(CONFIG, DIRECT)
    clock.at += 2
    adapter.show_stream(CONFIG, DIRECT, stream, "", "A")
    clock.at += 121
    receipt = adapter.close_stream(CONFIG, DIRECT, stream, "A", "A fox", "key")
    assert receipt.message_id != stream
    assert stream not in server.streams.all
    assert [entry["text"] for entry in server.sent.all()] == ["A fox"]


def test_closing_twice_shows_the_answer_once(adapter: TeamsAdapter, server: FakeTeams) -> None:
    stream = adapter.open_stream(CONFIG, DIRECT)
    adapter.close_stream(CONFIG, DIRECT, stream, "", "A fox", "key")
    adapter.close_stream(CONFIG, DIRECT, stream, "", "A fox", "key")
    assert [entry["text"] for entry in server.messages()] == ["A fox"]
