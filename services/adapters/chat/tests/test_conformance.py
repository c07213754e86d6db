"""What holds for every chat platform. Each folder's `tests/conformance.py` says how its platform is asked."""

from __future__ import annotations

import importlib
import json
import random
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from pydantic import SecretStr

from services.adapters.chat.registry import build_adapters, find_adapter, list_adapters
from services.adapters.chat.tests.case import AdapterCase, HookCase, Platform, settings_of
from services.adapters.chat.tests.spoiling import spoil
from services.adapters.chat.tests.texts import HOSTILE, random_markdown
from services.domain.errors import (
    HookUnverified,
    MalformedBody,
    PlatformAway,
    PlatformRefused,
    PlatformThrottled,
)
from services.domain.ports.chat import ChatAdapter, ChatKind, HookRequest, Parsed, Place
from services.domain.ports.chat_abilities import Listens

NOW = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
KINDS = [adapter.manifest.kind for adapter in list_adapters()]


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def case(kind: str) -> AdapterCase:
    module = importlib.import_module(f"services.adapters.chat.{kind}.tests.conformance")
    found: AdapterCase = module.CASE
    return found


@pytest.fixture
def adapter(kind: str, case: AdapterCase) -> ChatAdapter:
    return build_adapters(settings_of(case))[kind]


@pytest.fixture
def outside(adapter: ChatAdapter) -> None:
    """Leave out our own rooms, where there is no platform that could take or refuse anything."""
    if adapter.manifest.is_own:
        pytest.skip(f"{adapter.manifest.label} are no platform outside")


@pytest.fixture
def platform(outside: None, case: AdapterCase) -> Iterator[Platform]:
    with case.running() as running:
        yield running


@pytest.fixture
def linked(kind: str, case: AdapterCase, platform: Platform) -> ChatAdapter:
    """The adapter, pointed at the local platform."""
    return _pointed_at(kind, case, platform.base_url())


def _pointed_at(kind: str, case: AdapterCase, base_url: str) -> ChatAdapter:
    found = find_adapter(kind)
    assert found is not None
    return build_adapters(settings_of(case, **{found.base_setting: base_url}))[kind]


@pytest.fixture
def hooked(adapter: ChatAdapter) -> ChatAdapter:
    """The adapter of a platform with a webhook. Of the others the same is asked in `test_listening.py`."""
    if not adapter.manifest.has_webhook:
        pytest.skip(f"{adapter.manifest.label} has no webhook")
    return adapter


def _parse(adapter: ChatAdapter, case: HookCase, body: bytes) -> Parsed:
    request = case.hook(body, NOW)
    adapter.verify(case.config, request)
    return adapter.parse(case.config, request)


# --- What it says of itself ------------------------------------------------------------------------------


def test_its_manifest_is_complete(adapter: ChatAdapter, kind: str) -> None:
    manifest = adapter.manifest
    assert manifest.kind == kind
    assert manifest.label
    assert manifest.max_text > 0
    assert manifest.text_unit in ("utf16", "chars", "bytes")
    assert manifest.is_own or manifest.source.startswith("https://")
    assert manifest.is_own or manifest.setup, "people are told what to do"
    for step in manifest.setup:
        step.format(hook_url="https://slipway.example/hooks/x")


def test_its_configuration_is_closed_and_keeps_its_secrets(adapter: ChatAdapter, case: AdapterCase) -> None:
    revealed = case.config.revealed()
    assert adapter.config_model.model_validate(revealed) == case.config
    secrets = _secrets(case)
    assert secrets or adapter.manifest.is_own
    assert not any(secret in repr(case.config) for secret in secrets)
    with pytest.raises(ValueError, match="surprise") as caught:
        adapter.config_model.model_validate(revealed | {"surprise": "value-of-surprise"})
    assert "value-of-surprise" not in str(caught.value)


def _secrets(case: AdapterCase) -> list[str]:
    return [value.get_secret_value() for _, value in case.config if isinstance(value, SecretStr)]


# --- What comes in ---------------------------------------------------------------------------------------


def test_without_a_webhook_every_call_is_refused(adapter: ChatAdapter, case: AdapterCase) -> None:
    if adapter.manifest.has_webhook:
        pytest.skip(f"{adapter.manifest.label} has a webhook")
    if not adapter.manifest.is_own:
        assert isinstance(adapter, Listens)
        assert adapter.wants_listener(case.config)
    with pytest.raises(HookUnverified):
        adapter.verify(case.config, HookRequest("POST", {}, {}, b"{}", NOW))


def test_a_true_call_is_verified(hooked: ChatAdapter, case: HookCase) -> None:
    hooked.verify(case.config, case.hook(case.direct_body, NOW))


def test_a_forged_call_is_refused(hooked: ChatAdapter, case: HookCase) -> None:
    for reason, request in case.forgeries(NOW):
        with pytest.raises(HookUnverified):
            hooked.verify(case.config, request)
            pytest.fail(f"accepted: {reason}")


def test_a_call_for_another_link_is_refused(hooked: ChatAdapter, case: HookCase) -> None:
    with pytest.raises(HookUnverified):
        hooked.verify(case.wrong_config, case.hook(case.direct_body, NOW))


def test_a_direct_message_addresses_the_bot(hooked: ChatAdapter, case: HookCase) -> None:
    (message,) = _parse(hooked, case, case.direct_body).messages
    # Where nothing is said in private, what addresses the bot is a mention.
    assert message.chat_kind is getattr(case, "addressed_kind", ChatKind.DIRECT)
    assert message.is_mention
    assert message.text == "What is the weather?"
    assert message.sender.platform_id
    assert not message.sender.is_bot
    assert message.message_id
    assert message.sent_at.tzinfo is not None
    json.dumps(message.raw)


def test_a_repeated_call_has_the_same_key(hooked: ChatAdapter, case: HookCase) -> None:
    keys = {_parse(hooked, case, case.direct_body).messages[0].dedupe_key for _ in range(3)}
    assert len(keys) == 1
    assert keys.pop()


def test_its_own_messages_and_unknown_ones_are_ignored_with_a_reason(
    hooked: ChatAdapter, case: HookCase
) -> None:
    assert _parse(hooked, case, case.own_body) == Parsed(ignored="own_message")
    assert _parse(hooked, case, case.unknown_body) == Parsed(ignored="unknown_type")


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"\xff\xfe", b"{", b"[]", b"null", b"1", b'"x"', b'{"a": NaN}', b'{"a": 1e999}'),
        *(b"[" * 100_000, b'{"a":' * 50_000, b'{"a": ' + b"9" * 5000 + b"}"),
    ],
    ids=lambda body: repr(body[:12]),
)
def test_what_is_not_a_json_object_is_malformed(hooked: ChatAdapter, case: HookCase, body: bytes) -> None:
    with pytest.raises(MalformedBody):
        hooked.parse(case.config, replace(case.hook(b"{}", NOW), body=body))


def test_garbage_is_malformed_or_ignored_and_never_an_error(hooked: ChatAdapter, case: HookCase) -> None:
    dice = random.Random(7)
    for _ in range(1500):
        payload = json.loads(case.direct_body)
        for _ in range(dice.randint(1, 3)):
            spoil(payload, dice)
        request = case.hook(json.dumps(payload).encode(), NOW)
        try:
            parsed = hooked.parse(case.config, request)
        except MalformedBody:
            continue
        for message in parsed.messages:
            assert isinstance(message.text, str)
            assert message.text
            json.dumps(message.raw, allow_nan=False).encode()
            f"{message.text}{message.chat_title}{message.sender.display_name}{message.dedupe_key}".encode()


def test_texts_that_a_database_cannot_hold_are_mended(hooked: ChatAdapter, case: HookCase) -> None:
    body = case.direct_body.replace(b"What is", b"What\\u0000\\ud800 is")
    (message,) = _parse(hooked, case, body).messages
    assert message.text == "What\ufffd\ufffd is the weather?"
    assert "\\u0000" not in json.dumps(message.raw)


# --- What goes out ---------------------------------------------------------------------------------------


def test_nothing_still_renders_to_something(adapter: ChatAdapter) -> None:
    for empty in ("", "  \n ", "\u200b", "```\n```", "[]()", "\x00"):
        parts = adapter.render(empty)
        assert len(parts) == 1
        assert parts[0].strip()


@pytest.mark.parametrize("seed", range(40))
def test_parts_never_exceed_the_limit_and_are_sound(
    adapter: ChatAdapter, case: AdapterCase, seed: int
) -> None:
    _check_parts(adapter, case, random_markdown(random.Random(seed)))


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: repr(text[:12]))
def test_hostile_markup_still_gives_sound_parts(adapter: ChatAdapter, case: AdapterCase, text: str) -> None:
    _check_parts(adapter, case, text)


def _check_parts(adapter: ChatAdapter, case: AdapterCase, text: str) -> None:
    parts = adapter.render(text)
    assert parts
    assert adapter.render(text) == parts
    for part in parts:
        assert case.measure(part) <= adapter.manifest.max_text
        assert case.check_markup(part).strip()


def test_no_word_is_lost_when_a_text_is_split(adapter: ChatAdapter, case: AdapterCase) -> None:
    words = [f"wörd{number}" for number in range(4000)]
    text = "\n\n".join(" ".join(words[start : start + 40]) for start in range(0, 4000, 40))
    parts = adapter.render(f"**{words[0]}** {text}\n\n```python\n{text}\n```")
    shown = " ".join(case.check_markup(part) for part in parts)
    assert [word for word in shown.replace("*", " ").split() if word.startswith("wörd")] == [
        words[0],
        *words,
        *words,
    ]


@pytest.mark.parametrize("depth", range(1, 50))
def test_nothing_is_lost_however_deep_it_is_nested(
    adapter: ChatAdapter, case: AdapterCase, depth: int
) -> None:
    quotes = "> " * depth + "bottom"
    items = "\n".join("  " * level + f"- item{level}" for level in range(depth))
    shown = " ".join(case.check_markup(part) for part in adapter.render(f"{quotes}\n\n{items}"))
    assert "bottom" in shown
    assert all(f"item{level}" in shown.split() for level in range(depth))


def test_an_emoji_is_not_cut_apart(adapter: ChatAdapter, case: AdapterCase) -> None:
    family = "👩\u200d👩\u200d👧\u200d👦"
    shown = [case.check_markup(part) for part in adapter.render(family * 3000)]
    assert all(part.replace(family, "") == "" for part in shown)


# --- The platform ----------------------------------------------------------------------------------------


def test_connecting_tells_who_the_bot_is(linked: ChatAdapter, case: AdapterCase) -> None:
    identity = linked.connect(case.config, "http://127.0.0.1:1/hooks/here")
    assert identity.platform_id == case.config.bot_id
    assert identity.display_name == case.config.bot_name
    assert case.config.with_identity(identity) == case.config
    linked.disconnect(case.config)
    linked.disconnect(case.config)


def test_connecting_with_a_wrong_token_is_refused(linked: ChatAdapter, case: AdapterCase) -> None:
    with pytest.raises(PlatformRefused):
        linked.connect(case.wrong_config, "http://127.0.0.1:1/hooks/here")


def test_a_part_arrives(linked: ChatAdapter, case: AdapterCase, platform: Platform) -> None:
    (part,) = linked.render("Fish & chips: 3 < 4")
    receipts = [linked.send(case.config, case.place, part, reply_to=None) for _ in range(2)]
    assert platform.sent_texts() == ["Fish & chips: 3 < 4"] * 2
    assert len({receipt.message_id for receipt in receipts}) == 2


def test_every_rendered_part_is_taken(linked: ChatAdapter, case: AdapterCase, platform: Platform) -> None:
    parts = linked.render(random_markdown(random.Random(3)) + "\n\n" + "<b>&amp;</b> " * 900)
    for part in parts:
        linked.send(case.config, case.place, part)
    assert len(platform.sent_texts()) == len(parts)


def test_a_throttled_send_says_when_to_come_back(
    linked: ChatAdapter, case: AdapterCase, platform: Platform
) -> None:
    platform.fail_next("throttle", retry_after_s=17)
    with pytest.raises(PlatformThrottled) as caught:
        linked.send(case.config, case.place, "hello")
    assert caught.value.retry_after_s == 17
    assert platform.sent_texts() == []


def test_a_forbidden_send_is_refused_for_good(
    linked: ChatAdapter, case: AdapterCase, platform: Platform
) -> None:
    platform.fail_next("forbid")
    with pytest.raises(PlatformRefused):
        linked.send(case.config, case.place, "hello")


def test_a_server_error_is_temporary(linked: ChatAdapter, case: AdapterCase, platform: Platform) -> None:
    platform.fail_next("error")
    with pytest.raises(PlatformAway):
        linked.send(case.config, case.place, "hello")


def test_a_broken_connection_is_temporary_and_not_repeated_by_itself(
    linked: ChatAdapter, case: AdapterCase, platform: Platform
) -> None:
    platform.fail_next("drop")
    with pytest.raises(PlatformAway) as caught:
        linked.send(case.config, case.place, "hello")
    assert caught.value.details["may_have_arrived"] is True
    assert platform.sent_texts() == ["hello"]


def test_a_platform_that_is_not_there_is_temporary(outside: None, kind: str, case: AdapterCase) -> None:
    with case.running() as gone:
        base_url = gone.base_url()
    with pytest.raises(PlatformAway) as caught:
        _pointed_at(kind, case, base_url).send(case.config, case.place, "hello")
    assert caught.value.details["may_have_arrived"] is False


def test_an_impossible_place_is_refused(linked: ChatAdapter, case: AdapterCase) -> None:
    with pytest.raises(PlatformRefused):
        linked.send(case.config, Place("no such chat"), "hello")


def test_errors_do_not_name_the_secrets(linked: ChatAdapter, case: AdapterCase, platform: Platform) -> None:
    for how in ("throttle", "forbid", "error", "drop"):
        platform.fail_next(how)
        with pytest.raises((PlatformThrottled, PlatformRefused, PlatformAway)) as caught:
            linked.send(case.config, case.place, "hello")
        told = f"{caught.value.message}{caught.value.details}"
        assert not any(secret in told for secret in _secrets(case))


def test_typing_may_be_shown(linked: ChatAdapter, case: AdapterCase) -> None:
    linked.show_typing(case.config, case.place)


def test_many_threads_may_send_at_once(linked: ChatAdapter, case: AdapterCase, platform: Platform) -> None:
    failures: list[BaseException] = []

    def send(number: int) -> None:
        try:
            linked.send(case.config, case.place, f"message {number}")
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=send, args=(number,)) for number in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert failures == []
    assert sorted(platform.sent_texts()) == sorted(f"message {number}" for number in range(24))
