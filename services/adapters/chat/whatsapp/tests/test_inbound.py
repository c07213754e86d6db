"""What becomes of WhatsApp's calls."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from services.adapters.chat.whatsapp import inbound
from services.adapters.chat.whatsapp.config import WhatsappConfig
from services.adapters.chat.whatsapp.tests import payloads
from services.adapters.chat.whatsapp.tests.payloads import CONFIG, call, hook, message, status, value
from services.domain.errors import HookUnverified, MalformedBody
from services.domain.ports.chat import (
    ChatKind,
    HookReply,
    InboundFile,
    InboundMessage,
    InboundReport,
    Parsed,
    Place,
    ReportState,
    Sender,
)
from tests.fakes.whatsapp_server import GROUP_ID, PERSON, PERSON_ID


def _message(body: dict[str, Any]) -> InboundMessage:
    (found,) = inbound.parse(CONFIG, hook(body)).messages
    return found


def test_a_message_is_read_whole() -> None:
    found = _message(payloads.DIRECT)
    assert found.place == Place(PERSON_ID)
    assert (found.chat_kind, found.is_mention, found.chat_title) == (ChatKind.DIRECT, True, "Bob")
    assert found.sender == Sender(PERSON_ID, "Bob")
    assert found.dedupe_key == found.message_id == "wamid.HBgLMTYzMTU1NTExODEVAgASGBQzQTdCNTg5RjY1MTY0QjAA"
    assert found.sent_at == datetime(2026, 3, 2, 9, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("fields", "contact", "person_id"),
    [
        ({}, {}, PERSON_ID),
        ({"from": None}, {}, PERSON_ID),
        ({"from_user_id": None}, {}, PERSON_ID),
        ({"from_user_id": None}, {"user_id": None}, PERSON),
        ({"from_user_id": None}, {"user_id": None, "wa_id": None}, PERSON),
    ],
    ids=["both", "hidden number", "id in the card alone", "number alone", "no card"],
)
def test_people_are_known_by_the_id_that_stays_and_else_by_their_number(
    fields: dict[str, Any], contact: dict[str, Any], person_id: str
) -> None:
    body = message(**fields)
    whole = body["entry"][0]["changes"][0]["value"]
    whole["contacts"] = [{n: v for n, v in (whole["contacts"][0] | contact).items() if v is not None}]
    found = _message(body)
    assert (found.sender.platform_id, found.place.chat_id) == (person_id, person_id)


def test_a_message_of_nobody_is_malformed() -> None:
    with pytest.raises(MalformedBody):
        inbound.parse(CONFIG, hook(message(**{"from": None, "from_user_id": None})))


def test_a_call_brings_many_messages_and_what_became_of_others() -> None:
    one, other = (message(id=f"wamid.{n}")["entry"][0]["changes"][0]["value"] for n in "ab")
    told = status("read")["entry"][0]["changes"][0]["value"]
    parsed = inbound.parse(CONFIG, hook(call(one, told, other)))
    assert [each.message_id for each in parsed.messages] == ["wamid.a", "wamid.b"]
    assert [each.state for each in parsed.reports] == [ReportState.READ]
    assert parsed.ignored is None


@pytest.mark.parametrize(
    ("kind", "media", "text", "file"),
    [
        (
            "image",
            payloads.PHOTO,
            "[image] our roof",
            InboundFile("1003383421387256", "image.jpg", "image/jpeg"),
        ),
        (
            "audio",
            payloads.VOICE,
            "[voice]",
            InboundFile("1908647269898587", "audio.ogg", "audio/ogg", is_voice=True),
        ),
        (
            "document",
            payloads.REPORT,
            "[document: report.pdf]",
            InboundFile("1521626785143201", "report.pdf", "application/pdf"),
        ),
    ],
)
def test_a_file_is_named_and_can_be_fetched(
    kind: str, media: dict[str, Any], text: str, file: InboundFile
) -> None:
    found = _message(message(type=kind, text=None, **{kind: media}))
    assert (found.text, found.files) == (text, (file,))


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"type": "button", "button": {"text": "Yes", "payload": "y"}}, "Yes"),
        (
            {"type": "location", "location": {"latitude": 52.5, "longitude": 13.4, "name": "Home"}},
            "[location: 52.5, 13.4] Home",
        ),
        (
            {
                "type": "contacts",
                "contacts": [{"name": {"formatted_name": "Carol"}, "phones": [{"phone": "+49 30"}]}],
            },
            "[contact: Carol +49 30]",
        ),
        (
            {"type": "unsupported", "errors": [{"code": 131051}]},
            "[unsupported message, which cannot be read here]",
        ),
        ({"type": "order"}, "[order message, which cannot be read here]"),
    ],
)
def test_what_is_no_text_is_told_in_words(fields: dict[str, Any], text: str) -> None:
    assert _message(message(text=None, **fields)).text == text


def test_an_answer_names_what_it_answers() -> None:
    assert _message(message(context={"from": "15550783881", "id": "wamid.out1"})).reply_to == "wamid.out1"


@pytest.mark.parametrize("kind", ["button_reply", "list_reply"])
def test_a_press_comes_back_with_its_value_and_card(kind: str) -> None:
    interactive = {"type": kind, kind: {"id": "q:7:1", "title": "Blue"}}
    body = message(type="interactive", text=None, interactive=interactive, context={"id": "wamid.out1"})
    (press,) = inbound.parse(CONFIG, hook(body)).presses
    assert (press.value, press.message_id, press.place) == ("q:7:1", "wamid.out1", Place(PERSON_ID))
    assert press.sender == Sender(PERSON_ID, "Bob")


@pytest.mark.parametrize("state", ["sent", "delivered", "read"])
def test_what_became_of_a_message_is_reported(state: str) -> None:
    assert inbound.parse(CONFIG, hook(status(state))) == Parsed(
        reports=(InboundReport("wamid.out1", ReportState(state), datetime(2026, 3, 2, 9, 30, tzinfo=UTC)),)
    )


def test_a_failure_says_what_to_do_and_whether_the_template_may_help() -> None:
    (report,) = inbound.parse(CONFIG, hook(status("failed", 131047))).reports
    assert (report.state, report.may_open) == (ReportState.FAILED, True)
    assert "24 hours" in report.reason
    bare = WhatsappConfig.model_validate(CONFIG.revealed() | {"template": ""})
    (report,) = inbound.parse(bare, hook(status("failed", 131047))).reports
    assert not report.may_open
    (report,) = inbound.parse(CONFIG, hook(status("failed", 131026))).reports
    assert not report.may_open
    assert "cannot be reached" in report.reason


@pytest.mark.parametrize(
    ("fields", "is_mention", "text"),
    [
        ({"text": {"body": "who has the key?"}}, False, "who has the key?"),
        ({"text": {"body": "@15550783881 build it"}}, True, "build it"),
        ({"text": {"body": "please @Acme build it"}}, True, "please build it"),
        ({"text": {"body": "yes"}, "context": {"id": "wamid.out1", "from": "15550783881"}}, True, "yes"),
        ({"text": {"body": "yes"}, "context": {"id": "wamid.in1", "from": PERSON}}, False, "yes"),
    ],
)
def test_in_a_group_the_agent_is_addressed_by_mention_or_answer(
    fields: dict[str, Any], is_mention: bool, text: str
) -> None:
    (heard,) = inbound.parse(CONFIG, hook(message(group_id=GROUP_ID, **fields))).messages
    assert (heard.place, heard.chat_kind) == (Place(f"group:{GROUP_ID}"), ChatKind.GROUP)
    assert (heard.is_mention, heard.text) == (is_mention, text)
    assert (heard.sender.platform_id, heard.sender.display_name) == (PERSON_ID, "Bob")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (
            message(type="reaction", text=None, reaction={"message_id": "wamid.out1", "emoji": "👍"}),
            "reaction",
        ),
        (message(group_id="g" * 200), "chat_id_too_long"),
        (call(value(groups=[]), name="group_participants_update"), "group_event"),
        (message(type="system", text=None), "system_message"),
        (call(value(metadata={"phone_number_id": "999999"}, messages=[])), "other_number"),
        (status("deleted"), "unknown_status"),
        (payloads.ECHO, "own_message"),
        ({"object": "page", "entry": []}, "unknown_type"),
    ],
)
def test_what_is_not_for_the_agent_is_ignored_with_a_reason(body: dict[str, Any], reason: str) -> None:
    assert inbound.parse(CONFIG, hook(body)) == Parsed(ignored=reason)


def test_the_handshake_is_answered_with_its_challenge() -> None:
    request = payloads.handshake(CONFIG.hook_token)
    inbound.verify(CONFIG, request)
    parsed = inbound.parse(CONFIG, request)
    assert parsed == Parsed(reply=HookReply(body=b"1158201444"), ignored="url_verification")


def test_a_verify_token_of_ones_own_is_the_one_that_counts() -> None:
    own = WhatsappConfig.model_validate(CONFIG.revealed() | {"verify_token": "one-of-our-own"})
    inbound.verify(own, payloads.handshake("one-of-our-own"))
    with pytest.raises(HookUnverified):
        inbound.verify(own, payloads.handshake(CONFIG.hook_token))


@pytest.mark.parametrize("fields", [{"timestamp": "soon"}, {"id": ""}, {"text": {"body": 5}}, {"type": None}])
def test_a_message_that_lacks_what_each_has_is_malformed(fields: dict[str, Any]) -> None:
    with pytest.raises(MalformedBody):
        inbound.parse(CONFIG, hook(json.dumps(message(**fields)).encode()))
