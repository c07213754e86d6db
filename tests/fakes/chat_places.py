"""A chat on either platform, with its local server: the same questions asked of both."""

from __future__ import annotations

import contextlib
import html
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from conftest import Tenant
from services.adapters.chat.registry import build_adapters
from services.adapters.chat.teams.tests.payloads import APP_ID, CONFIG, TENANT
from services.api import linking
from services.domain.chats.actions import create_link
from services.domain.chats.models import Chat, Link
from services.domain.outbox.jobs import parse_job
from services.domain.outbox.models import OutboxJob
from services.domain.tenancy.transaction import tenant_transaction
from services.kit.clock import now
from services.worker.jobs import EXECUTORS, chats
from tests.fakes.slack_server import FakeSlack
from tests.fakes.teams_issuer import TeamsIssuer
from tests.fakes.teams_server import FakeTeams
from tests.fakes.telegram_server import FakeTelegram

SIGNING_SECRET = "slack-signing-secret"
HOOK_SECRET = "telegram-hook-secret"


class TelegramPlace:
    """A direct chat with a bot of Telegram's."""

    kind = "telegram"
    config = {"bot_token": "123456:token-of-the-bot", "secret_token": HOOK_SECRET}
    person_id, stranger_id = "501", "777"

    def __init__(self, server: FakeTelegram) -> None:
        self.server = server
        self.settings = {"TELEGRAM_API_BASE": server.url}
        self.chat_id, self.thread_id = "501", ""
        self.link: Link
        self.chat: Chat

    def texts(self) -> list[str]:
        """List the texts that were sent, as people see them now."""
        return [str(entry["message"]["text"]) for entry in self.server.sent.all()]

    def buttons(self) -> list[str]:
        """List the labels below the last message."""
        markup = self.server.sent.all()[-1]["message"].get("reply_markup", {"inline_keyboard": []})
        return [button["text"] for row in markup["inline_keyboard"] for button in row]

    def reactions(self) -> list[Any]:
        """List the reactions that were set."""
        return [entry["emoji"] for entry in self.server.extras.reactions.all()]

    def deleted(self) -> int:
        """Count what was deleted."""
        return len(self.server.extras.deleted.all())

    def files(self) -> list[tuple[str, bytes, str]]:
        """List name, bytes and caption of the files that came."""
        return [
            (entry["name"], entry["data"], entry["message"].get("caption", ""))
            for entry in self.server.extras.files.all()
        ]

    def write(self, text: str, person_id: str = "501") -> dict[str, Any]:
        """Make the update of a message; returns the hook's body."""
        person = {"id": int(person_id), "is_bot": False, "first_name": "Bob"}
        return self.server.message(int(self.chat_id), text, **{"from": person})

    def press(self, label: str, person_id: str = "501", index: int = -1) -> tuple[bytes, dict[str, str]]:
        """Make the call of a press below one of the messages; returns body and headers."""
        import json

        message = self.server.sent.all()[index]["message"]
        person = {"id": int(person_id), "is_bot": False, "first_name": "Bob"}
        update = self.server.extras.press(message, label, person)
        return json.dumps(update).encode(), self.signed(b"")

    def signed(self, body: bytes, content_type: str = "application/json") -> dict[str, str]:
        """Return the headers with which the platform calls."""
        return {"x-telegram-bot-api-secret-token": HOOK_SECRET, "content-type": content_type}

    def refusals(self) -> list[str]:
        """List what people were told who may not press."""
        return [entry["text"] for entry in self.server.extras.answers.all() if entry["is_alert"]]


class SlackPlace:
    """A thread of a channel in Slack."""

    kind = "slack"
    config = {"bot_token": "xoxb-1-abc", "signing_secret": SIGNING_SECRET}
    person_id, stranger_id = "U0002BOB", "U0009EVE"

    def __init__(self, server: FakeSlack) -> None:
        self.server = server
        self.settings = {"SLACK_API_BASE": server.api_base}
        self.chat_id, self.thread_id = "C0123ABCD", "1772443800.000200"
        self.link: Link
        self.chat: Chat

    def texts(self) -> list[str]:
        """List the texts that were sent, as people see them now."""
        return [html.unescape(entry["message"]["text"]) for entry in self.server.sent.all()]

    def buttons(self) -> list[str]:
        """List the labels below the last message."""
        blocks = self.server.sent.all()[-1]["message"].get("blocks", [])
        return [
            element["text"]["text"]
            for block in blocks
            if block["type"] == "actions"
            for element in block["elements"]
        ]

    def reactions(self) -> list[Any]:
        """List the reactions that were added."""
        return [entry["name"] for entry in self.server.extras.reactions.all()]

    def deleted(self) -> int:
        """Count what was deleted."""
        return len(self.server.extras.deleted.all())

    def files(self) -> list[tuple[str, bytes, str]]:
        """List name, bytes and comment of the files that came."""
        return [(entry["name"], entry["data"], entry["comment"]) for entry in self.server.extras.files.all()]

    def write(self, text: str, person_id: str = "U0002BOB") -> dict[str, Any]:
        """Make the event of a message in the thread that mentions the app."""
        return self.server.message(
            self.chat_id, f"<@U0001SLIP> {text}", user=person_id, thread_ts=self.thread_id
        )

    def press(self, label: str, person_id: str = "U0002BOB", index: int = -1) -> tuple[bytes, dict[str, str]]:
        """Make the call of a press below one of the messages; returns body and headers."""
        message = self.server.sent.all()[index]["message"]
        body, content_type = self.server.extras.press(message, self.chat_id, label, person_id)
        return body, self.signed(body, content_type)

    def signed(self, body: bytes, content_type: str = "application/json") -> dict[str, str]:
        """Return the headers with which the platform calls."""
        import time

        from tests.fakes.slack_server import sign

        return sign(body, SIGNING_SECRET, int(time.time())) | {"content-type": content_type}

    def refusals(self) -> list[str]:
        """List what people were told who may not press."""
        return [entry["text"] for entry in self.server.extras.ephemeral.all()]


class TeamsPlace:
    """A direct chat with a bot in Teams."""

    kind = "teams"
    config = {"app_id": APP_ID, "tenant_id": TENANT, "client_secret": CONFIG.client_secret.get_secret_value()}
    person_id = "29:bob"

    def __init__(self, server: FakeTeams) -> None:
        self.server = server
        self.settings = {"TEAMS_API_BASE": server.url, **server.issuer.settings()}
        self.chat_id, self.thread_id = "emea/a:bob", ""
        self.link: Link
        self.chat: Chat

    def texts(self) -> list[str]:
        """List the texts that are there, without the streams."""
        return [str(entry["text"]) for entry in self.server.messages()]


ChatPlace = TelegramPlace | SlackPlace


@contextlib.contextmanager
def teams_place(tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> Iterator[TeamsPlace]:
    """Run a local Teams, and give a direct chat there as `chat_place` does."""
    with (
        TeamsIssuer({(TENANT, APP_ID): TeamsPlace.config["client_secret"]}) as issuer,
        FakeTeams(issuer) as server,
    ):
        place = TeamsPlace(server)
        _join(place, tenant, monkeypatch, is_paced=False)
        yield place


@contextlib.contextmanager
def chat_place(
    kind: str, tenant: Tenant, monkeypatch: pytest.MonkeyPatch, *, is_paced: bool = False
) -> Iterator[ChatPlace]:
    """Run a platform, link a bot of the tenant's there, and give it a chat; the worker talks to this platform.

    Unless it `is_paced`, the platform takes messages as fast as they come.
    """
    with FakeTelegram() if kind == "telegram" else FakeSlack() as server:
        place = TelegramPlace(server) if isinstance(server, FakeTelegram) else SlackPlace(server)
        _join(place, tenant, monkeypatch, is_paced=is_paced)
        yield place


def _join(
    place: TelegramPlace | SlackPlace | TeamsPlace,
    tenant: Tenant,
    monkeypatch: pytest.MonkeyPatch,
    *,
    is_paced: bool,
) -> None:
    kind = place.kind
    built = build_adapters(place.settings)
    if not is_paced:
        unlimited = replace(
            built[kind].manifest, per_link_per_s=None, per_chat_per_s=None, per_group_per_s=None
        )
        monkeypatch.setattr(built[kind], "manifest", unlimited)
    monkeypatch.setattr(chats, "adapters", lambda: built)
    monkeypatch.setattr(linking, "adapters", lambda: built)
    place.link = create_link(
        tenant.owner, kind=kind, name="Bot", config=place.config, unknown_senders="public"
    )
    with tenant_transaction(tenant.organisation.id):
        place.chat = Chat.objects.create(
            org_id=tenant.organisation.id,
            link=place.link,
            platform_chat_id=place.chat_id,
            kind="channel" if kind == "slack" else "direct",
            title="The chat",
        )


def deliver_to(place: ChatPlace | TeamsPlace, reply_to: str = "") -> dict[str, Any]:
    """Return what makes a task come from this chat."""
    return {"chat_id": str(place.chat.id), "thread_id": place.thread_id, "reply_to": reply_to}


def drain(*types: str) -> list[str]:
    """Run the jobs that are due, as the worker does, until none is left; returns their names."""
    ran = []
    rows = OutboxJob.objects.using("operator")
    wanted = types or tuple(name for name in ("message.route", "answer.deliver", "delivery.send", *_MORE))
    while (row := rows.filter(type__in=wanted, not_before__lte=now()).order_by("id").first()) is not None:
        job = parse_job(row.type, row.payload)
        row.delete(using="operator")
        EXECUTORS[type(job)](job)
        ran.append(row.type)
    return ran


_MORE = ("question.show", "press.handle", "approval.show", "approval.show_page", "reply.write")
