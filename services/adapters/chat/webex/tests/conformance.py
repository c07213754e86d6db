"""Webex in the conformance suite. What it parses is a completed hook; how one becomes so is in Webex's own tests."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime

from pydantic import SecretStr

from services.adapters.chat.webex.config import WebexConfig
from services.adapters.chat.webex.tests import payloads
from services.domain.ports.chat import HookRequest, Place
from tests.fakes.serving import Fault
from tests.fakes.webex_markdown import check_markdown
from tests.fakes.webex_server import BOB_EMAIL, BOT_ID, DIRECT_ROOM, GROUP_ROOM, FakeWebex


class _Platform:
    def __init__(self, server: FakeWebex) -> None:
        self.server = server

    def base_url(self) -> str:
        return self.server.url

    def fail_next(self, how: str, retry_after_s: int = 1) -> None:
        self.server.faults.plan(Fault(how, retry_after_s=retry_after_s))

    def sent_texts(self) -> list[str]:
        return [str(message["text"]) for message in self.server.sent.all()]


class _Case:
    config = payloads.CONFIG
    wrong_config = WebexConfig(bot_token=SecretStr("wrong-token-of-nobody-at-all"))
    place = Place(GROUP_ROOM)
    look_place = Place(DIRECT_ROOM)
    person, stranger = BOB_EMAIL, "mallory@globex.example"
    direct_body = json.dumps(payloads.completed()).encode()
    own_body = json.dumps(payloads.completed(personId=BOT_ID)).encode()
    unknown_body = json.dumps(payloads.hook("memberships", "created")).encode()

    def hook(self, body: bytes, received_at: datetime) -> HookRequest:
        return payloads.call(body, received_at=received_at)

    def forgeries(self, received_at: datetime) -> Sequence[tuple[str, HookRequest]]:
        good = payloads.call(self.direct_body, received_at=received_at)

        def signed(signature: str) -> HookRequest:
            return replace(good, headers={"x-spark-signature": signature})

        return [
            ("no signature", replace(good, headers={})),
            ("an empty signature", signed("")),
            ("another body", replace(good, body=good.body + b" ")),
            ("another secret", payloads.call(self.direct_body, secret=b"other", received_at=received_at)),
            ("a signature cut short", signed(good.headers["x-spark-signature"][:-1])),
            ("a signature not in ASCII", signed("é\udcff")),
        ]

    def measure(self, part: str) -> int:
        return len(part.encode())

    def check_markup(self, part: str) -> str:
        return check_markdown(part)

    @contextmanager
    def running(self) -> Iterator[_Platform]:
        with FakeWebex(tokens=[self.config.bot_token.get_secret_value()]) as server:
            yield _Platform(server)


CASE = _Case()
