"""Chats with local platform servers, linked to a running stack the way a person links them."""

from __future__ import annotations

import copy
import html
import os
from typing import Any

import httpx

from tests.fakes.slack_server import BOT_USER_ID, FakeSlack
from tests.fakes.telegram_server import FakeTelegram
from tests.stack.running import RunningStack, until


def link(
    stack: RunningStack,
    kind: str,
    config: dict[str, Any],
    *,
    unknown_senders: str = "public",
    agent: str | None = None,
) -> dict[str, Any]:
    """Link a bot whose unknown chats go to the shell agent, or to the one that is named, and connect it."""
    made = make_link(stack, kind, config, unknown_senders=unknown_senders, agent=agent)
    return connect(stack, made["id"])


def make_link(
    stack: RunningStack,
    kind: str,
    config: dict[str, Any],
    *,
    unknown_senders: str = "public",
    agent: str | None = None,
) -> dict[str, Any]:
    """Make a link without asking the platform anything: it may not run yet."""
    body = {
        "kind": kind,
        "name": f"{kind} bot",
        "config": config,
        "default_agent_id": agent or stack.agents["shell"],
        "unknown_senders": unknown_senders,
    }
    created = stack.http.post("/v1/links", json=body)
    assert created.status_code == 201, created.text
    return dict(created.json())


def connect(stack: RunningStack, link_id: str) -> dict[str, Any]:
    """Connect a link that was made."""
    connected = stack.http.post(f"/v1/links/{link_id}/connect")
    assert connected.status_code == 200, connected.text
    assert connected.json()["status"] == "connected", connected.text
    return dict(connected.json())


class TelegramChat:
    """A direct chat with a bot of its own."""

    def __init__(
        self,
        stack: RunningStack,
        telegram: FakeTelegram,
        chat_id: int,
        *,
        unknown_senders: str = "public",
        agent: str | None = None,
    ) -> None:
        self._stack, self._telegram, self._chat_id = stack, telegram, chat_id
        self._token = f"{chat_id}:{os.urandom(18).hex()[:35]}"
        config = {"bot_token": self._token}
        self.link = link(stack, "telegram", config, unknown_senders=unknown_senders, agent=agent)

    def of_another(self, chat_id: int) -> TelegramChat:
        """Return somebody else's direct chat with the same bot."""
        other = copy.copy(self)
        other._chat_id = chat_id
        return other

    def says(self, text: str, *, times: int = 1) -> None:
        """Let the person write a message, which the platform posts as often as is said, until it is taken."""
        update = self._telegram.message(self._chat_id, text, **{"from": self._person()})
        for _ in range(times):
            until(lambda: self._is_taken(update), within_s=30, what="the hook takes an update")

    def presses(self, label: str) -> None:
        """Let the person press a button of the bot's last message."""
        sent = [entry["message"] for entry in self._telegram.sent.all() if self._is_here(entry)]
        update = self._telegram.extras.press(sent[-1], label, self._person())
        until(lambda: self._is_taken(update), within_s=30, what="the hook takes a press")

    def replies(self) -> list[str]:
        """Return the texts of the bot's replies."""
        return [entry["message"]["text"] for entry in self._telegram.sent.all() if self._is_here(entry)]

    def visible(self) -> list[str]:
        """Return the bot's messages that were not deleted, as people see them now."""
        gone = [entry["message"]["message_id"] for entry in self._telegram.extras.deleted.all()]
        here = [entry["message"] for entry in self._telegram.sent.all() if self._is_here(entry)]
        return [message["text"] for message in here if message["message_id"] not in gone]

    def wait_for_replies(self, count: int, *, within_s: float = 60) -> list[str]:
        """Wait for replies and return their texts."""
        return [
            entry["message"]["text"]
            for entry in self._telegram.sent.wait_for(count, self._is_here, timeout_s=within_s)
        ]

    def chat_ids(self) -> list[str]:
        """Return the ids of the bot's chats, of which there is one once the person has written."""
        chats = self._stack.http.get("/v1/chats", params={"limit": 200}).json()["items"]
        return [chat["id"] for chat in chats if chat["link_id"] == self.link["id"]]

    def find_id(self) -> str:
        """Return the id of the chat in the product, once a message of it was taken in."""
        return str(until(self.chat_ids, within_s=30, what="the chat is known")[0])

    def wait_for_task(self) -> dict[str, Any]:
        """Wait for the task that came of the last message."""

        def find() -> dict[str, Any] | None:
            here = self.chat_ids()
            tasks = self._stack.http.get("/v1/tasks", params={"limit": 50}).json()["items"]
            return next((task for task in tasks if (task["deliver_to"] or {}).get("chat_id") in here), None)

        return dict(until(lambda: _quietly(find), within_s=60, what="the message becomes a task"))

    def _person(self) -> dict[str, Any]:
        # The number of the chat is the bot's own here: its token begins with it.
        return {"id": self._chat_id + 1_000_000, "is_bot": False, "first_name": "Bob"}

    def _is_taken(self, update: dict[str, Any]) -> bool:
        answer = _quietly(lambda: self._telegram.deliver(update, self._token))
        return answer is not None and answer.status_code == 200

    def _is_here(self, entry: dict[str, Any]) -> bool:
        return bool(entry["message"]["chat"]["id"] == self._chat_id)


class SlackChannel:
    """A channel in which the bot is mentioned."""

    def __init__(
        self, stack: RunningStack, slack: FakeSlack, channel: str, *, agent: str | None = None
    ) -> None:
        self._slack, self._channel = slack, channel
        config = {"bot_token": "xoxb-1-test", "signing_secret": "shh"}
        self.link = link(stack, "slack", config, agent=agent)
        slack.subscribe(f"{stack.api}/hooks/slack/{self.link['id']}", "shh")

    def mentions(self, text: str, *, times: int = 1) -> dict[str, Any]:
        """Let a person mention the bot; both of the platform's events are posted, as often as is said."""
        message = self._slack.message(self._channel, f"<@{BOT_USER_ID}> {text}")
        for retry in range(times):
            for event in (message, self._slack.mention(message)):
                assert self._slack.deliver(event, retry).status_code == 200
        return message

    def texts(self) -> list[str]:
        """Return the bot's messages in the channel as people see them now."""
        here = [entry for entry in self._slack.sent.all() if entry["channel"] == self._channel]
        return [html.unescape(entry["message"]["text"]) for entry in here]

    def wait_for_replies(self, count: int, *, within_s: float = 60) -> list[dict[str, Any]]:
        """Wait for the bot's messages in the channel, as the parameters of its calls."""
        found = self._slack.sent.wait_for(
            count, lambda entry: entry["channel"] == self._channel, timeout_s=within_s
        )
        return [entry["params"] for entry in found]


def _quietly(call: Any) -> Any:
    try:
        return call()
    except (httpx.TransportError, KeyError, ValueError):
        return None
