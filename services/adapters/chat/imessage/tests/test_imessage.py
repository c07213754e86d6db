"""What comes from a BlueBubbles server, and what reaches it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from services.adapters.chat import guarded
from services.adapters.chat.imessage import inbound
from services.adapters.chat.imessage.adapter import IMessageAdapter
from services.adapters.chat.imessage.render import render
from services.adapters.chat.imessage.tests.payloads import CONFIG, hook, webhook
from services.domain.errors import FileTooLarge, MalformedBody, PlatformAway, PlatformRefused
from services.domain.ports.chat import ChangeKind, ChatKind, LinkIdentity, Parsed, Place
from services.domain.ports.chat_abilities import OutgoingFile
from tests.fakes.imessage_server import ACCOUNT, BOB, DIRECT, GROUP, FakeBlueBubbles

HOOK = "https://slipway.example/hooks/imessage/1"
PASSWORD = CONFIG.password.get_secret_value()


@pytest.fixture
def server() -> Iterator[FakeBlueBubbles]:
    with FakeBlueBubbles(PASSWORD) as running:
        yield running


@pytest.fixture
def adapter(server: FakeBlueBubbles) -> IMessageAdapter:
    return IMessageAdapter(server.url)


def read(body: dict[str, Any]) -> Parsed:
    return inbound.parse(CONFIG, hook(body))


def test_a_group_is_told_by_its_id_and_a_mention_by_its_mark() -> None:
    (plain,) = read(webhook(chat=GROUP)).messages
    assert (plain.chat_kind, plain.chat_title, plain.is_mention) == (ChatKind.GROUP, "Building site", False)
    marked = [{"runs": [{"attributes": {"__kIMMentionConfirmedMention": ACCOUNT}}]}]
    (mention,) = read(webhook(chat=GROUP, attributedBody=marked, threadOriginatorGuid="G-1")).messages
    assert (mention.is_mention, mention.reply_to) == (True, "G-1")


def test_files_come_with_their_guids() -> None:
    photo = {"guid": "at_0_1", "transferName": "roof.heic", "mimeType": "image/heic", "totalBytes": 12}
    voice = {"guid": "at_0_2", "transferName": "Audio Message.caf"}
    (message,) = read(webhook(text="\ufffc", attachments=[photo, voice])).messages
    assert [(file.ref, file.size, file.is_voice) for file in message.files] == [
        ("at_0_1", 12, False),
        ("at_0_2", None, True),
    ]
    assert message.text == "[file: roof.heic] [file: Audio Message.caf]"


def test_edits_and_retractions_are_changes_and_other_updates_are_not() -> None:
    (edit,) = read(webhook("updated-message", text="better", dateEdited=1772443900000)).changes
    assert (edit.kind, edit.text) == (ChangeKind.EDITED, "better")
    (gone,) = read(webhook("updated-message", dateRetracted=1772443900000)).changes
    assert (gone.kind, gone.text, gone.message_id) == (ChangeKind.DELETED, "", edit.message_id)
    assert read(webhook("updated-message", dateDelivered=1)) == Parsed(ignored="service_event")


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"associatedMessageType": "love"}, "reaction"),
        ({"itemType": 2}, "service_event"),
        ({"text": " \ufffc"}, "no_text"),
    ],
)
def test_what_is_no_message_is_ignored_with_its_reason(fields: dict[str, Any], reason: str) -> None:
    assert read(webhook(**fields)) == Parsed(ignored=reason)


@pytest.mark.parametrize(
    "fields", [{"guid": ""}, {"chats": []}, {"handle": None}, {"dateCreated": -1}, {"dateCreated": 10**20}]
)
def test_what_cannot_be_a_message_is_malformed(fields: dict[str, Any]) -> None:
    with pytest.raises(MalformedBody):
        read(webhook(**fields))


def test_connecting_makes_one_webhook_with_a_secret_in_its_address(
    adapter: IMessageAdapter, server: FakeBlueBubbles
) -> None:
    server.hooks[99] = {"id": 99, "url": "https://other.example/", "events": ["*"]}
    for _ in range(2):
        assert adapter.connect(CONFIG, HOOK) == LinkIdentity(ACCOUNT, ACCOUNT)
    made = [one for one in server.hooks.values() if one["id"] != 99]
    assert [one["url"] for one in made] == [f"{HOOK}?secret={CONFIG.hook_secret}"]
    assert PASSWORD not in made[0]["url"]
    adapter.disconnect(CONFIG)
    assert list(server.hooks) == [99]


def test_health_names_what_has_to_be_mended(adapter: IMessageAdapter, server: FakeBlueBubbles) -> None:
    adapter.connect(CONFIG, HOOK)
    assert adapter.check_health(CONFIG, HOOK) is None
    server.hooks.clear()
    assert "webhook" in (adapter.check_health(CONFIG, HOOK) or "")
    server.has_private_api = False
    assert "Private API" in (adapter.check_health(CONFIG, HOOK) or "")
    server.account = None
    assert "signed in" in (adapter.check_health(CONFIG, HOOK) or "")
    server.password = "changed-password"
    assert "password" in (adapter.check_health(CONFIG, HOOK) or "")


def test_a_repeat_is_refused_while_the_first_is_on_its_way(
    adapter: IMessageAdapter, server: FakeBlueBubbles
) -> None:
    server.hold = threading.Event()
    first = threading.Thread(target=adapter.send, args=(CONFIG, Place(DIRECT), "hello"))
    first.start()
    server.calls.wait_for(1)
    while not server._sending:
        assert first.is_alive()
    with pytest.raises(PlatformAway) as caught:
        adapter.send(CONFIG, Place(DIRECT), "hello")
    assert (caught.value.details["may_have_arrived"], caught.value.retry_after_s) == (True, 15.0)
    server.hold.set()
    first.join(5)
    assert [message["text"] for message in server.sent.all()] == ["hello"]


def test_without_the_private_api_there_is_only_text(
    server: FakeBlueBubbles, adapter: IMessageAdapter
) -> None:
    server.has_private_api = False
    plain = CONFIG.model_copy(update={"private_api": "no"})
    receipt = adapter.send(plain, Place(DIRECT), "hello", reply_to="G-1")
    adapter.show_typing(plain, Place(DIRECT))
    with pytest.raises(PlatformRefused):
        adapter.react(plain, Place(DIRECT), receipt.message_id, "like")
    assert "selectedMessageGuid" not in server.sent.all()[0]["fields"]
    assert server.typing.all() == []


def test_a_reply_names_what_it_answers(adapter: IMessageAdapter, server: FakeBlueBubbles) -> None:
    adapter.send(CONFIG, Place(GROUP), "hello", reply_to="G-1")
    fields = server.sent.all()[0]["fields"]
    assert (fields["selectedMessageGuid"], fields["method"], fields["chatGuid"]) == (
        "G-1",
        "private-api",
        GROUP,
    )


def test_a_caption_goes_before_its_file(adapter: IMessageAdapter, server: FakeBlueBubbles) -> None:
    adapter.send_file(CONFIG, Place(DIRECT), OutgoingFile("a.csv", "text/csv", b"a,b\n"), "The table")
    assert [message["text"] for message in server.sent.all()] == ["The table"]
    assert server.files.all() == [{"name": "a.csv", "data": b"a,b\n"}]


def test_a_file_is_fetched_up_to_its_limit(adapter: IMessageAdapter, server: FakeBlueBubbles) -> None:
    server.attachments["at_0_1"] = b"x" * 100
    assert adapter.fetch_file(CONFIG, "at_0_1", 100) == b"x" * 100
    with pytest.raises(FileTooLarge):
        adapter.fetch_file(CONFIG, "at_0_1", 99)
    for ref in ("../../server/info", "nothing"):
        with pytest.raises(PlatformRefused):
            adapter.fetch_file(CONFIG, ref, 100)


def test_the_password_is_not_logged(adapter: IMessageAdapter, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO), caplog.at_level(logging.INFO, logger="httpx"):
        adapter.send(CONFIG, Place(DIRECT), "hello")
    assert "password=<password>" in caplog.text
    assert PASSWORD not in caplog.text


def test_a_message_that_is_delivered_is_verified_and_read(
    adapter: IMessageAdapter, server: FakeBlueBubbles
) -> None:
    (message,) = adapter.parse(CONFIG, hook(server.write(DIRECT, "hello"))).messages
    assert (message.text, message.sender.platform_id, message.place) == ("hello", BOB, Place(DIRECT))


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "10.0.0.7", "[::1]", "169.254.169.254", "localhost", "127.0.0.1.nip.io"]
)
def test_a_server_that_a_tenant_names_is_on_the_public_internet(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guarded, "_resolve", lambda host: ["127.0.0.1"])
    named = CONFIG.model_copy(update={"server_url": f"https://{address}:1"})
    with pytest.raises(PlatformRefused, match="public internet"):
        IMessageAdapter("").send(named, Place(DIRECT), "hello")


def test_a_server_s_address_needs_https_and_nothing_but_a_host() -> None:
    for address in ("http://mac.example", "https://a@b.example", "https://b.example/path", "ftp://b"):
        with pytest.raises(ValueError, match="server_url"):
            CONFIG.model_validate(CONFIG.revealed() | {"server_url": address})
    with pytest.raises(PlatformRefused, match="https"):
        IMessageAdapter("").send(CONFIG.model_copy(update={"server_url": "http://b"}), Place(DIRECT), "x")
    with pytest.raises(PlatformRefused, match="no server"):
        IMessageAdapter("").send(CONFIG.model_copy(update={"server_url": ""}), Place(DIRECT), "x")


def test_markdown_becomes_plain_text() -> None:
    assert render("**a** [b](https://e.com) `c`\n\n- d") == ["a b (https://e.com) c\n\n• d"]
