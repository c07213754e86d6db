"""Round trips with platforms as others emulate them: what people say comes in, and what the agent says is there.

What the emulators of this version lack is tried against our own local servers only: GitHub's reactions and deliveries;
Linear's threads, reactions and ids of ours, and its sessions, which have another shape here than Linear documents;
Slack's streams and Socket Mode.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import SecretStr

from services.adapters.chat.github.adapter import GithubAdapter
from services.adapters.chat.github.config import GithubConfig
from services.adapters.chat.linear.adapter import LinearAdapter
from services.adapters.chat.linear.config import LinearConfig
from services.adapters.chat.slack.adapter import SlackAdapter
from services.adapters.chat.slack.config import SlackConfig
from services.adapters.chat.tests.hook import Hook
from services.domain.errors import HookUnverified, PlatformRefused
from services.domain.ports.chat import ChatAdapter, InboundMessage, Parsed, Place
from tests.fakes.github_server import private_key
from tests.peers.bob import CREATE_COMMENT, Bob
from tests.peers.emulators import emulated
from tests.peers.seeds import (
    APP_ID,
    BOB,
    BOT,
    BOT_AT_LINEAR,
    BOT_AT_SLACK,
    INSTALLATION_ID,
    SECRET,
    seeds,
)

GITHUB = GithubConfig(
    app_id=APP_ID,
    installation_id=INSTALLATION_ID,
    private_key=SecretStr(private_key()),
    webhook_secret=SecretStr(SECRET),
)
SLACK = SlackConfig(bot_token=SecretStr(BOT_AT_SLACK), signing_secret=SecretStr(SECRET))
LINEAR = LinearConfig(webhook_secret=SecretStr(SECRET), access_token=SecretStr(BOT_AT_LINEAR))
_CREATE_SESSION = (
    "mutation($input: AgentSessionCreateOnIssue!)"
    " { agentSessionCreateOnIssue(input: $input) { agentSession { id } } }"
)


class Emulated:
    """The emulators, and the one webhook that all of them call."""

    def __init__(self, addresses: dict[str, str], hook: Hook) -> None:
        self.addresses, self.hook, self.bob = addresses, hook, Bob(addresses)
        self._taken = 0

    def next_calls(self, adapter: ChatAdapter, config: Any, count: int = 1) -> list[Parsed]:
        """Wait for the next calls, verify and read them."""
        calls = [entry["call"] for entry in self.hook.calls.wait_for(self._taken + count)]
        fresh = calls[self._taken : self._taken + count]
        self._taken += count
        for call in fresh:
            adapter.verify(config, call)
        return [adapter.parse(config, call) for call in fresh]

    def next_message(self, adapter: ChatAdapter, config: Any) -> InboundMessage:
        """Wait for the next call, and return what somebody says in it."""
        (parsed,) = self.next_calls(adapter, config)
        assert parsed.messages, parsed.ignored
        return parsed.messages[-1]


@pytest.fixture(scope="module")
def addresses_and_hook() -> Iterator[tuple[dict[str, str], Hook]]:
    with Hook() as hook, emulated(seeds(hook.url), slack_events=hook.url) as addresses:
        yield addresses, hook


@pytest.fixture
def platforms(addresses_and_hook: tuple[dict[str, str], Hook]) -> Emulated:
    addresses, hook = addresses_and_hook
    hook.calls.clear()
    return Emulated(addresses, hook)


def test_github_hears_a_person_and_its_comment_is_there(platforms: Emulated) -> None:
    adapter = GithubAdapter(platforms.addresses["github"])
    issue = platforms.bob.at_github(
        "/repos/acme/shop/issues", {"title": "Login fails", "body": "@acme-agents why?"}
    )
    platforms.next_calls(adapter, GITHUB)
    place = Place(f"acme/shop#{issue['number']}")
    # The emulator makes the app's user when it first writes; GitHub, when the app is made.
    adapter.send(GITHUB, place, "I am here.")
    platforms.next_calls(adapter, GITHUB)
    config = GITHUB.with_identity(adapter.connect(GITHUB, platforms.hook.url))
    assert config.bot_name == "acme-agents"

    comments = f"/repos/acme/shop/issues/{issue['number']}/comments"
    platforms.bob.at_github(comments, {"body": "@acme-agents and when?"})
    (heard,) = platforms.next_calls(adapter, config)
    told, asked = heard.messages
    assert (told.text, told.sender.display_name) == ("Login fails\n\nwhy?", "bob")
    assert (asked.place, asked.text, asked.is_mention) == (place, "and when?", True)

    receipt = adapter.send_with_key(config, place, adapter.render("**Today**, at `noon`.")[0], "key-1")
    (own,) = platforms.next_calls(adapter, config)
    assert own == Parsed(ignored="own_message")
    assert adapter.find_sent(config, place, "key-1") == receipt
    assert adapter.find_sent(config, place, "key-2") is None
    adapter.edit(config, place, receipt.message_id, "Tomorrow.")
    assert [comment["body"] for comment in platforms.bob.at_github(comments)][-1] == "Tomorrow."
    adapter.delete(config, place, receipt.message_id)
    with pytest.raises(PlatformRefused):
        adapter.edit(config, place, receipt.message_id, "x")


def test_github_refuses_another_key_and_another_repository(platforms: Emulated) -> None:
    adapter = GithubAdapter(platforms.addresses["github"])
    with pytest.raises(PlatformRefused):
        adapter.send(GITHUB, Place("acme/nothing#1"), "hello")
    stranger = GithubConfig.model_validate(GITHUB.revealed() | {"app_id": "99999"})
    with pytest.raises(PlatformRefused):
        adapter.connect(stranger, platforms.hook.url)


def test_linear_hears_a_person_and_its_comment_is_there(platforms: Emulated) -> None:
    adapter = LinearAdapter(platforms.addresses["linear"])
    config = LINEAR.with_identity(adapter.connect(LINEAR, platforms.hook.url))
    assert config.bot_name == "slipway"
    platforms.bob.adds_webhook_at_linear(platforms.hook.url, SECRET, "Comment", "AgentSessionEvent")
    issue_id = platforms.bob.find_issue_at_linear()

    platforms.bob.at_linear(CREATE_COMMENT, input={"issueId": issue_id, "body": "@slipway why?"})
    asked = platforms.next_message(adapter, config)
    assert (asked.text, asked.is_mention, asked.place.chat_id) == ("why?", True, issue_id)

    place = Place(issue_id)
    receipt = adapter.send(config, place, adapter.render("Because of **this**.")[0])
    assert platforms.next_calls(adapter, config) == [Parsed(ignored="own_message")]
    adapter.edit(config, place, receipt.message_id, "Because.")
    comment = "query($id: String!) { comment(id: $id) { body } }"
    comment_id = receipt.message_id.removeprefix("comment:")
    assert platforms.bob.at_linear(comment, id=comment_id)["comment"]["body"] == "Because."


def test_linear_signs_the_event_of_a_session_as_we_check_it(platforms: Emulated) -> None:
    adapter = LinearAdapter(platforms.addresses["linear"])
    issue_id = platforms.bob.find_issue_at_linear()
    platforms.bob.adds_webhook_at_linear(platforms.hook.url, SECRET, "AgentSessionEvent")
    platforms.bob.at_linear(_CREATE_SESSION, input={"issueId": issue_id})
    call = platforms.hook.calls.wait_for(1)[0]["call"]
    assert call.headers["linear-event"] == "AgentSessionEvent"
    adapter.verify(LINEAR, call)
    other = LinearConfig.model_validate(LINEAR.revealed() | {"webhook_secret": "another-secret"})
    with pytest.raises(HookUnverified):
        adapter.verify(other, call)


def test_slack_hears_a_person_and_its_answer_is_there(platforms: Emulated) -> None:
    adapter = SlackAdapter(f"{platforms.addresses['slack']}/api/")
    config = SLACK.with_identity(adapter.connect(SLACK, platforms.hook.url))
    assert config.bot_id == BOT
    channel = platforms.bob.find_channel_at_slack()
    platforms.bob.at_slack("chat.postMessage", channel=channel, text=f"<@{BOT}> why?")
    asked = platforms.next_message(adapter, config)
    assert (asked.text, asked.is_mention, asked.sender.platform_id) == ("why?", True, BOB)

    receipt = adapter.send_with_key(config, asked.place, adapter.render("Because of **this**.")[0], "key-1")
    assert platforms.next_calls(adapter, config) == [Parsed(ignored="own_message")]
    adapter.edit(config, asked.place, receipt.message_id, "Because.")
    thread = asked.place.thread_id or ""
    replies = platforms.bob.at_slack("conversations.replies", channel=channel, ts=thread)["messages"]
    assert [message["text"] for message in replies][-1] == "Because."
