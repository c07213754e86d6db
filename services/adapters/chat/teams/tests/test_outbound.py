"""What reaches Teams, and what its answers mean."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pydantic import SecretStr

from services.adapters.chat.cards import render_card
from services.adapters.chat.teams.adapter import TeamsAdapter
from services.adapters.chat.teams.tests.payloads import APP_ID, CONFIG, TENANT, hook
from services.domain.errors import FileTooLarge, PlatformAway, PlatformRefused, PlatformThrottled
from services.domain.ports.chat import LinkIdentity, Place
from services.domain.ports.chat_abilities import Button
from tests.fakes.serving import Fault
from tests.fakes.teams_issuer import TeamsIssuer
from tests.fakes.teams_server import FakeTeams

DIRECT = Place("emea/a:bob")
THREAD = Place("emea/19:general@thread.tacv2", "1772443700000")


@pytest.fixture
def issuer() -> Iterator[TeamsIssuer]:
    with TeamsIssuer({(TENANT, APP_ID): CONFIG.client_secret.get_secret_value()}) as running:
        yield running


@pytest.fixture
def server(issuer: TeamsIssuer) -> Iterator[FakeTeams]:
    with FakeTeams(issuer) as running:
        yield running


@pytest.fixture
def adapter(server: FakeTeams, issuer: TeamsIssuer) -> TeamsAdapter:
    return TeamsAdapter(server.url, issuer.settings())


def test_connecting_checks_the_credentials_at_the_tenant(adapter: TeamsAdapter, issuer: TeamsIssuer) -> None:
    identity = adapter.connect(CONFIG, "https://slipway.example/hooks/teams/1")
    assert identity == LinkIdentity(f"28:{APP_ID}", "Slipway")
    assert [(call["what"], call["tenant"]) for call in issuer.calls.all()] == [("token", TENANT)]
    wrong = CONFIG.model_copy(update={"client_secret": SecretStr("another-secret")})
    with pytest.raises(PlatformRefused) as caught:
        adapter.connect(wrong, "https://slipway.example/hooks/teams/1")
    assert caught.value.details["answer"] == "invalid_client"


def test_health_is_a_token_that_is_given_anew(adapter: TeamsAdapter, issuer: TeamsIssuer) -> None:
    assert adapter.check_health(CONFIG, "https://slipway.example") is None
    assert issuer.apps is not None
    issuer.apps.clear()
    told = adapter.check_health(CONFIG, "https://slipway.example")
    assert told is not None
    assert "client secret" in told


def test_a_part_goes_into_its_thread(adapter: TeamsAdapter, server: FakeTeams) -> None:
    (part,) = adapter.render("**Done** & [here](https://e.com)\n\nnext")
    receipt = adapter.send(CONFIG, THREAD, part, reply_to="1772443700000")
    (entry,) = server.sent.all()
    assert entry["conversation"] == "19:general@thread.tacv2;messageid=1772443700000"
    assert (entry["id"], entry["text"]) == (receipt.message_id, "Done & here\n\nnext")
    assert entry["activity"]["replyToId"] == "1772443700000"


def test_one_token_serves_many_calls_and_a_revoked_one_is_replaced(
    adapter: TeamsAdapter, server: FakeTeams, issuer: TeamsIssuer
) -> None:
    for _ in range(3):
        adapter.send(CONFIG, DIRECT, "hello")
    assert len(issuer.calls.all()) == 1
    issuer.revoke_tokens()
    adapter.send(CONFIG, DIRECT, "hello")
    assert len(issuer.calls.all()) == 2
    assert len(server.sent.all()) == 4


def test_a_sign_in_that_is_away_means_that_nothing_was_sent(
    adapter: TeamsAdapter, issuer: TeamsIssuer
) -> None:
    issuer.faults.plan(Fault("error", method="token"))
    with pytest.raises(PlatformAway) as caught:
        adapter.send(CONFIG, DIRECT, "hello")
    assert caught.value.details["may_have_arrived"] is False


def test_a_conversation_takes_so_many_calls_a_second(issuer: TeamsIssuer) -> None:
    with FakeTeams(issuer, calls_per_s=7, clock=lambda: 0.0) as strict:
        adapter = TeamsAdapter(strict.url, issuer.settings())
        for _ in range(7):
            adapter.send(CONFIG, DIRECT, "hello")
        with pytest.raises(PlatformThrottled) as caught:
            adapter.send(CONFIG, DIRECT, "hello")
        assert caught.value.retry_after_s == 1
        adapter.send(CONFIG, THREAD, "hello")


def test_two_changes_at_once_are_tried_again(adapter: TeamsAdapter, server: FakeTeams) -> None:
    server.faults.plan(Fault("conflict"))
    with pytest.raises(PlatformAway) as caught:
        adapter.send(CONFIG, DIRECT, "hello")
    assert caught.value.details["may_have_arrived"] is False


@pytest.mark.parametrize("code", ["BotNotInConversationRoster", "MessageWritesBlocked", "SomethingNew"])
def test_refusals_are_for_good_and_name_the_code(adapter: TeamsAdapter, server: FakeTeams, code: str) -> None:
    server.faults.plan(Fault(code))
    with pytest.raises(PlatformRefused) as caught:
        adapter.send(CONFIG, DIRECT, "hello")
    assert caught.value.details["answer"] == code


def test_too_large_a_message_is_refused(adapter: TeamsAdapter) -> None:
    with pytest.raises(PlatformRefused) as caught:
        adapter.send(CONFIG, DIRECT, "x" * 60_000)
    assert caught.value.details["answer"] == "MessageSizeTooBig"


@pytest.mark.parametrize(
    "chat_id", ["emea/", "", "../../x/a:bob", "emea?x=1/a:bob", "https://evil.example/a:bob"]
)
def test_only_the_connector_is_ever_called(adapter: TeamsAdapter, server: FakeTeams, chat_id: str) -> None:
    with pytest.raises(PlatformRefused):
        adapter.send(CONFIG, Place(chat_id), "hello")
    assert server.sent.all() == []
    assert all(call["path"].startswith("/emea/v3/") for call in server.calls.all())


def test_a_press_comes_back_with_its_value_and_a_refusal_is_said(
    adapter: TeamsAdapter, server: FakeTeams
) -> None:
    card = render_card(
        adapter,
        "Go **now** & [there](https://e.com)?",
        [Button("Yes", "yes:1"), Button("Docs", url="https://e.com/")],
    )
    receipt = adapter.send_card(CONFIG, DIRECT, card.parts[-1], card.buttons)
    activity = server.press(APP_ID, server.sent.all()[0], "Yes")
    (press,) = adapter.parse(CONFIG, hook(activity)).presses
    assert (press.value, press.message_id, press.place) == ("yes:1", receipt.message_id, DIRECT)
    adapter.answer_press(CONFIG, DIRECT, press.press_ref, "29:bob", "Not *you*.", is_refusal=True)
    adapter.answer_press(CONFIG, DIRECT, press.press_ref, "29:bob", "Thanks.", is_refusal=False)
    assert [entry["text"] for entry in server.sent.all()] == [
        "Go **now** & [there](https://e.com)?",
        "Not you.",
    ]
    adapter.edit(CONFIG, DIRECT, receipt.message_id, "Gone")
    assert "attachments" not in server.sent.all()[0]["activity"]


def test_a_pasted_picture_is_fetched_with_the_token_up_to_its_limit(
    adapter: TeamsAdapter, server: FakeTeams
) -> None:
    server.files["roof.png"] = b"x" * 1_000
    ref = f"{server.service_url}v3/attachments/roof.png"
    assert adapter.fetch_file(CONFIG, ref, 1_000) == b"x" * 1_000
    with pytest.raises(FileTooLarge):
        adapter.fetch_file(CONFIG, ref, 999)
    with pytest.raises(PlatformRefused):
        adapter.fetch_file(CONFIG, f"{ref}.gone", 1_000)


@pytest.mark.parametrize(
    "ref",
    [
        "https://evil.example/x",
        "http://acme.sharepoint.com/x",
        "https://acme.sharepoint.com.evil.example/x",
        "https://acme.sharepoint.com@evil.example/x",
        "file:///etc/passwd",
    ],
)
def test_files_are_fetched_from_nowhere_else(adapter: TeamsAdapter, ref: str) -> None:
    with pytest.raises(PlatformRefused):
        adapter.fetch_file(CONFIG, ref, 1_000)


def test_typing_shows_in_the_conversation(adapter: TeamsAdapter, server: FakeTeams) -> None:
    adapter.show_typing(CONFIG, DIRECT)
    assert server.typing.all() == [{"conversation": "a:bob"}]
