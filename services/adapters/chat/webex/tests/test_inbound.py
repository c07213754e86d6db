"""Webex's hooks: what is incomplete, how it is completed, and what it then says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from services.adapters.chat.webex import inbound
from services.adapters.chat.webex.adapter import WebexAdapter
from services.adapters.chat.webex.tests import payloads
from services.adapters.chat.webex.tests.payloads import CONFIG, MESSAGE_ID, call, completed, hook
from services.domain.errors import MalformedBody, PlatformAway, PlatformRefused
from services.domain.ports.chat import ChangeKind, ChatKind, InboundMessage, Parsed, Place
from services.domain.ports.chat_abilities import Completes
from tests.fakes.serving import Fault
from tests.fakes.webex_server import BOB_ID, BOT_ID, DIRECT_ROOM, GROUP_ROOM, FakeWebex


@pytest.fixture
def server() -> Iterator[FakeWebex]:
    with FakeWebex(tokens=[CONFIG.bot_token.get_secret_value()]) as running:
        yield running


@pytest.fixture
def adapter(server: FakeWebex) -> WebexAdapter:
    return WebexAdapter(server.url)


def read(body: dict[str, Any]) -> Parsed:
    return inbound.parse(CONFIG, call(body))


def fetched(adapter: WebexAdapter, body: dict[str, Any]) -> InboundMessage:
    (found,) = adapter.parse(CONFIG, adapter.complete(CONFIG, call(body))).messages
    return found


def test_what_names_a_message_is_incomplete_and_the_bot_s_own_is_not_fetched() -> None:
    assert isinstance(WebexAdapter("https://webexapis.com"), Completes)
    for resource, event in inbound.NAMED:
        assert read(hook(resource, event)) == Parsed(is_incomplete=True)
    assert read(hook(personId=BOT_ID)) == Parsed(ignored="own_message")
    assert read(hook("memberships", "created")) == Parsed(ignored="unknown_type")


def test_a_direct_message_is_fetched_and_read(adapter: WebexAdapter, server: FakeWebex) -> None:
    found = fetched(adapter, server.write(DIRECT_ROOM, "What is the weather?"))
    assert found.text == "What is the weather?"
    assert (found.chat_kind, found.chat_title, found.is_mention) == (ChatKind.DIRECT, "Bob Builder", True)
    assert found.place == Place(DIRECT_ROOM)
    assert found.dedupe_key == found.message_id


def test_a_mention_in_a_room_is_left_out_and_opens_a_thread(adapter: WebexAdapter, server: FakeWebex) -> None:
    found = fetched(adapter, server.write(GROUP_ROOM, "build it", mentions_bot=True))
    assert (found.text, found.is_mention, found.chat_title) == ("build it", True, "Building site")
    assert found.place == Place(GROUP_ROOM, found.message_id)
    reply = server.write(GROUP_ROOM, "more", mentions_bot=True, parentId=found.message_id)
    assert fetched(adapter, reply).place == Place(GROUP_ROOM, found.message_id)


def test_files_are_described_and_fetched_from_webex_alone(adapter: WebexAdapter, server: FakeWebex) -> None:
    address = server.upload("plan.pdf", "application/pdf", b"%PDF-1.7")
    evil = "https://evil.example/v1/contents/1"
    (file, other) = fetched(adapter, server.write(DIRECT_ROOM, "", files=[address, evil])).files
    assert (file.name, file.content_type, file.size) == ("plan.pdf", "application/pdf", 8)
    assert adapter.fetch_file(CONFIG, file.ref, 100) == b"%PDF-1.7"
    assert (other.name, other.size) == ("unnamed", None)
    with pytest.raises(PlatformRefused):
        adapter.fetch_file(CONFIG, other.ref, 100)


def test_a_message_is_fetched_also_when_nobody_says_who_wrote_it(
    adapter: WebexAdapter, server: FakeWebex
) -> None:
    server.faults.plan(Fault("forbid", method="GET people"))
    server.faults.plan(Fault("forbid", method="GET rooms"))
    found = fetched(adapter, server.write(GROUP_ROOM, "hello"))
    assert (found.sender.display_name, found.is_mention) == ("bob@acme.example", False)


def test_a_webex_that_is_away_is_asked_again_later(adapter: WebexAdapter, server: FakeWebex) -> None:
    written = server.write(DIRECT_ROOM, "hello")
    server.faults.plan(Fault("error"))
    with pytest.raises(PlatformAway):
        adapter.complete(CONFIG, call(written))
    assert fetched(adapter, written).text == "hello"


def test_a_message_that_is_gone_says_so(adapter: WebexAdapter, server: FakeWebex) -> None:
    written = server.write(DIRECT_ROOM, "hello")
    server.messages.clear()
    with pytest.raises(PlatformRefused) as caught:
        adapter.complete(CONFIG, call(written))
    assert caught.value.details["answer"] == "404"


@pytest.mark.parametrize(
    "body", [{}, hook("rooms"), hook() | {"data": None}, hook(id=7), hook() | {"data": {}}]
)
def test_what_names_nothing_is_not_fetched(
    adapter: WebexAdapter, server: FakeWebex, body: dict[str, Any]
) -> None:
    with pytest.raises(MalformedBody):
        adapter.complete(CONFIG, call(body))
    assert server.calls.all() == []


def test_an_id_leads_nowhere_else(adapter: WebexAdapter, server: FakeWebex) -> None:
    with pytest.raises(PlatformRefused):
        adapter.complete(CONFIG, call(hook(id="../people/me")))
    assert "people/me" not in [entry["path"] for entry in server.calls.all()]


def test_edits_and_deletions_are_changes() -> None:
    (edit,) = read(completed(event="updated", text="better", updated="2026-03-02T09:31:00Z")).changes
    assert (edit.kind, edit.text, edit.message_id) == (ChangeKind.EDITED, "better", MESSAGE_ID)
    (deletion,) = read(hook(event="deleted")).changes
    assert (deletion.kind, deletion.text, deletion.sender.platform_id) == (ChangeKind.DELETED, "", BOB_ID)
    assert deletion.place == edit.place == Place(DIRECT_ROOM)


def test_another_bot_is_told_from_a_person_and_empty_messages_are_ignored() -> None:
    (bot,) = read(completed(personEmail="other@webex.bot")).messages
    (bob,) = read(completed()).messages
    assert (bot.sender.is_bot, bob.sender.is_bot) == (True, False)
    assert read(completed(text=" ")) == Parsed(ignored="no_text")
    foreign = completed("attachmentActions", inputs={"colour": "red"}, messageId="x")
    assert read(foreign) == Parsed(ignored="unknown_type")


@pytest.mark.parametrize("fields", [{"id": ""}, {"roomId": None}, {"created": "soon"}, {"id": "x" * 200}])
def test_what_cannot_be_a_message_is_malformed(fields: dict[str, Any]) -> None:
    with pytest.raises(MalformedBody):
        read(completed(**fields))


def test_what_webex_signs_is_verified(adapter: WebexAdapter) -> None:
    body = json.dumps(hook()).encode()
    adapter.verify(CONFIG, payloads.call(body))
