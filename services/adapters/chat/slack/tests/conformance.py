"""Slack in the conformance suite."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime

from pydantic import SecretStr

from services.adapters.chat.slack.config import SlackConfig
from services.adapters.chat.slack.tests import payloads
from services.domain.ports.chat import HookRequest, Place
from tests.fakes.serving import Fault
from tests.fakes.slack_server import PERSON_ID, FakeSlack

_REFERENCE = re.compile(r"<(?:https?://|mailto:|tel:)[^<>|\n]+\|([^<>|\n]+)>")


class _Platform:
    def __init__(self, server: FakeSlack) -> None:
        self.server = server

    def base_url(self) -> str:
        return self.server.api_base

    def fail_next(self, how: str, retry_after_s: int = 1) -> None:
        self.server.faults.plan(Fault(how, retry_after_s=retry_after_s))

    def sent_texts(self) -> list[str]:
        return [html.unescape(entry["message"]["text"]) for entry in self.server.sent.all()]


class _Case:
    config = payloads.CONFIG
    wrong_config = SlackConfig(bot_token=SecretStr("xoxb-wrong"), signing_secret=SecretStr("wrong"))
    place = Place("C0123ABCD", "1772443800.000200")
    person, stranger = PERSON_ID, "U0009NONE"
    stream_place = Place("D0123ABCD", "1772443800.000200")
    direct_body = json.dumps(payloads.DIRECT).encode()
    own_body = json.dumps(payloads.OWN_MESSAGE).encode()
    unknown_body = json.dumps(payloads.event(type="reaction_added")).encode()

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
            ("another secret", payloads.hook(self.direct_body, secret="other", received_at=received_at)),
            ("too old", payloads.hook(self.direct_body, age_s=301, received_at=received_at)),
            ("from the future", payloads.hook(self.direct_body, age_s=-301, received_at=received_at)),
            ("another time", with_headers(x_slack_request_timestamp=str(int(received_at.timestamp()) - 1))),
            ("no time", with_headers(x_slack_request_timestamp="soon")),
            ("an endless time", with_headers(x_slack_request_timestamp="9" * 5000)),
            ("a signature not in ASCII", with_headers(x_slack_signature="v0=é")),
        ]

    def measure(self, part: str) -> int:
        return len(part)

    def check_markup(self, part: str) -> str:
        """Only links may have angle brackets, ampersands only as escapes, and fences come in pairs."""
        text = _REFERENCE.sub(r"\1", part)
        assert not re.search(r"[<>](?<!^> )", re.sub(r"(?m)^> ", "", text)), text
        assert not re.search(r"&(?!amp;|lt;|gt;)", text), text
        fences = [line for line in part.split("\n") if line.startswith("```")]
        assert len(fences) % 2 == 0, part
        return html.unescape(text)

    @contextmanager
    def running(self) -> Iterator[_Platform]:
        with FakeSlack(tokens=[self.config.bot_token.get_secret_value()]) as server:
            yield _Platform(server)


CASE = _Case()
