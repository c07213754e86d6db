"""Matrix in the conformance suite."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager

from pydantic import SecretStr

from services.adapters.chat.matrix.config import MatrixConfig
from services.adapters.chat.matrix.render import event_bytes
from services.adapters.chat.tests.case import Incoming
from services.adapters.chat.tests.html_check import shown_text
from services.adapters.chat.tests.spoiling import spoil
from services.domain.ports.chat import Place
from tests.fakes.matrix_server import PERSON, FakeMatrix
from tests.fakes.serving import Fault

BOT, TOKEN, ROOM = "@slipway:local", "syt_token-of-the-bot", "!direct:local"
CONFIG = MatrixConfig(access_token=SecretStr(TOKEN), bot_id=BOT, bot_name="Slipway")


class _Platform:
    def __init__(self, server: FakeMatrix) -> None:
        self.server = server

    def base_url(self) -> str:
        return self.server.url

    def fail_next(self, how: str, retry_after_s: int = 1) -> None:
        self.server.faults.plan(Fault(how, retry_after_s=retry_after_s))

    def fail_listening(self, how: str) -> None:
        self.server.faults.plan(Fault(how, method="sync"))

    def sent_texts(self) -> list[str]:
        return [str(message["body"]) for message in self.server.messages() if "url" not in message]

    def sent_files(self) -> list[tuple[str, bytes]]:
        data = {f"mxc://local/{media}": content for media, _, content in self.server.files}
        return [
            (message["filename"], data[message["url"]])
            for message in self.server.messages()
            if "url" in message
        ]

    def receive(self, what: Incoming) -> None:
        match what:
            case Incoming.DIRECT:
                self.server.say(ROOM, "What is the weather?")
            case Incoming.OWN:
                self.server.say(ROOM, "It rains.", sender=BOT)
            case Incoming.UNKNOWN:
                self.server.happen(ROOM, "m.poll.start", {"question": {}})
            case Incoming.UNSTORABLE:
                self.server.say(ROOM, "What\x00\ud800 is the weather?")

    def receive_garbage(self, dice: random.Random) -> None:
        event = {
            "type": "m.room.message",
            "event_id": f"$garbage{dice.random()}",
            "sender": PERSON,
            "origin_server_ts": int(time.time() * 1000),
            "content": {
                "msgtype": dice.choice(["m.text", "m.image", "m.notice", "m.emote"]),
                "body": "> <@bob:local> hm\n\nhello",
                "url": "mxc://local/a",
                "info": {"size": 3, "mimetype": "image/png"},
                "m.mentions": {"user_ids": [BOT]},
                "m.relates_to": {
                    "rel_type": dice.choice(["m.thread", "m.replace", "m.annotation"]),
                    "event_id": "$a",
                    "m.in_reply_to": {"event_id": "$b"},
                },
                "m.new_content": {"body": "hello!"},
            },
            "unsigned": {"age": 1},
        }
        for _ in range(dice.randint(1, 3)):
            spoil(event, dice)
        self.server.relay(ROOM, event)


class _Case:
    config = CONFIG
    wrong_config = CONFIG.model_copy(update={"access_token": SecretStr("syt_wrong")})
    place = Place(ROOM)
    person, stranger = PERSON, "@mallory:local"

    def measure(self, part: str) -> int:
        return event_bytes(part)

    def check_markup(self, part: str) -> str:
        return shown_text(part)

    @contextmanager
    def running(self) -> Iterator[_Platform]:
        with FakeMatrix({TOKEN: BOT}, {BOT: "Slipway"}) as server:
            server.make_room(ROOM, PERSON)
            yield _Platform(server)


CASE = _Case()
