"""iMessage in the conformance suite."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime

from pydantic import SecretStr

from services.adapters.chat.imessage.config import IMessageConfig
from services.adapters.chat.imessage.tests import payloads
from services.domain.ports.chat import HookRequest, Place
from tests.fakes.imessage_server import DIRECT, FakeBlueBubbles
from tests.fakes.serving import Fault


class _Platform:
    def __init__(self, server: FakeBlueBubbles) -> None:
        self.server = server

    def base_url(self) -> str:
        return self.server.url

    def fail_next(self, how: str, retry_after_s: int = 1) -> None:
        self.server.faults.plan(Fault(how, retry_after_s=retry_after_s))

    def sent_texts(self) -> list[str]:
        return [str(message["text"]) for message in self.server.sent.all()]


class _Case:
    config = payloads.CONFIG
    wrong_config = IMessageConfig(password=SecretStr("wrong-password"))
    place = Place(DIRECT)
    direct_body = json.dumps(payloads.webhook()).encode()
    own_body = json.dumps(payloads.webhook(isFromMe=True)).encode()
    unknown_body = json.dumps(payloads.webhook("group-icon-changed")).encode()

    def hook(self, body: bytes, received_at: datetime) -> HookRequest:
        return payloads.hook(body, received_at=received_at)

    def forgeries(self, received_at: datetime) -> Sequence[tuple[str, HookRequest]]:
        good = self.config.hook_secret
        secrets = {
            "no secret": None,
            "an empty secret": "",
            "a wrong secret": "wrong",
            "a secret cut short": good[:-1],
            "a secret not in ASCII": "é\udcff",
            "the password itself": self.config.password.get_secret_value(),
        }
        return [
            (reason, payloads.hook(self.direct_body, secret=secret, received_at=received_at))
            for reason, secret in secrets.items()
        ]

    def measure(self, part: str) -> int:
        return len(part)

    def check_markup(self, part: str) -> str:
        return part

    @contextmanager
    def running(self) -> Iterator[_Platform]:
        with FakeBlueBubbles(self.config.password.get_secret_value()) as server:
            yield _Platform(server)


CASE = _Case()
