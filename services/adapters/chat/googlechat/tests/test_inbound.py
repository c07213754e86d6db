"""Google Chat's events as messages and presses."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from services.adapters.chat.googlechat import inbound
from services.adapters.chat.googlechat.adapter import GoogleChatAdapter
from services.adapters.chat.googlechat.config import GoogleChatConfig
from services.adapters.chat.googlechat.tests import payloads
from services.adapters.chat.googlechat.tests.payloads import (
    BOB,
    CONFIG,
    DIRECT_SPACE,
    ENDPOINT,
    NOW,
    PROJECT,
    ROOM,
    add_on_event,
    event,
    hook,
)
from services.domain.errors import HookUnverified, MalformedBody
from services.domain.ports.chat import ChatKind, HookReply, InboundMessage, Parsed, Place

LATER = HookReply(content_type="application/json", body=b"{}")


def read(body: dict[str, Any]) -> Parsed:
    return inbound.parse(CONFIG, hook(body))


def message(body: dict[str, Any]) -> InboundMessage:
    (found,) = read(body).messages
    return found


def adapter() -> GoogleChatAdapter:
    return GoogleChatAdapter("https://chat.googleapis.com", payloads.issuer().settings())


def test_a_direct_message_is_read_and_answered_later() -> None:
    found = message(event())
    assert found.place == Place("spaces/AAAADIRECT")
    assert (found.chat_kind, found.chat_title, found.is_mention) == (ChatKind.DIRECT, "Bob Builder", True)
    assert found.message_id == found.dedupe_key == "spaces/AAAADIRECT/messages/BBBB.CCCC"
    assert read(event()).reply == LATER


def test_a_mention_in_a_space_is_left_out_and_answered_in_its_thread() -> None:
    said = payloads.message(ROOM, text="@Slipway build it", argumentText=" build it")
    found = message(event(ROOM, message=said))
    assert (found.text, found.is_mention) == ("build it", True)
    assert found.place == Place("spaces/AAAAROOM", "spaces/AAAAROOM/threads/BBBB")
    assert (found.chat_kind, found.chat_title) == (ChatKind.CHANNEL, "Building site")


def test_what_does_not_mention_the_app_is_no_mention() -> None:
    assert message(event(ROOM, message=payloads.message(ROOM))).is_mention is False


def test_a_group_chat_is_a_group() -> None:
    assert message(event(ROOM | {"spaceType": "GROUP_CHAT"})).chat_kind is ChatKind.GROUP


def test_a_mention_alone_keeps_its_words() -> None:
    said = payloads.message(ROOM, text="@Slipway", argumentText="")
    found = message(event(ROOM, message=said))
    assert (found.text, found.is_mention) == ("@Slipway", True)


def test_the_words_with_which_the_app_is_added_are_a_message() -> None:
    said = payloads.message(ROOM, text="@Slipway hello", argumentText=" hello")
    assert message(event(ROOM, type="ADDED_TO_SPACE", message=said)).text == "hello"
    alone = {name: value for name, value in event(ROOM, type="ADDED_TO_SPACE").items() if name != "message"}
    assert read(alone) == Parsed(ignored="service_event", reply=LATER)


def test_an_add_on_gets_the_same_in_another_form() -> None:
    assert message(add_on_event("messagePayload")).place.chat_id == "spaces/AAAAROOM"
    assert read(add_on_event("removedFromSpacePayload")).ignored == "service_event"
    clicked = add_on_event("buttonClickedPayload")
    clicked["commonEventObject"]["parameters"] = {"value": "yes:1"}
    (press,) = read(clicked).presses
    assert (press.value, press.sender.platform_id) == ("yes:1", BOB["name"])
    assert read(add_on_event("somethingNewPayload")) == Parsed(ignored="unknown_type")


def test_uploads_are_files_and_what_is_in_drive_is_named() -> None:
    uploaded = {
        "name": "x",
        "contentName": "plan.pdf",
        "contentType": "application/pdf",
        "source": "UPLOADED_CONTENT",
        "attachmentDataRef": {"resourceName": "ClxzcGFjZXM"},
    }
    in_drive = {"contentName": "sheet", "source": "DRIVE_FILE", "driveDataRef": {"driveFileId": "1"}}
    said = payloads.message(text=None, argumentText=None, attachment=[uploaded, in_drive])
    found = message(event(message=said))
    assert [(file.ref, file.name) for file in found.files] == [("ClxzcGFjZXM", "plan.pdf"), ("", "sheet")]
    assert found.text == "[file: plan.pdf] [file: sheet]"


def test_another_app_is_told_from_a_person_and_empty_messages_are_ignored() -> None:
    bot = payloads.message(sender={"name": "users/2", "type": "BOT"})
    assert message(event(message=bot)).sender.is_bot
    assert not message(event()).sender.is_bot
    assert read(event(message=payloads.message(text="", argumentText=""))).ignored == "no_text"


@pytest.mark.parametrize(
    "fields",
    [
        {"user": None},
        {"message": None},
        {"message": payloads.message(name="")},
        {"message": payloads.message(createTime="soon")},
        {"space": {"name": "rooms/1"}},
        {"space": {"name": "spaces/" + "x" * 200}},
    ],
)
def test_what_cannot_be_an_event_is_malformed(fields: dict[str, Any]) -> None:
    with pytest.raises(MalformedBody):
        read(event(**fields))


def test_both_audiences_are_taken_and_the_project_s_own_add_on() -> None:
    at, issuer = NOW.timestamp(), payloads.issuer()
    email = f"service-{PROJECT}@gcp-sa-gsuiteaddons.iam.gserviceaccount.com"
    for token in (
        issuer.chat_token(PROJECT, at),
        issuer.google_token(ENDPOINT, at),
        issuer.google_token(ENDPOINT, at, email=email),
    ):
        adapter().verify(CONFIG, hook(event(), token=token))


def test_an_endpoint_counts_only_where_it_is_configured() -> None:
    token = payloads.issuer().google_token(ENDPOINT, NOW.timestamp())
    by_number = CONFIG.model_copy(update={"endpoint_url": ""})
    with pytest.raises(HookUnverified):
        adapter().verify(by_number, hook(event(), token=token))


def test_keys_are_fetched_once_for_many_calls() -> None:
    made, issuer = adapter(), payloads.issuer()
    before = len(issuer.calls.all())
    for _ in range(5):
        made.verify(CONFIG, hook(event(DIRECT_SPACE)))
    assert [call["what"] for call in issuer.calls.all()[before:]] == ["chat_keys"]


@pytest.mark.parametrize("key", ["", "{}", "[]", '{"type": "service_account"}', "x" * 20_000])
def test_what_is_no_service_account_s_key_is_not_taken(key: str) -> None:
    with pytest.raises(ValidationError) as caught:
        GoogleChatConfig(service_account=SecretStr(key), project_number=PROJECT)
    assert "service account" in str(caught.value)
