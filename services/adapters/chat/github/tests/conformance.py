"""GitHub in the conformance suite."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime

from cryptography.hazmat.primitives.asymmetric import rsa
from pydantic import SecretStr

from services.adapters.chat.github.config import GithubConfig
from services.adapters.chat.github.tests import payloads
from services.adapters.chat.tests.markdown_text import read_text
from services.domain.ports.chat import ChatKind, HookRequest, Place
from tests.fakes.github_chat_server import GithubChatServer
from tests.fakes.github_server import APP_ID, INSTALLATION, private_key
from tests.fakes.serving import Fault


class _Platform:
    def __init__(self, server: GithubChatServer) -> None:
        self.server = server
        server.add_issue("shop", "Login fails")

    def base_url(self) -> str:
        return self.server.url

    def fail_next(self, how: str, retry_after_s: int = 1) -> None:
        self.server.faults.plan(Fault(how, retry_after_s=retry_after_s))

    def sent_texts(self) -> list[str]:
        return [str(entry["body"]) for entry in self.server.sent.all()]


class _Case:
    config = payloads.CONFIG
    wrong_config = GithubConfig(
        app_id=APP_ID,
        installation_id=INSTALLATION,
        private_key=SecretStr(private_key(rsa.generate_private_key(public_exponent=65537, key_size=2048))),
        webhook_secret=SecretStr("another-secret"),
    )
    place = Place("acme/shop#1")
    addressed_kind = ChatKind.CHANNEL
    direct_body = json.dumps(payloads.DIRECT).encode()
    own_body = json.dumps(payloads.OWN).encode()
    unknown_body = json.dumps(payloads.UNKNOWN).encode()

    def hook(self, body: bytes, received_at: datetime) -> HookRequest:
        name = "star" if b"starred_at" in body else "issues"
        return payloads.hook(body, name, received_at=received_at)

    def forgeries(self, received_at: datetime) -> Sequence[tuple[str, HookRequest]]:
        good = payloads.hook(self.direct_body, received_at=received_at)
        signature = good.headers["x-hub-signature-256"]

        def signed(value: str) -> HookRequest:
            return replace(good, headers={**good.headers, "x-hub-signature-256": value})

        return [
            ("no headers", replace(good, headers={})),
            ("another body", replace(good, body=good.body + b" ")),
            ("another secret", payloads.hook(self.direct_body, secret="other", received_at=received_at)),
            ("no signature", signed("")),
            ("a signature cut short", signed(signature[:-1])),
            ("a signature of no kind", signed(signature.removeprefix("sha256="))),
            ("a signature not in ASCII", signed("sha256=é\udcff")),
        ]

    def measure(self, part: str) -> int:
        return len(part)

    def check_markup(self, part: str) -> str:
        return read_text(part, reads_html=True)

    @contextmanager
    def running(self) -> Iterator[_Platform]:
        with GithubChatServer() as server:
            yield _Platform(server)


CASE = _Case()
