"""WhatsApp in the conformance suite."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime

from pydantic import SecretStr

from services.adapters.chat.whatsapp.config import WhatsappConfig
from services.adapters.chat.whatsapp.tests import payloads
from services.domain.ports.chat import HookRequest, Place
from tests.fakes.serving import Fault
from tests.fakes.whatsapp_server import NUMBER_ID, PERSON_ID, FakeWhatsapp


class _Platform:
    def __init__(self, server: FakeWhatsapp) -> None:
        self.server = server

    def base_url(self) -> str:
        return self.server.url

    def fail_next(self, how: str, retry_after_s: int = 1) -> None:
        self.server.faults.plan(Fault(how, retry_after_s=retry_after_s))

    def sent_texts(self) -> list[str]:
        return [str(entry["text"]) for entry in self.server.sent.all()]


class _Case:
    config = payloads.CONFIG
    wrong_config = WhatsappConfig(
        phone_number_id=NUMBER_ID,
        access_token=SecretStr("EAAJB-this-is-another-token"),
        app_secret=SecretStr("another-secret"),
    )
    place = Place(PERSON_ID)
    direct_body = json.dumps(payloads.DIRECT).encode()
    own_body = json.dumps(payloads.ECHO).encode()
    unknown_body = json.dumps(payloads.UNKNOWN).encode()

    def hook(self, body: bytes, received_at: datetime) -> HookRequest:
        return payloads.hook(body, received_at=received_at)

    def forgeries(self, received_at: datetime) -> Sequence[tuple[str, HookRequest]]:
        good = payloads.hook(self.direct_body, received_at=received_at)
        signature = good.headers["x-hub-signature-256"]
        return [
            ("no headers", replace(good, headers={})),
            ("another body", replace(good, body=good.body + b" ")),
            ("another secret", payloads.hook(self.direct_body, secret="other", received_at=received_at)),
            ("a signature cut short", replace(good, headers={"x-hub-signature-256": signature[:-1]})),
            ("a signature of no kind", replace(good, headers={"x-hub-signature-256": signature[7:]})),
            ("a signature not in ASCII", replace(good, headers={"x-hub-signature-256": "sha256=é\udcff"})),
            ("a handshake with another token", payloads.handshake("other")),
            ("a handshake without a token", payloads.handshake("")),
            ("a message by GET", replace(good, method="GET")),
        ]

    def measure(self, part: str) -> int:
        return len(part)

    def check_markup(self, part: str) -> str:
        """WhatsApp refuses no markup: a sign that opens nothing is shown as it is, and those of code are not."""
        return part.replace("```", "\n")

    @contextmanager
    def running(self) -> Iterator[_Platform]:
        with FakeWhatsapp(tokens=[self.config.access_token.get_secret_value()]) as server:
            yield _Platform(server)


CASE = _Case()
