"""Deliveries that never arrived are taken all the same."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from services.adapters.chat.github.adapter import GithubAdapter
from services.adapters.chat.github.tests.payloads import CONFIG
from services.domain.errors import PlatformAway
from services.domain.ports.chat import Parsed, Place
from tests.fakes.github_chat_server import GithubChatServer


class _OneLook:
    """An inbox that wants the listener to return after its first look."""

    def __init__(self, state: dict[str, Any] | None = None) -> None:
        self.state, self.kept, self._is_over = state or {}, list[Parsed](), False

    def keep(self, parsed: Parsed, state: Mapping[str, Any] | None = None) -> None:
        self.kept.append(parsed)
        self.state = json.loads(json.dumps(state))

    def load_state(self) -> dict[str, Any]:
        return dict(self.state)

    def list_heard(self) -> list[tuple[Place, str]]:
        return []

    def is_stopping(self) -> bool:
        return self._is_over

    def wait(self, seconds: float) -> bool:
        self._is_over = True
        return True

    def texts(self) -> list[str]:
        return [message.text for parsed in self.kept for message in parsed.messages if message.is_mention]


@pytest.fixture
def server() -> Iterator[GithubChatServer]:
    with GithubChatServer() as running:
        running.add_issue("shop", "Login fails", "It says 500.")
        yield running


def _delivered(server: GithubChatServer, text: str, status: int = 502) -> None:
    event = server.comment_event("shop", 1, f"@acme-agents {text}")
    server.record_delivery("issue_comment", event, str(uuid.uuid4()), status)


def _look(server: GithubChatServer, state: dict[str, Any] | None = None) -> _OneLook:
    inbox = _OneLook(state)
    adapter = GithubAdapter(server.url)
    assert adapter.wants_listener(CONFIG)
    adapter.listen(CONFIG, inbox)
    return inbox


def test_what_failed_before_there_was_a_listener_is_not_answered_any_more(server: GithubChatServer) -> None:
    _delivered(server, "too late")
    first = _look(server)
    assert first.texts() == []
    assert first.state == {"newest": server.deliveries[-1]["id"]}


def test_failed_deliveries_are_taken_in_order_and_those_that_arrived_are_not(
    server: GithubChatServer,
) -> None:
    _delivered(server, "before")
    state = _look(server).state
    _delivered(server, "missed")
    _delivered(server, "arrived", status=200)
    server.record_delivery("issue_comment", {"installation": {"id": 1}}, str(uuid.uuid4()), 502)
    server.record_delivery("issue_comment", {"installation": {"id": 4711}}, str(uuid.uuid4()), 0)
    for number in range(120):
        _delivered(server, f"missed {number}")
    second = _look(server, state)
    assert second.texts() == ["missed", *(f"missed {number}" for number in range(120))]
    assert [parsed.ignored for parsed in second.kept if parsed.ignored] == [
        "other_installation",
        "unreadable",
    ]
    assert _look(server, second.state).kept == []


def test_a_missed_delivery_has_the_key_that_it_would_have_had(server: GithubChatServer) -> None:
    state = {"newest": 0}
    event = server.comment_event("shop", 1, "@acme-agents hello")
    guid = str(uuid.uuid4())
    server.record_delivery("issue_comment", event, guid, 502)
    missed = _look(server, state).kept[0].messages[-1]
    assert missed.dedupe_key == f"issue_comment:{event['comment']['id']}"


def test_a_github_that_does_not_answer_ends_the_look(server: GithubChatServer) -> None:
    gone = GithubAdapter("http://127.0.0.1:9")
    with pytest.raises(PlatformAway):
        gone.listen(CONFIG, _OneLook())
