"""Google Chat in the conformance suite."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime

from pydantic import SecretStr

from services.adapters.chat.googlechat.config import GoogleChatConfig
from services.adapters.chat.googlechat.tests import payloads
from services.domain.ports.chat import HookRequest, Place
from tests.fakes.googlechat_issuer import ServiceAccount
from tests.fakes.googlechat_server import MET, FakeGoogleChat
from tests.fakes.serving import Fault
from tests.fakes.signing_keys import SigningKeys

_LINK = re.compile(r"<(?:https?:|mailto:|tel:)[^<>|\n]+\|([^<>|\n]+)>", re.IGNORECASE)


class _Platform:
    def __init__(self, server: FakeGoogleChat) -> None:
        self.server = server

    def base_url(self) -> str:
        return self.server.url

    def fail_next(self, how: str, retry_after_s: int = 1) -> None:
        self.server.faults.plan(Fault(how, retry_after_s=retry_after_s))

    def sent_texts(self) -> list[str]:
        return [str(message["text"]) for message in self.server.sent.all()]


class _Case:
    config = payloads.CONFIG
    wrong_config = GoogleChatConfig(
        service_account=SecretStr(ServiceAccount("nobody@other.iam.gserviceaccount.com").json_key),
        project_number="999999999999",
    )
    place = Place("spaces/AAAAROOM", "spaces/AAAAROOM/threads/BBBB")
    person, stranger = MET, "mallory@globex.example"
    direct_body = json.dumps(payloads.event()).encode()
    own_body = json.dumps(
        payloads.event(message=payloads.message(sender={"name": payloads.CONFIG.bot_id, "type": "BOT"}))
    ).encode()
    unknown_body = json.dumps(payloads.event(type="WIDGET_UPDATED")).encode()

    def settings(self) -> dict[str, str]:
        return payloads.issuer().settings()

    def hook(self, body: bytes, received_at: datetime) -> HookRequest:
        return payloads.hook(body, received_at=received_at)

    def forgeries(self, received_at: datetime) -> Sequence[tuple[str, HookRequest]]:
        at, issuer = received_at.timestamp(), payloads.issuer()
        good = payloads.hook(self.direct_body, received_at=received_at)

        def carrying(token: str) -> HookRequest:
            return payloads.hook(self.direct_body, received_at=received_at, token=token)

        chat = {"iss": "chat@system.gserviceaccount.com", "aud": payloads.PROJECT, "exp": at + 60}
        stranger = "service-999999999999@gcp-sa-gsuiteaddons.iam.gserviceaccount.com"
        return [
            ("no token", replace(good, headers={})),
            ("an empty token", carrying("")),
            ("words", carrying("let me in")),
            ("a key of somebody else's", carrying(SigningKeys().sign(chat))),
            ("Google's other keys", carrying(issuer.google_keys.sign(chat))),
            ("another project", carrying(issuer.chat_token("999999999999", at))),
            ("expired", carrying(issuer.chat_token(payloads.PROJECT, at - 3_901))),
            ("not valid yet", carrying(issuer.chat_token(payloads.PROJECT, at + 301))),
            ("another endpoint", carrying(issuer.google_token("https://other.example/", at))),
            (
                "somebody else at Google",
                carrying(issuer.google_token(payloads.ENDPOINT, at, email="eve@x.com")),
            ),
            (
                "another project's add-on",
                carrying(issuer.google_token(payloads.ENDPOINT, at, email=stranger)),
            ),
            (
                "an unverified address",
                carrying(issuer.google_token(payloads.ENDPOINT, at, email_verified=False)),
            ),
            ("Chat as audience's issuer", carrying(issuer.google_token(payloads.PROJECT, at))),
        ]

    def measure(self, part: str) -> int:
        return len(part.encode())

    def check_markup(self, part: str) -> str:
        """No mention and no link but ours, and fences in pairs."""
        text = _LINK.sub(r"\1", part)
        assert not re.search(r"<(?:users/|https?:|mailto:|tel:)", text, re.IGNORECASE), text
        fences = [line for line in part.split("\n") if line.startswith("```")]
        assert len(fences) % 2 == 0, part
        return text

    @contextmanager
    def running(self) -> Iterator[_Platform]:
        with FakeGoogleChat(payloads.issuer()) as server:
            yield _Platform(server)


CASE = _Case()
