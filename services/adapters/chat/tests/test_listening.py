"""What holds for every platform without a webhook: the questions of `test_conformance.py`, asked of `listen`."""

from __future__ import annotations

import importlib
import json
import random
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from services.adapters.chat.registry import build_adapters, find_adapter, list_adapters
from services.adapters.chat.tests.case import AdapterCase, Incoming, ListeningPlatform
from services.adapters.chat.tests.memory_inbox import Listener, MemoryInbox, listened, listening
from services.domain.errors import LeaseLost, PlatformAway, PlatformRefused, PlatformThrottled
from services.domain.ports.chat import ChatKind
from services.domain.ports.chat_abilities import Listens

KINDS = [
    adapter.manifest.kind
    for adapter in list_adapters()
    if isinstance(adapter, Listens) and not adapter.manifest.has_webhook
]


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def case(kind: str) -> AdapterCase:
    module = importlib.import_module(f"services.adapters.chat.{kind}.tests.conformance")
    found: AdapterCase = module.CASE
    return found


@pytest.fixture
def platform(case: AdapterCase) -> Iterator[Any]:
    with case.running() as running:
        yield running


@pytest.fixture
def linked(kind: str, platform: ListeningPlatform) -> Any:
    found = find_adapter(kind)
    assert found is not None
    return build_adapters({found.base_setting: platform.base_url()})[kind]


@pytest.fixture
def inbox(linked: Any, case: AdapterCase) -> MemoryInbox:
    """An inbox whose listener was there before: what comes from now on is new."""
    first = MemoryInbox()
    listened(linked, case.config, first, lambda: bool(first.state))
    return MemoryInbox(first.state)


def test_a_direct_message_addresses_the_bot(
    linked: Any, case: AdapterCase, platform: ListeningPlatform, inbox: MemoryInbox
) -> None:
    platform.receive(Incoming.DIRECT)
    listened(linked, case.config, inbox, lambda: len(inbox.messages()) == 1)
    (message,) = inbox.messages()
    assert message.chat_kind is ChatKind.DIRECT
    assert message.is_mention
    assert message.text == "What is the weather?"
    assert message.sender.platform_id
    assert not message.sender.is_bot
    assert 0 < len(message.message_id) <= 120
    assert 0 < len(message.dedupe_key) <= 200
    assert len(message.place.chat_id) <= 120
    assert len(message.place.thread_id or "") <= 120
    assert message.sent_at.tzinfo is not None
    json.dumps(message.raw)


def test_what_comes_while_it_listens_is_heard_at_once(
    linked: Any, case: AdapterCase, platform: ListeningPlatform, inbox: MemoryInbox
) -> None:
    with listening(linked, case.config, inbox) as listener:
        for count in (1, 2, 3):
            platform.receive(Incoming.DIRECT)
            inbox.wait_for_messages(count)
    assert listener.error is None


def test_its_own_messages_and_unknown_ones_are_ignored_with_a_reason(
    linked: Any, case: AdapterCase, platform: ListeningPlatform, inbox: MemoryInbox
) -> None:
    platform.receive(Incoming.OWN)
    platform.receive(Incoming.UNKNOWN)
    platform.receive(Incoming.DIRECT)
    listened(linked, case.config, inbox, lambda: len(inbox.messages()) == 1)
    assert len(inbox.ignored()) == 2
    assert inbox.ignored()[0] == "own_message"


def test_a_listener_that_resumes_hears_what_came_meanwhile_and_nothing_twice(
    linked: Any, case: AdapterCase, platform: ListeningPlatform, inbox: MemoryInbox
) -> None:
    platform.receive(Incoming.DIRECT)
    listened(linked, case.config, inbox, lambda: len(inbox.messages()) == 1)
    platform.receive(Incoming.DIRECT)
    platform.receive(Incoming.DIRECT)
    resumed = MemoryInbox(inbox.state)
    listened(linked, case.config, resumed, lambda: len(resumed.messages()) == 2)
    keys = [message.dedupe_key for message in (*inbox.messages(), *resumed.messages())]
    assert len(set(keys)) == 3


def test_what_was_not_stored_comes_again_with_the_same_key(
    linked: Any, case: AdapterCase, platform: ListeningPlatform, inbox: MemoryInbox
) -> None:
    state = inbox.load_state()
    platform.receive(Incoming.DIRECT)
    inbox.crashes = True
    with pytest.raises(MemoryError):
        listened(linked, case.config, inbox, lambda: False)
    again, once_more = MemoryInbox(inbox.state), MemoryInbox(state)
    listened(linked, case.config, again, lambda: len(again.messages()) == 1)
    listened(linked, case.config, once_more, lambda: len(once_more.messages()) == 1)
    assert again.messages()[0].dedupe_key == once_more.messages()[0].dedupe_key


def test_a_listener_whose_lease_is_lost_ends(
    linked: Any, case: AdapterCase, platform: ListeningPlatform, inbox: MemoryInbox
) -> None:
    inbox.is_taken_over = True
    platform.receive(Incoming.DIRECT)
    with pytest.raises(LeaseLost):
        listened(linked, case.config, inbox, lambda: False)


def test_a_listener_that_is_told_to_stop_returns_soon(
    linked: Any, case: AdapterCase, platform: ListeningPlatform, inbox: MemoryInbox
) -> None:
    with listening(linked, case.config, inbox) as listener:
        platform.receive(Incoming.DIRECT)
        inbox.wait_until(lambda: len(inbox.messages()) == 1)
        inbox.stop()
        started = time.monotonic()
        listener.join(5)
    assert time.monotonic() - started < 5
    assert listener.error is None


@pytest.mark.parametrize(
    ("how", "error"),
    [
        ("throttle", PlatformThrottled),
        ("error", PlatformAway),
        ("drop", PlatformAway),
        ("forbid", PlatformRefused),
    ],
)
def test_a_listener_that_is_cut_off_says_why_and_nothing_is_lost(
    linked: Any,
    case: AdapterCase,
    platform: ListeningPlatform,
    inbox: MemoryInbox,
    how: str,
    error: type[Exception],
) -> None:
    platform.fail_listening(how)
    platform.receive(Incoming.DIRECT)
    listener = Listener(linked, case.config, inbox)
    listener.join()
    assert isinstance(listener.error, error), listener.error
    again = MemoryInbox(inbox.state)
    listened(linked, case.config, again, lambda: len(again.messages()) == 1)


def test_a_wrong_password_is_refused(linked: Any, case: AdapterCase) -> None:
    listener = Listener(linked, case.wrong_config, MemoryInbox())
    listener.join()
    assert isinstance(listener.error, PlatformRefused)


def test_a_platform_that_is_not_there_is_temporary(kind: str, case: AdapterCase) -> None:
    with case.running() as gone:
        base_url = gone.base_url()
    found: Any = find_adapter(kind)
    listener = Listener(found(base_url), case.config, MemoryInbox())
    listener.join()
    assert isinstance(listener.error, PlatformAway)


def test_garbage_is_ignored_and_never_ends_the_listening(
    linked: Any, case: AdapterCase, platform: ListeningPlatform, inbox: MemoryInbox
) -> None:
    dice = random.Random(7)
    asked = "What is the weather?"
    for turn in range(1, 6):
        for _ in range(25):
            platform.receive_garbage(dice)
        platform.receive(Incoming.DIRECT)
        with listening(linked, case.config, inbox) as listener:
            inbox.wait_until(_has_heard(inbox, asked, turn))
        assert listener.error is None
        inbox = inbox.resumed()
    for message in inbox.messages():
        assert isinstance(message.text, str)
        assert message.text or message.files
        json.dumps(message.raw, allow_nan=False).encode()
        f"{message.text}{message.chat_title}{message.sender.display_name}{message.dedupe_key}".encode()


def _has_heard(inbox: MemoryInbox, text: str, times: int) -> Callable[[], bool]:
    return lambda: sum(message.text == text for message in inbox.messages()) == times


def test_texts_that_a_database_cannot_hold_are_mended(
    linked: Any, case: AdapterCase, platform: ListeningPlatform, inbox: MemoryInbox
) -> None:
    platform.receive(Incoming.UNSTORABLE)
    listened(linked, case.config, inbox, lambda: len(inbox.messages()) == 1)
    (message,) = inbox.messages()
    assert "\ufffd" in message.text
    assert "\x00" not in message.text
    assert "\\u0000" not in json.dumps(message.raw)
