"""Teams in the conformance suite."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime

import jwt
from pydantic import SecretStr

from services.adapters.chat.teams.config import TeamsConfig
from services.adapters.chat.teams.tests import payloads
from services.domain.ports.chat import HookRequest, Place
from tests.fakes.serving import Fault
from tests.fakes.signing_keys import SigningKeys
from tests.fakes.teams_checks import read_markup
from tests.fakes.teams_server import FakeTeams


class _Platform:
    def __init__(self, server: FakeTeams) -> None:
        self.server = server

    def base_url(self) -> str:
        return self.server.url

    def fail_next(self, how: str, retry_after_s: int = 1) -> None:
        self.server.faults.plan(Fault(how, retry_after_s=retry_after_s))

    def sent_texts(self) -> list[str]:
        return [str(entry["text"]) for entry in self.server.sent.all()]


class _Case:
    config = payloads.CONFIG
    wrong_config = TeamsConfig(
        app_id="00000000-0000-4000-8000-000000000000", client_secret=SecretStr("wrong-secret-of-nobody")
    )
    place = Place("emea/a:17I0kl8EkpE1O9PH5")
    person, stranger = "29:bob", "29:mallory"
    direct_body = json.dumps(payloads.activity()).encode()
    own_body = json.dumps(payloads.activity(**{"from": {"id": f"28:{payloads.APP_ID}"}})).encode()
    unknown_body = json.dumps(payloads.activity(type="somethingNew")).encode()

    def settings(self) -> dict[str, str]:
        return payloads.issuer().settings()

    def hook(self, body: bytes, received_at: datetime) -> HookRequest:
        return payloads.hook(body, received_at=received_at)

    def forgeries(self, received_at: datetime) -> Sequence[tuple[str, HookRequest]]:
        body, at = self.direct_body, received_at.timestamp()
        good = payloads.hook(body, received_at=received_at)
        issuer = payloads.issuer()
        said = issuer.claims(payloads.APP_ID, f"{payloads.BASE}/emea/", at)

        def claiming(**claims: object) -> HookRequest:
            return payloads.hook(body, received_at=received_at, claims=claims)

        def carrying(token: str) -> HookRequest:
            return payloads.hook(body, received_at=received_at, token=token)

        return [
            ("no token", replace(good, headers={})),
            ("an empty token", carrying("")),
            ("no token but words", carrying("let me in")),
            ("a token not in ASCII", carrying("é.é.é")),
            ("another scheme", replace(good, headers={"authorization": "Basic eDp5"})),
            ("no signature", carrying(jwt.encode(said, "", algorithm="none"))),
            ("a signature by the public key", carrying(_signed_by_public_key(said))),
            ("a key of somebody else's", carrying(SigningKeys().sign(said))),
            ("a key that does not exist", carrying(issuer.keys.sign(said, key_id="made-up"))),
            ("another issuer", claiming(iss="https://sts.windows.net/acme/")),
            ("another bot", claiming(aud="00000000-0000-4000-8000-000000000000")),
            ("no audience", claiming(aud=[])),
            ("another service URL", claiming(serviceurl="https://evil.example/emea/")),
            ("no service URL", claiming(serviceurl=None)),
            ("another body", replace(good, body=b"{}")),
            ("a body that is none", replace(good, body=b"\xff\xfe")),
            ("expired", claiming(exp=at - 301)),
            ("not valid yet", claiming(nbf=at + 301)),
            ("no time", claiming(exp="tomorrow")),
        ]

    def measure(self, part: str) -> int:
        return len(part.encode("utf-16-le")) // 2

    def check_markup(self, part: str) -> str:
        return read_markup(part)

    @contextmanager
    def running(self) -> Iterator[_Platform]:
        with FakeTeams(payloads.issuer()) as server:
            yield _Platform(server)


def _signed_by_public_key(claims: dict[str, object]) -> str:
    """Sign as if the issuer's public key were a shared secret: what a careless verifier would take."""
    import base64
    import hashlib
    import hmac

    def packed(value: bytes) -> bytes:
        return base64.urlsafe_b64encode(value).rstrip(b"=")

    head = packed(json.dumps({"alg": "HS256", "typ": "JWT", "kid": "key-1"}).encode())
    signed = head + b"." + packed(json.dumps(claims).encode())
    secret = payloads.issuer().keys.public_key_pem()
    return (signed + b"." + packed(hmac.new(secret, signed, hashlib.sha256).digest())).decode()


CASE = _Case()
