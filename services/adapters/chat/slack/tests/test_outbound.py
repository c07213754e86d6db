"""What reaches Slack, and what its answers mean."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from services.adapters.chat.slack.adapter import SlackAdapter
from services.adapters.chat.slack.tests.payloads import CONFIG
from services.domain.errors import PlatformAway, PlatformRefused, PlatformThrottled
from services.domain.ports.chat import LinkIdentity, Place
from tests.fakes.serving import Fault
from tests.fakes.slack_server import BOT_USER_ID, FakeSlack

THREAD = Place("C0123ABCD", "1772443800.000200")


@pytest.fixture
def server() -> Iterator[FakeSlack]:
    with FakeSlack() as running:
        yield running


@pytest.fixture
def adapter(server: FakeSlack) -> SlackAdapter:
    return SlackAdapter(server.api_base)


def test_connecting_learns_who_the_bot_is(adapter: SlackAdapter, server: FakeSlack) -> None:
    assert adapter.connect(CONFIG, "https://slipway.example/hooks/slack/1") == LinkIdentity(
        BOT_USER_ID, "slipway"
    )
    assert [call["method"] for call in server.calls.all()] == ["auth.test"]
    assert server.calls.all()[0]["token"] == CONFIG.bot_token.get_secret_value()


def test_a_part_goes_into_its_thread_without_previews(adapter: SlackAdapter, server: FakeSlack) -> None:
    (part,) = adapter.render("**Done** & [here](https://e.com)")
    receipt = adapter.send(CONFIG, THREAD, part, reply_to="1772443800.000200")
    (entry,) = server.sent.all()
    assert receipt.message_id == entry["message"]["ts"]
    assert entry["params"] == {
        "channel": "C0123ABCD",
        "text": "*Done* &amp; <https://e.com|here>",
        "thread_ts": "1772443800.000200",
        "mrkdwn": True,
        "unfurl_links": False,
        "unfurl_media": False,
    }


def test_a_direct_message_has_no_thread(adapter: SlackAdapter, server: FakeSlack) -> None:
    adapter.send(CONFIG, Place("D0123ABCD"), "hello", reply_to="1772443800.000200")
    assert "thread_ts" not in server.sent.all()[0]["params"]


@pytest.mark.parametrize(
    "code",
    [
        "channel_not_found",
        "not_in_channel",
        "account_inactive",
        "token_revoked",
        "invalid_auth",
        "is_archived",
        "some_new_error",
    ],
)
def test_refusals_are_for_good_and_name_the_code(adapter: SlackAdapter, server: FakeSlack, code: str) -> None:
    server.faults.plan(Fault(code))
    with pytest.raises(PlatformRefused) as caught:
        adapter.send(CONFIG, THREAD, "hello")
    assert caught.value.details["answer"] == code


@pytest.mark.parametrize("code", ["internal_error", "service_unavailable", "fatal_error"])
def test_troubles_of_slack_are_temporary(adapter: SlackAdapter, server: FakeSlack, code: str) -> None:
    server.faults.plan(Fault(code))
    with pytest.raises(PlatformAway):
        adapter.send(CONFIG, THREAD, "hello")


def test_throttling_by_code_alone_is_throttling(adapter: SlackAdapter, server: FakeSlack) -> None:
    server.faults.plan(Fault("ratelimited"))
    with pytest.raises(PlatformThrottled) as caught:
        adapter.send(CONFIG, THREAD, "hello")
    assert caught.value.retry_after_s > 0


def test_a_status_shows_in_a_thread_and_nowhere_else(adapter: SlackAdapter, server: FakeSlack) -> None:
    adapter.show_typing(CONFIG, THREAD)
    adapter.show_typing(CONFIG, Place("D0123ABCD"))
    (call,) = server.calls.all()
    assert call["method"] == "assistant.threads.setStatus"
    assert call["params"] == {
        "channel_id": "C0123ABCD",
        "thread_ts": "1772443800.000200",
        "status": "is thinking…",
    }


@pytest.mark.parametrize("how", ["throttle", "error", "forbid", "drop", "missing_scope"])
def test_a_status_that_cannot_be_shown_harms_nothing(
    adapter: SlackAdapter, server: FakeSlack, how: str
) -> None:
    server.faults.plan(Fault(how))
    adapter.show_typing(CONFIG, THREAD)
