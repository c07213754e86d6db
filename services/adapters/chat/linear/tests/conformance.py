"""Linear in the conformance suite."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta

from pydantic import SecretStr

from services.adapters.chat.linear.config import LinearConfig
from services.adapters.chat.linear.tests import payloads
from services.adapters.chat.tests.markdown_text import read_text
from services.domain.ports.chat import ChatKind, HookRequest, Place
from tests.fakes.linear_server import ISSUE_ID, FakeLinear
from tests.fakes.serving import Fault


class _Platform:
    def __init__(self, server: FakeLinear) -> None:
        self.server = server

    def base_url(self) -> str:
        return self.server.url

    def fail_next(self, how: str, retry_after_s: int = 1) -> None:
        self.server.faults.plan(Fault(how, retry_after_s=retry_after_s))

    def sent_texts(self) -> list[str]:
        return [str(entry["body"]) for entry in self.server.sent.all()]


class _Case:
    config = payloads.CONFIG
    wrong_config = LinearConfig(
        webhook_secret=SecretStr("another-secret"), client_id="other", client_secret=SecretStr("other-secret")
    )
    place = Place(ISSUE_ID)
    addressed_kind = ChatKind.CHANNEL
    direct_body = json.dumps(payloads.DIRECT).encode()
    own_body = json.dumps(payloads.OWN).encode()
    unknown_body = json.dumps(payloads.UNKNOWN).encode()

    def hook(self, body: bytes, received_at: datetime) -> HookRequest:
        return payloads.hook(body, received_at=received_at)

    def forgeries(self, received_at: datetime) -> Sequence[tuple[str, HookRequest]]:
        good = payloads.hook(self.direct_body, received_at=received_at)
        signature = good.headers["linear-signature"]
        timeless = json.dumps({"type": "Comment"}).encode()
        return [
            ("no headers", replace(good, headers={})),
            ("another body", replace(good, body=good.body + b" ")),
            ("another secret", payloads.hook(self.direct_body, secret="other", received_at=received_at)),
            ("too old", replace(good, received_at=received_at + timedelta(seconds=61))),
            ("from the future", replace(good, received_at=received_at - timedelta(seconds=61))),
            ("no time", payloads.hook(timeless, received_at=received_at)),
            ("no JSON", payloads.hook(b"{", received_at=received_at)),
            ("a signature cut short", replace(good, headers={"linear-signature": signature[:-1]})),
            ("a signature not in ASCII", replace(good, headers={"linear-signature": "é\udcff"})),
        ]

    def measure(self, part: str) -> int:
        return len(part)

    def check_markup(self, part: str) -> str:
        return read_text(part, reads_html=False)

    @contextmanager
    def running(self) -> Iterator[_Platform]:
        with FakeLinear() as server:
            yield _Platform(server)


CASE = _Case()
