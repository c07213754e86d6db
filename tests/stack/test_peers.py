"""Whole ways through the running product and programs of others: what a person writes there is answered there.

The stack runs as it would anywhere; the platforms are emulators that others wrote, in which a person writes and reads.
What an emulator lacks is said at its test, and that only is bridged.
"""

from __future__ import annotations

import asyncio
import json
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yarl

with warnings.catch_warnings():
    # Its voice part loads a module that Python 3.13 has no more.
    warnings.simplefilter("ignore", DeprecationWarning)
    import discord

from services.adapters.chat.github.adapter import GithubAdapter
from services.adapters.chat.github.config import GithubConfig
from services.adapters.chat.teams.tests.payloads import APP_ID as TEAMS_APP_ID
from services.adapters.chat.teams.tests.payloads import CONFIG as TEAMS
from services.adapters.chat.teams.tests.payloads import TENANT
from services.domain.ports.chat import Place
from tests.fakes.discord_server import BOT_ID, CHANNEL_ID
from tests.fakes.github_server import private_key
from tests.fakes.telegram_server import FakeTelegram
from tests.peers.bob import CREATE_COMMENT, Bob
from tests.peers.emulators import emulated
from tests.peers.playground import playground
from tests.peers.push_service import push_service
from tests.peers.seeds import (
    APP_ID,
    BOT,
    BOT_AT_LINEAR,
    BOT_AT_SLACK,
    INSTALLATION_ID,
    LINEAR_CLIENT,
    SECRET,
    seeds,
)
from tests.stack.peers import DISCORD_TOKENS, Peers
from tests.stack.platforms import TelegramChat, connect, link, make_link
from tests.stack.running import RunningStack, until

pytestmark = [pytest.mark.stack, pytest.mark.engine]

WITHIN_S = 90.0
_GITHUB = {
    "app_id": APP_ID,
    "installation_id": INSTALLATION_ID,
    "private_key": private_key(),
    "webhook_secret": SECRET,
}
_ISSUES = "/repos/acme/shop/issues"
_COMMENTS = "query($id: String!) { issue(id: $id) { comments { nodes { body user { displayName } } } } }"
_SESSIONS = "query { agentSessions { nodes { id comment { body } activities { nodes { type body } } } } }"
_PROMPT = "mutation($input: AgentActivityCreateInput!) { agentActivityCreate(input: $input) { success } }"


@pytest.fixture
def stack(second_stack: RunningStack) -> RunningStack:
    """Give the stack that finds the peers."""
    return second_stack


@pytest.fixture(scope="module")
def bob(second_stack: RunningStack, peers: Peers) -> Iterator[Bob]:
    """Run the emulators of Slack, GitHub and Linear, linked to the stack; gives a person there."""
    stack, links = second_stack, {}

    def hook(name: str, kind: str, config: dict[str, Any]) -> str:
        links[name] = make_link(stack, kind, config)["id"]
        return f"{stack.api}/hooks/{kind}/{links[name]}"

    at_github = hook("github", "github", _GITHUB)
    at_slack = hook("slack", "slack", {"bot_token": BOT_AT_SLACK, "signing_secret": SECRET})
    at_linear = hook("linear", "linear", {"access_token": BOT_AT_LINEAR, "webhook_secret": SECRET})
    client = {"client_id": LINEAR_CLIENT[0], "client_secret": LINEAR_CLIENT[1]}
    of_sessions = hook("sessions", "linear", {**client, "webhook_secret": SECRET})
    with emulated(seeds(at_github), slack_events=at_slack, ports=peers.ports) as addresses:
        person = Bob(addresses)
        peers.linear.join(addresses["linear"], of_sessions)
        # The emulator makes the app's user when it first writes; GitHub, when the app is made.
        issue = person.at_github(_ISSUES, {"title": "Welcome"})
        adapter = GithubAdapter(addresses["github"])
        adapter.send(GithubConfig.model_validate(_GITHUB), Place(f"acme/shop#{issue['number']}"), "Hello.")
        for link_id in links.values():
            connect(stack, link_id)
        person.adds_webhook_at_linear(at_linear, SECRET, "Comment")
        person.adds_webhook_at_linear(peers.linear.hook_url, SECRET, "AgentSessionEvent")
        yield person


def test_slack_a_mention_is_answered_in_its_thread(bob: Bob) -> None:
    """The emulator has no streams: the answer comes as a message. It signs its events as Slack does."""
    channel = bob.find_channel_at_slack()
    asked = bob.at_slack("chat.postMessage", channel=channel, text=f"<@{BOT}> echo hello from $(id -u)")

    def answers() -> list[str]:
        thread = bob.at_slack("conversations.replies", channel=channel, ts=asked["ts"])["messages"]
        return [message["text"] for message in thread if message["user"] == BOT]

    assert until(answers, within_s=WITHIN_S, what="an answer in the thread") == ["hello from 10001"]


def test_github_an_issue_and_a_comment_on_it_are_answered_below(bob: Bob) -> None:
    """The emulator has no reactions, so that nothing shows that the work has begun. It signs what it sends."""
    issue = bob.at_github(_ISSUES, {"title": "echo it fails", "body": "@acme-agents echo since Monday"})
    comments = f"{_ISSUES}/{issue['number']}/comments"

    def answers() -> list[str]:
        there = bob.at_github(comments)
        return [_shown(one["body"]) for one in there if one["user"]["login"] == "acme-agents[bot]"]

    first = until(answers, within_s=WITHIN_S, what="an answer to the issue")
    assert first == ["it fails\nsince Monday"]
    bob.at_github(comments, {"body": "@acme-agents echo and since when exactly"})
    until(lambda: len(answers()) == 2, within_s=WITHIN_S, what="an answer to the comment")
    assert answers()[1] == "and since when exactly"


def test_linear_a_comment_is_answered_on_its_issue(bob: Bob) -> None:
    """The emulator has no threads of comments, which the bridge takes out of what we ask for."""
    issue_id = bob.find_issue_at_linear()
    bob.at_linear(CREATE_COMMENT, input={"issueId": issue_id, "body": "@slipway echo hello from linear"})

    def answers() -> list[str]:
        there = bob.at_linear(_COMMENTS, id=issue_id)["issue"]["comments"]["nodes"]
        return [one["body"] for one in there if one["user"]["displayName"] == "slipway"]

    assert until(answers, within_s=WITHIN_S, what="an answer on the issue") == ["hello from linear"]


def test_linear_a_session_is_taken_up_answered_and_goes_on(bob: Bob) -> None:
    """A mention of the app opens a session there. What its events and activities are called is bridged."""
    body = "@robot echo hello from a session"
    bob.at_linear(CREATE_COMMENT, input={"issueId": bob.find_issue_at_linear(), "body": body})

    def session() -> dict[str, Any]:
        there = bob.at_linear(_SESSIONS)["agentSessions"]["nodes"]
        (found,) = [one for one in there if one["comment"]["body"] == body]
        return dict(found)

    def said(kind: str) -> list[str]:
        return [one["body"] for one in session()["activities"]["nodes"] if one["type"] == kind]

    until(lambda: said("response"), within_s=WITHIN_S, what="the session's response")
    assert said("response") == ["hello from a session"]
    assert "I am on it." in said("thought")
    bob.at_linear(_PROMPT, input={"sessionId": session()["id"], "type": "prompt", "body": "echo and again"})
    until(lambda: len(said("response")) == 2, within_s=WITHIN_S, what="another response")
    assert said("response")[1] == "and again"


def test_teams_a_message_is_answered_where_it_was_written(
    stack: RunningStack, peers: Peers, tmp_path: Path
) -> None:
    """Microsoft's emulator sends no tokens, so its calls are signed on their way."""
    config = {
        "app_id": TEAMS_APP_ID,
        "tenant_id": TENANT,
        "client_secret": TEAMS.client_secret.get_secret_value(),
    }
    made = link(stack, "teams", config)
    peers.signer.hook = f"{stack.api}/hooks/teams/{made['id']}"
    with playground(peers.signer.url, tmp_path / "log", port=peers.ports["teams"]) as there:
        there.write("sleep 2; echo hello from teams")
        there.wait_for("typing", within_s=WITHIN_S)
        answer = there.wait_for("createMessage", within_s=WITHIN_S, text="hello from teams")
        assert answer["from"]["id"] != there.person["id"]


def test_web_push_what_waits_and_what_could_not_be_said_is_shown_in_the_person_s_browser(
    stack: RunningStack, telegram: FakeTelegram
) -> None:
    with push_service() as service:
        key = stack.http.get("/v1/me/push/key").json()["public_key"]
        browser = service.subscribe(key)
        keys = {name: browser["keys"][name] for name in ("p256dh", "auth")}
        body = {"endpoint": browser["endpoint"], "keys": keys, "label": "a browser of others"}
        added = stack.http.post("/v1/me/push", json=body)
        assert added.status_code == 201, added.text

        def wait_for_push(text: str) -> dict[str, str]:
            def find() -> dict[str, str] | None:
                shown = [json.loads(one) for one in service.messages(browser["clientHash"])]
                return next((one for one in shown if text in one["body"]), None)

            return dict(until(find, within_s=WITHIN_S, what=f"{text!r} is pushed"))

        stack.run("""echo '<message to="nobody">psst</message>'""")
        wait_for_push("psst")
        stranger = TelegramChat(stack, telegram, 19_101, unknown_senders="request_approval")
        stranger.says("may I?")
        assert wait_for_push("does not know")["url"].endswith("/approvals")
        assert stack.http.delete(f"/v1/me/push/{added.json()['id']}").status_code == 204


class _Onlooker(discord.Client):
    """Somebody else's client, in the same channel."""

    def __init__(self) -> None:
        intents = discord.Intents.none()
        intents.guilds = intents.messages = intents.message_content = True
        super().__init__(intents=intents)
        self.seen: asyncio.Queue[discord.Message] = asyncio.Queue()

    async def on_message(self, message: discord.Message) -> None:
        if message.author.id == int(BOT_ID):
            await self.seen.put(message)


async def test_discord_a_mention_opens_a_thread_in_which_others_see_the_answer(
    stack: RunningStack, peers: Peers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No Discord of others runs here. Ours is looked at with discord.py, which others wrote."""
    server = peers.discord
    await asyncio.to_thread(link, stack, "discord", {"bot_token": DISCORD_TOKENS[0]})
    await asyncio.to_thread(server.gateway.begun.wait_for, 1, timeout_s=WITHIN_S)
    monkeypatch.setattr(discord.http.Route, "BASE", server.api_base)
    gateway = yarl.URL(f"{server.gateway_url}/")
    monkeypatch.setattr(discord.gateway.DiscordWebSocket, "DEFAULT_GATEWAY", gateway)
    onlooker = _Onlooker()
    async with onlooker, asyncio.timeout(WITHIN_S):
        await onlooker.login(DISCORD_TOKENS[1])
        running = asyncio.create_task(onlooker.connect())
        await onlooker.wait_until_ready()
        asked = server.people.write(CHANNEL_ID, f"<@{BOT_ID}> echo hello from discord")
        answer = await onlooker.seen.get()
        await onlooker.close()
        await running
    assert answer.content == "hello from discord"
    assert isinstance(answer.channel, discord.Thread)
    assert (answer.channel.id, answer.channel.parent_id) == (int(asked["id"]), int(CHANNEL_ID))


def _shown(body: str) -> str:
    """Return a comment as people see it, without the hidden mark by which we find it again."""
    return re.sub(r"<!--.*?-->", "", body).strip()
