"""Round trips with platforms as others emulate them: what people say comes in, and what the agent says is there.

What the emulators of this version lack is tried against our own local servers only: GitHub's reactions and deliveries;
Linear's threads, reactions and ids of ours, and its sessions, which have another shape here than Linear documents;
Slack's streams and Socket Mode.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
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
from tests.peers.emulators import emulated

SECRET = "a-secret-of-the-webhook"
BOB, BOT = "U0BOB00001", "U0SLIP0001"
GITHUB = GithubConfig(
    app_id="12345",
    installation_id=4711,
    private_key=SecretStr(private_key()),
    webhook_secret=SecretStr(SECRET),
)
SLACK = SlackConfig(bot_token=SecretStr("xoxb-slipway-1"), signing_secret=SecretStr(SECRET))
LINEAR = LinearConfig(webhook_secret=SecretStr(SECRET), access_token=SecretStr("lin_api_slipway_0001"))
_CREATE_WEBHOOK = "mutation($input: WebhookCreateInput!) { webhookCreate(input: $input) { success } }"
_CREATE_COMMENT = "mutation($input: CommentCreateInput!) { commentCreate(input: $input) { comment { id } } }"
_CREATE_SESSION = (
    "mutation($input: AgentSessionCreateOnIssue!)"
    " { agentSessionCreateOnIssue(input: $input) { agentSession { id } } }"
)


def _seeds(hook_url: str) -> dict[str, dict[str, Any]]:
    rights = {"issues": "write", "pull_requests": "write", "metadata": "read"}
    events = ["issues", "issue_comment", "pull_request", "pull_request_review", "pull_request_review_comment"]
    app = {
        "app_id": 12345, "slug": "acme-agents", "name": "Acme agents", "private_key": private_key(),
        "permissions": rights, "events": events, "webhook_url": hook_url, "webhook_secret": SECRET,
        "installations": [{"installation_id": 4711, "account": "acme", "repository_selection": "all"}],
    }  # fmt: skip
    github = {
        "users": [{"login": "bob", "name": "Bob", "email": "bob@example.com"}],
        "orgs": [{"login": "acme", "name": "Acme", "members": [{"login": "bob", "role": "admin"}]}],
        "repos": [{"owner": "acme", "name": "shop", "auto_init": True}],
        "apps": [app],
    }
    slack = {
        "signing_secret": SECRET,
        "team": {"name": "Acme", "domain": "acme"},
        "channels": [{"name": "general"}],
        "oauth_apps": [
            {
                "client_id": "1.2",
                "client_secret": "x",
                "name": "slipway",
                "bot_user_id": BOT,
                "bot_id": "B0SLIP0001",
            }
        ],
        "strict_scopes": False,
    }
    scopes = ["read", "write", "admin"]
    linear = {
        "organization": {"name": "Acme", "url_key": "acme"},
        "users": [
            {"email": "bob@example.com", "name": "Bob", "admin": True}, {"email": "s@example.com", "name": "slipway"},
        ],
        "teams": [{"key": "ENG", "name": "Engineering", "states": [{"name": "Todo", "type": "unstarted"}]}],
        "issues": [{"team": "ENG", "title": "Login fails", "state": "Todo"}],
        "tokens": [
            {"token": "lin_api_bob_0001", "user": "bob@example.com", "scopes": scopes},
            {"token": "lin_api_slipway_0001", "user": "s@example.com", "scopes": scopes},
        ],
        "strict_scopes": False,
    }  # fmt: skip
    return {
        "github": {"tokens": {"ghp_bob": {"login": "bob", "scopes": ["repo"]}}, "github": github},
        "slack": {
            "tokens": {
                "xoxb-slipway-1": {"login": BOT, "scopes": []},
                "xoxp-bob-1": {"login": BOB, "scopes": []},
            },
            "slack": slack,
        },
        "linear": {"linear": linear},
    }


class Emulated:
    """The emulators, and the one webhook that all of them call."""

    def __init__(self, addresses: dict[str, str], hook: Hook) -> None:
        self.addresses, self.hook = addresses, hook
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

    def as_bob(self, path: str, body: dict[str, Any]) -> Any:
        """Let Bob do something at GitHub."""
        answer = httpx.post(
            f"{self.addresses['github']}{path}",
            json=body,
            headers={"Authorization": "Bearer ghp_bob"},
            timeout=10,
        )
        assert answer.is_success, answer.text
        return answer.json()

    def ask_linear(self, query: str, **variables: Any) -> Any:
        """Let Bob do something at Linear."""
        body = {"query": query, "variables": variables}
        headers = {"Authorization": "lin_api_bob_0001"}
        answer = httpx.post(
            f"{self.addresses['linear']}/graphql", json=body, headers=headers, timeout=10
        ).json()
        assert "errors" not in answer, answer
        return answer["data"]


@pytest.fixture(scope="module")
def addresses_and_hook() -> Iterator[tuple[dict[str, str], Hook]]:
    with Hook() as hook, emulated(_seeds(hook.url), slack_events=hook.url) as addresses:
        yield addresses, hook


@pytest.fixture
def platforms(addresses_and_hook: tuple[dict[str, str], Hook]) -> Emulated:
    addresses, hook = addresses_and_hook
    hook.calls.clear()
    return Emulated(addresses, hook)


def test_github_hears_a_person_and_its_comment_is_there(platforms: Emulated) -> None:
    adapter = GithubAdapter(platforms.addresses["github"])
    issue = platforms.as_bob("/repos/acme/shop/issues", {"title": "Login fails", "body": "@acme-agents why?"})
    platforms.next_calls(adapter, GITHUB)
    place = Place(f"acme/shop#{issue['number']}")
    # The emulator makes the app's user when it first writes; GitHub, when the app is made.
    adapter.send(GITHUB, place, "I am here.")
    platforms.next_calls(adapter, GITHUB)
    config = GITHUB.with_identity(adapter.connect(GITHUB, platforms.hook.url))
    assert config.bot_name == "acme-agents"

    comments = f"/repos/acme/shop/issues/{issue['number']}/comments"
    platforms.as_bob(comments, {"body": "@acme-agents and when?"})
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
    there = httpx.get(
        f"{platforms.addresses['github']}{comments}", headers={"Authorization": "Bearer ghp_bob"}
    )
    assert [comment["body"] for comment in there.json()][-1] == "Tomorrow."
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
    kinds = ["Comment", "AgentSessionEvent"]
    hook = {"url": platforms.hook.url, "resourceTypes": kinds, "allPublicTeams": True, "secret": SECRET}
    platforms.ask_linear(_CREATE_WEBHOOK, input=hook)
    issue_id = platforms.ask_linear("query { issues { nodes { id } } }")["issues"]["nodes"][0]["id"]

    platforms.ask_linear(_CREATE_COMMENT, input={"issueId": issue_id, "body": "@slipway why?"})
    asked = platforms.next_message(adapter, config)
    assert (asked.text, asked.is_mention, asked.place.chat_id) == ("why?", True, issue_id)

    place = Place(issue_id)
    receipt = adapter.send(config, place, adapter.render("Because of **this**.")[0])
    assert platforms.next_calls(adapter, config) == [Parsed(ignored="own_message")]
    adapter.edit(config, place, receipt.message_id, "Because.")
    comment = "query($id: String!) { comment(id: $id) { body } }"
    comment_id = receipt.message_id.removeprefix("comment:")
    assert platforms.ask_linear(comment, id=comment_id)["comment"]["body"] == "Because."


def test_linear_signs_the_event_of_a_session_as_we_check_it(platforms: Emulated) -> None:
    adapter = LinearAdapter(platforms.addresses["linear"])
    issue_id = platforms.ask_linear("query { issues { nodes { id } } }")["issues"]["nodes"][0]["id"]
    kinds = ["AgentSessionEvent"]
    hook = {"url": platforms.hook.url, "resourceTypes": kinds, "allPublicTeams": True, "secret": SECRET}
    platforms.ask_linear(_CREATE_WEBHOOK, input=hook)
    platforms.ask_linear(_CREATE_SESSION, input={"issueId": issue_id})
    call = platforms.hook.calls.wait_for(1)[0]["call"]
    assert call.headers["linear-event"] == "AgentSessionEvent"
    adapter.verify(LINEAR, call)
    other = LinearConfig.model_validate(LINEAR.revealed() | {"webhook_secret": "another-secret"})
    with pytest.raises(HookUnverified):
        adapter.verify(other, call)


def test_slack_hears_a_person_and_its_answer_is_there(platforms: Emulated) -> None:
    api = f"{platforms.addresses['slack']}/api/"
    adapter = SlackAdapter(api)
    config = SLACK.with_identity(adapter.connect(SLACK, platforms.hook.url))
    assert config.bot_id == BOT
    headers = {"Authorization": "Bearer xoxp-bob-1"}
    channel = httpx.post(f"{api}conversations.list", headers=headers).json()["channels"][0]["id"]
    said = {"channel": channel, "text": f"<@{BOT}> why?"}
    httpx.post(f"{api}chat.postMessage", headers=headers, data=said)
    asked = platforms.next_message(adapter, config)
    assert (asked.text, asked.is_mention, asked.sender.platform_id) == ("why?", True, BOB)

    receipt = adapter.send_with_key(config, asked.place, adapter.render("Because of **this**.")[0], "key-1")
    assert platforms.next_calls(adapter, config) == [Parsed(ignored="own_message")]
    adapter.edit(config, asked.place, receipt.message_id, "Because.")
    thread = {"channel": channel, "ts": asked.place.thread_id}
    replies = httpx.post(f"{api}conversations.replies", headers=headers, data=thread).json()["messages"]
    assert [message["text"] for message in replies][-1] == "Because."
