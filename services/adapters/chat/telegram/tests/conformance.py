"""Telegram in the conformance suite."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime

from pydantic import SecretStr

from services.adapters.chat.telegram.config import TelegramConfig
from services.adapters.chat.telegram.tests import payloads
from services.domain.ports.chat import HookRequest, Place
from tests.fakes.serving import Fault
from tests.fakes.telegram_html import read_html, utf16_units
from tests.fakes.telegram_server import FakeTelegram


class _Platform:
    def __init__(self, server: FakeTelegram) -> None:
        self.server = server

    def base_url(self) -> str:
        return self.server.url

    def fail_next(self, how: str, retry_after_s: int = 1) -> None:
        self.server.faults.plan(Fault(how, retry_after_s=retry_after_s))

    def sent_texts(self) -> list[str]:
        return [str(entry["message"]["text"]) for entry in self.server.sent.all()]


class _Case:
    config = payloads.CONFIG
    wrong_config = TelegramConfig(bot_token=SecretStr("999:wrong"))
    place = Place("501")
    direct_body = json.dumps(payloads.PRIVATE_TEXT).encode()
    own_body = json.dumps(payloads.OWN_MESSAGE).encode()
    unknown_body = json.dumps({"update_id": 9, "something_new": {"id": 1}}).encode()

    def hook(self, body: bytes, received_at: datetime) -> HookRequest:
        return payloads.hook(body, received_at=received_at)

    def forgeries(self, received_at: datetime) -> Sequence[tuple[str, HookRequest]]:
        body = self.direct_body
        return [
            ("no secret", payloads.hook(body, secret=None, received_at=received_at)),
            ("an empty secret", payloads.hook(body, secret="", received_at=received_at)),
            ("a wrong secret", payloads.hook(body, secret="wrong", received_at=received_at)),
            ("a secret cut short", payloads.hook(body, secret=payloads.SECRET[:-1], received_at=received_at)),
            ("a secret not in ASCII", payloads.hook(body, secret="gehéim\udcff", received_at=received_at)),
        ]

    def measure(self, part: str) -> int:
        return utf16_units(part)

    def check_markup(self, part: str) -> str:
        return read_html(part)[0]

    @contextmanager
    def running(self) -> Iterator[_Platform]:
        token = self.config.bot_token.get_secret_value()
        with FakeTelegram(bots={token: payloads.BOT_NAME}) as server:
            yield _Platform(server)


CASE = _Case()
