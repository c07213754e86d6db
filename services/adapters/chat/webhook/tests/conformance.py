"""Webhooks in the conformance suite."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime

from pydantic import SecretStr

from services.adapters.chat.webhook.config import WebhookConfig
from services.domain.ports.chat import HookRequest, Place
from tests.fakes.serving import Fault
from tests.fakes.webhook_server import SECRET, FakeReceiver, sign

OTHER_SECRET = base64.b64encode(b"another secret of as many bytes!").decode()
MESSAGE = {
    "type": "message",
    "id": "m1",
    "chat": {"id": "room-1", "kind": "direct", "title": "Ann"},
    "thread": None,
    "sender": {"id": "u1", "name": "Ann"},
    "text": "What is the weather?",
    "sent_at": "2026-03-02T09:29:58Z",
}


class _Platform:
    def __init__(self, server: FakeReceiver) -> None:
        self.server = server

    def base_url(self) -> str:
        return self.server.url

    def fail_next(self, how: str, retry_after_s: int = 1) -> None:
        self.server.faults.plan(Fault(how, retry_after_s=retry_after_s))

    def sent_texts(self) -> list[str]:
        return [str(entry["message"]["text"]) for entry in self.server.sent.all()]


class _Case:
    config = WebhookConfig(
        signing_secret=SecretStr(SECRET),
        url="https://receiver.example/hook",
        bot_id="agent-1",
        bot_name="Agent",
    )
    wrong_config = WebhookConfig(signing_secret=SecretStr(OTHER_SECRET), url="https://receiver.example/hook")
    place = Place("room-1", "t1")
    direct_body = json.dumps(MESSAGE).encode()
    own_body = json.dumps(MESSAGE | {"sender": {"id": "agent-1", "name": "Agent", "is_bot": True}}).encode()
    unknown_body = json.dumps({"type": "something.new", "id": 1}).encode()

    def hook(self, body: bytes, received_at: datetime) -> HookRequest:
        return self._signed(body, received_at)

    def forgeries(self, received_at: datetime) -> Sequence[tuple[str, HookRequest]]:
        good = self._signed(self.direct_body, received_at)

        def with_header(name: str, value: str) -> HookRequest:
            return replace(good, headers={**good.headers, name: value})

        return [
            ("no headers", replace(good, headers={})),
            ("another body", replace(good, body=good.body + b" ")),
            ("another secret", self._signed(self.direct_body, received_at, secret=OTHER_SECRET)),
            ("too old", self._signed(self.direct_body, received_at, age_s=301)),
            ("from the future", self._signed(self.direct_body, received_at, age_s=-301)),
            ("another id", with_header("webhook-id", "evt_2")),
            ("no id", with_header("webhook-id", "")),
            ("an id not in ASCII", with_header("webhook-id", "é")),
            ("another time", with_header("webhook-timestamp", str(int(received_at.timestamp()) - 1))),
            ("no time", with_header("webhook-timestamp", "soon")),
            ("an endless time", with_header("webhook-timestamp", "9" * 5000)),
            ("digits of another script", with_header("webhook-timestamp", "١٧٧٢٤٤٣٨٠٠")),
            ("no signature", with_header("webhook-signature", "")),
            ("another version", with_header("webhook-signature", good.headers["webhook-signature"][1:])),
            ("a signature not in ASCII", with_header("webhook-signature", "v1,é\udcff")),
        ]

    def measure(self, part: str) -> int:
        return len(part)

    def check_markup(self, part: str) -> str:
        return part

    @contextmanager
    def running(self) -> Iterator[_Platform]:
        with FakeReceiver(chats=["room-1"]) as server:
            yield _Platform(server)

    def _signed(
        self, body: bytes, received_at: datetime, *, secret: str = SECRET, age_s: int = 0
    ) -> HookRequest:
        headers = sign(body, secret, "evt_1", int(received_at.timestamp()) - age_s)
        return HookRequest("POST", headers, {}, body, received_at)


CASE = _Case()
