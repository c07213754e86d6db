"""Discord in the conformance suite."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import SecretStr

from services.adapters.chat.discord.config import DiscordConfig
from services.adapters.chat.discord.render import utf16_units
from services.adapters.chat.discord.tests import payloads
from services.domain.ports.chat import HookRequest, Place
from tests.fakes.discord_markdown import shown
from tests.fakes.discord_server import BOB_ID, CHANNEL_ID, FakeDiscord
from tests.fakes.serving import Fault

_OTHER_KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))


class _Platform:
    def __init__(self, server: FakeDiscord) -> None:
        self.server = server

    def base_url(self) -> str:
        return self.server.api_base

    def fail_next(self, how: str, retry_after_s: int = 1) -> None:
        self.server.faults.plan(Fault(how, retry_after_s=retry_after_s))

    def sent_texts(self) -> list[str]:
        return [shown(entry["message"]["content"]) for entry in self.server.sent.all()]


class _Case:
    config = payloads.CONFIG
    wrong_config = DiscordConfig(
        bot_token=SecretStr("wrong"), public_key=_OTHER_KEY.public_key().public_bytes_raw().hex()
    )
    place = Place(CHANNEL_ID)
    person, stranger = BOB_ID, "80351110224678999"
    direct_body = json.dumps(payloads.DIRECT).encode()
    own_body = json.dumps(payloads.OWN).encode()
    unknown_body = json.dumps(payloads.interaction(4)).encode()

    def hook(self, body: bytes, received_at: datetime) -> HookRequest:
        return payloads.hook(body, received_at=received_at)

    def forgeries(self, received_at: datetime) -> Sequence[tuple[str, HookRequest]]:
        good = payloads.hook(self.direct_body, received_at=received_at)

        def with_headers(**headers: str) -> HookRequest:
            changed = {name.replace("_", "-"): value for name, value in headers.items()}
            return replace(good, headers={**good.headers, **changed})

        return [
            ("no headers", replace(good, headers={})),
            ("another body", replace(good, body=good.body + b" ")),
            ("a body not in UTF-8", replace(good, body=b"\xff\xfe")),
            ("another key", payloads.hook(self.direct_body, key=_OTHER_KEY, received_at=received_at)),
            ("too old", payloads.hook(self.direct_body, age_s=301, received_at=received_at)),
            ("from the future", payloads.hook(self.direct_body, age_s=-301, received_at=received_at)),
            ("another time", with_headers(x_signature_timestamp=str(int(received_at.timestamp()) - 1))),
            ("no time", with_headers(x_signature_timestamp="soon")),
            ("an endless time", with_headers(x_signature_timestamp="9" * 5000)),
            ("no signature", with_headers(x_signature_ed25519="")),
            ("a signature that is too short", with_headers(x_signature_ed25519="00")),
            ("a signature not in hex", with_headers(x_signature_ed25519="é" * 128)),
        ]

    def measure(self, part: str) -> int:
        return utf16_units(part)

    def check_markup(self, part: str) -> str:
        return shown(part)

    @contextmanager
    def running(self) -> Iterator[_Platform]:
        with FakeDiscord(tokens=[payloads.TOKEN]) as server:
            yield _Platform(server)


CASE = _Case()
