"""Chats on several platforms, each with its local server: people write there, and read what comes back."""

from __future__ import annotations

import contextlib
import itertools
import os
import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import httpx

from tests.fakes.discord_server import FakeDiscord
from tests.fakes.slack_server import FakeSlack
from tests.fakes.teams_issuer import TeamsIssuer
from tests.fakes.teams_server import FakeTeams
from tests.fakes.telegram_server import FakeTelegram
from tests.stack.platforms import link
from tests.stack.running import RunningStack, until

SECRET = "benchmarks-signing-secret"
APP_ID = "7d9f1f3e-52c5-4a54-8d4c-0a7b6f1b2c3d"


class Place(Protocol):
    """One platform with its chats, numbered from 0."""

    name: str

    def settings(self) -> dict[str, str]:
        """Return the settings by which the stack finds the platform."""
        ...

    def link(self, stack: RunningStack, agent_id: str, chats: Sequence[int]) -> None:
        """Link a bot, whose new chats go to the agent, and open the chats where one must."""
        ...

    def write(self, chat: int, text: str) -> Callable[[], bool]:
        """Return the platform's call for a message; it says whether the product has taken it, and may be repeated."""
        ...

    def read(self, chat: int) -> list[str]:
        """List what the bot said in a chat, in the order in which it came."""
        ...


def _is_taken(call: Callable[[], httpx.Response | None]) -> bool:
    with contextlib.suppress(httpx.TransportError, KeyError):
        answer = call()
        return answer is not None and answer.status_code < 300
    return False


class Telegram:
    """Direct chats with one bot."""

    name = "telegram"

    def __init__(self, server: FakeTelegram) -> None:
        self._server = server
        self._token = f"123456:{os.urandom(18).hex()[:35]}"

    def settings(self) -> dict[str, str]:
        return {"TELEGRAM_API_BASE": self._server.url}

    def link(self, stack: RunningStack, agent_id: str, chats: Sequence[int]) -> None:
        link(stack, "telegram", {"bot_token": self._token}, agent=agent_id)

    def write(self, chat: int, text: str) -> Callable[[], bool]:
        person = {"id": 7_000 + chat, "is_bot": False, "first_name": f"P{chat}"}
        update = self._server.message(7_000 + chat, text, **{"from": person})
        return lambda: _is_taken(lambda: self._server.deliver(update, self._token))

    def read(self, chat: int) -> list[str]:
        sent = (entry["message"] for entry in self._server.sent.all())
        return [str(message["text"]) for message in sent if message["chat"]["id"] == 7_000 + chat]


class Slack:
    """Direct messages with one app."""

    name = "slack"

    def __init__(self, server: FakeSlack) -> None:
        self._server = server

    def settings(self) -> dict[str, str]:
        return {"SLACK_API_BASE": self._server.api_base}

    def link(self, stack: RunningStack, agent_id: str, chats: Sequence[int]) -> None:
        config = {"bot_token": "xoxb-1-test", "signing_secret": SECRET}
        self._server.subscribe(link(stack, "slack", config, agent=agent_id)["hook_url"], SECRET)

    def write(self, chat: int, text: str) -> Callable[[], bool]:
        fields = {"channel_type": "im", "user": f"U{chat:08d}"}
        envelope = self._server.message(f"D{chat:08d}", text, **fields)
        return lambda: _is_taken(lambda: self._server.deliver(envelope))

    def read(self, chat: int) -> list[str]:
        sent = self._server.sent.all()
        return [str(entry["message"]["text"]) for entry in sent if entry["channel"] == f"D{chat:08d}"]


class Teams:
    """Personal chats with one bot."""

    name = "teams"

    def __init__(self, issuer: TeamsIssuer, server: FakeTeams) -> None:
        self._issuer, self._server = issuer, server
        self._hook = ""

    def settings(self) -> dict[str, str]:
        return {"TEAMS_API_BASE": self._server.url, **self._issuer.settings()}

    def link(self, stack: RunningStack, agent_id: str, chats: Sequence[int]) -> None:
        config = {"app_id": APP_ID, "client_secret": SECRET}
        self._hook = link(stack, "teams", config, agent=agent_id)["hook_url"]

    def write(self, chat: int, text: str) -> Callable[[], bool]:
        person = {"id": f"29:{chat}", "name": f"P{chat}", "aadObjectId": str(uuid.UUID(int=chat + 1))}
        place = {"conversationType": "personal", "tenantId": "acme", "id": f"a:{chat}"}
        activity = self._server.activity(APP_ID, text, **{"from": person, "conversation": place})
        return lambda: _is_taken(lambda: self._server.deliver(self._hook, APP_ID, activity))

    def read(self, chat: int) -> list[str]:
        return [
            str(entry["text"]) for entry in self._server.sent.all() if entry["conversation"] == f"a:{chat}"
        ]


class Discord:
    """Direct messages with one bot. They come over a connection of ours, which goes on where it was cut."""

    name = "discord"

    def __init__(self, server: FakeDiscord) -> None:
        self._server = server

    def settings(self) -> dict[str, str]:
        return {"DISCORD_API_BASE": self._server.api_base}

    def link(self, stack: RunningStack, agent_id: str, chats: Sequence[int]) -> None:
        for chat in chats:
            channel = {"id": self._channel(chat), "type": 1, "recipients": [self._person(chat)]}
            self._server.channels[self._channel(chat)] = channel | {"last_message_id": None}
        link(stack, "discord", {"bot_token": "token-of-the-bot"}, agent=agent_id)
        # The platform keeps what is written for a session; whoever has not recorded it begins another one.
        recorded = "SELECT 1 FROM link_listener WHERE state <> '{}'"
        until(lambda: stack.operate(recorded), within_s=120, what="somebody listens")

    def write(self, chat: int, text: str) -> Callable[[], bool]:
        self._server.people.write(self._channel(chat), text, author=self._person(chat))
        return lambda: True

    def read(self, chat: int) -> list[str]:
        sent = self._server.sent.all()
        return [str(one["message"]["content"]) for one in sent if one["channel"] == self._channel(chat)]

    @staticmethod
    def _channel(chat: int) -> str:
        return str(830_000_000_000_000_000 + chat)

    @staticmethod
    def _person(chat: int) -> dict[str, object]:
        person_id = str(730_000_000_000_000_000 + chat)
        return {"id": person_id, "username": f"p{chat}", "discriminator": "0", "avatar": None}


class Rooms:
    """Rooms of the product's own, over REST."""

    name = "rooms"

    def __init__(self) -> None:
        self._stack: RunningStack
        self._ids: dict[int, str] = {}
        self._keys = itertools.count()

    def settings(self) -> dict[str, str]:
        return {}

    def link(self, stack: RunningStack, agent_id: str, chats: Sequence[int]) -> None:
        self._stack = stack
        self._ids = {chat: self._open(chat, agent_id) for chat in chats}

    def write(self, chat: int, text: str) -> Callable[[], bool]:
        route, headers = f"/v1/rooms/{self._ids[chat]}/messages", {"idempotency-key": f"b-{next(self._keys)}"}
        return lambda: _is_taken(lambda: self._stack.http.post(route, json={"text": text}, headers=headers))

    def read(self, chat: int) -> list[str]:
        try:
            answer = self._stack.http.get(f"/v1/rooms/{self._ids[chat]}/messages", params={"limit": 200})
        except httpx.TransportError:
            # The api was killed just now.
            return []
        items = answer.json()["items"] if answer.status_code == 200 else []
        return [item["text"] for item in reversed(items) if item["agent_name"] and item["state"] == "sent"]

    def _open(self, chat: int, agent_id: str) -> str:
        made = self._stack.http.post("/v1/rooms", json={"title": f"Room {chat}"})
        assert made.status_code == 201, made.text
        room_id = str(made.json()["id"])
        body = {"agent_id": agent_id, "answers_all": True}
        brought = self._stack.http.post(f"/v1/rooms/{room_id}/agents", json=body)
        assert brought.status_code == 201, brought.text
        return room_id


@contextlib.contextmanager
def places() -> Iterator[list[Place]]:
    """Run the local servers."""
    with (
        FakeTelegram() as telegram,
        FakeSlack() as slack,
        TeamsIssuer() as issuer,
        FakeTeams(issuer) as teams,
        FakeDiscord() as discord,
    ):
        yield [Telegram(telegram), Slack(slack), Teams(issuer, teams), Discord(discord), Rooms()]
