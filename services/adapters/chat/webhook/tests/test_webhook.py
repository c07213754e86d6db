"""What holds for webhooks alone: what may come in, where calls may go, what a receiver's answers mean."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from services.adapters.chat.webhook.adapter import WebhookAdapter
from services.adapters.chat.webhook.config import WebhookConfig
from services.adapters.chat.webhook.failures import check_status
from services.adapters.chat.webhook.signing import sign, verify
from services.adapters.chat.webhook.tests.conformance import CASE, MESSAGE
from services.domain.errors import (
    FileTooLarge,
    MalformedBody,
    PlatformAway,
    PlatformRefused,
    PlatformThrottled,
)
from services.domain.ports.chat import ChangeKind, HookRequest, Parsed, Place
from tests.fakes.serving import Fault
from tests.fakes.webhook_server import FakeReceiver

NOW = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)


@pytest.fixture
def receiver() -> Iterator[FakeReceiver]:
    with FakeReceiver(chats=["room-1"]) as server:
        yield server


@pytest.fixture
def adapter(receiver: FakeReceiver) -> WebhookAdapter:
    return WebhookAdapter(receiver.url)


def parse(event: dict[str, Any]) -> Parsed:
    return WebhookAdapter("").parse(CASE.config, CASE.hook(json.dumps(event).encode(), NOW))


def test_the_specifications_own_example_verifies() -> None:
    # Source: the Standard Webhooks specification, "Signature scheme", and its libraries' test vectors.
    key = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    moment = datetime.fromtimestamp(1614265330, UTC)
    body = b'{"test": 2432232314}'
    headers = sign(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", moment, body)
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    twice = headers | {"webhook-signature": f"v1,AAAA {headers['webhook-signature']}"}
    verify(key, HookRequest("POST", twice, {}, body, moment))


def test_a_secret_that_is_too_short_or_no_base64_is_refused() -> None:
    for secret in ("whsec_c2hvcnQ=", "x" * 33, base64.b64encode(b"x" * 23).decode()):
        with pytest.raises(ValidationError) as caught:
            WebhookConfig(signing_secret=SecretStr(secret), url="https://receiver.example/hook")
        assert secret not in str(caught.value)


@pytest.mark.parametrize("url", ["ftp://a.example/x", "https:///x", "https://u:p@a.example/", "nonsense"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ValidationError):
        WebhookConfig(signing_secret=CASE.config.signing_secret, url=url)


def test_edits_deletions_presses_and_stops_are_read() -> None:
    edited = parse(MESSAGE | {"type": "message.edited", "id": "e1", "message_id": "m1", "text": "new"})
    assert [(one.kind, one.message_id, one.text) for one in edited.changes] == [
        (ChangeKind.EDITED, "m1", "new")
    ]
    deleted = parse(MESSAGE | {"type": "message.deleted", "id": "e2", "message_id": "m1"})
    assert [(one.kind, one.text) for one in deleted.changes] == [(ChangeKind.DELETED, "")]
    pressed = parse(MESSAGE | {"type": "press", "id": "p1", "message_id": "r1", "value": "yes"})
    assert [(one.message_id, one.value, one.press_ref) for one in pressed.presses] == [("r1", "yes", "p1")]
    stopped = parse(MESSAGE | {"type": "stop", "id": "s1", "thread": "t1"})
    assert [one.place for one in stopped.stops] == [Place("room-1", "t1")]


def test_files_are_told_of_and_a_message_of_files_alone_has_words() -> None:
    file = {"url": "https://receiver.example/files/a.pdf", "name": "a.pdf", "size": 10}
    (message,) = parse(MESSAGE | {"text": "", "files": [file]}).messages
    assert message.text == "[file: a.pdf]"
    assert [(one.ref, one.name, one.size) for one in message.files] == [(file["url"], "a.pdf", 10)]
    assert parse(MESSAGE | {"text": " "}) == Parsed(ignored="no_text")


def test_in_a_group_only_a_mention_addresses_the_agent() -> None:
    group = MESSAGE | {"chat": {"id": "room-1", "kind": "group"}}
    assert not parse(group).messages[0].is_mention
    assert parse(group | {"is_mention": True}).messages[0].is_mention


@pytest.mark.parametrize("missing", ["id", "chat", "sender"])
def test_a_message_without_its_parts_is_malformed(missing: str) -> None:
    with pytest.raises(MalformedBody):
        parse({name: value for name, value in MESSAGE.items() if name != missing})


def test_a_repeat_under_one_key_is_one_message(adapter: WebhookAdapter, receiver: FakeReceiver) -> None:
    receiver.faults.plan(Fault("drop"))
    with pytest.raises(PlatformAway):
        adapter.send_with_key(CASE.config, CASE.place, "hello", "task:1/0")
    again = adapter.send_with_key(CASE.config, CASE.place, "hello", "task:1/0")
    assert [entry["id"] for entry in receiver.sent.all()] == [again.message_id]
    assert [entry["id"] for entry in receiver.calls.all()] == ["task:1/0", "task:1/0"]


def test_a_private_address_is_not_posted_to() -> None:
    config = CASE.config.model_copy(update={"url": "https://127.0.0.1:1/hook"})
    with pytest.raises(PlatformRefused):
        WebhookAdapter("").send(config, CASE.place, "hello")
    config = CASE.config.model_copy(update={"url": "https://169.254.169.254/latest"})
    with pytest.raises(PlatformRefused):
        WebhookAdapter("").send(config, CASE.place, "hello")


def test_a_redirect_is_not_followed(adapter: WebhookAdapter, receiver: FakeReceiver) -> None:
    receiver.faults.plan(Fault("302"))
    with pytest.raises(PlatformRefused):
        adapter.send(CASE.config, CASE.place, "hello")


def test_files_come_from_the_receivers_own_host_alone(
    adapter: WebhookAdapter, receiver: FakeReceiver
) -> None:
    receiver.files["a.txt"] = b"x" * 1000
    url = "https://receiver.example/files/a.txt"
    assert adapter.fetch_file(CASE.config, url, 1000) == b"x" * 1000
    with pytest.raises(FileTooLarge):
        adapter.fetch_file(CASE.config, url, 999)
    for other in ("https://elsewhere.example/files/a.txt", "http://receiver.example/files/a.txt", "x"):
        with pytest.raises(PlatformRefused):
            adapter.fetch_file(CASE.config, other, 1000)
    with pytest.raises(PlatformRefused):
        adapter.fetch_file(CASE.config, "https://receiver.example/files/none", 1000)


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (408, PlatformAway),
        (425, PlatformAway),
        (503, PlatformAway),
        (429, PlatformThrottled),
        (400, PlatformRefused),
        (410, PlatformRefused),
        (301, PlatformRefused),
    ],
)
def test_each_answer_means_something(status: int, error: type[Exception]) -> None:
    with pytest.raises(error):
        check_status(status, "")
    check_status(202, "")


def test_a_moment_to_come_back_at_is_read_as_seconds() -> None:
    with pytest.raises(PlatformThrottled) as caught:
        check_status(429, "Wed, 01 Jan 2020 00:00:00 GMT")
    assert caught.value.retry_after_s == 0
    with pytest.raises(PlatformThrottled) as caught:
        check_status(429, "Fri, 01 Jan 2100 00:00:00 GMT")
    assert caught.value.retry_after_s > 10**8
