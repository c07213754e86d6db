"""Round trips with Teams as Microsoft emulates it: what a person writes comes in, what the bot says is shown."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from services.adapters.chat.cards import render_card
from services.adapters.chat.teams.adapter import TeamsAdapter
from services.adapters.chat.teams.tests.payloads import APP_ID, CONFIG, TENANT
from services.domain.errors import PlatformRefused
from services.domain.ports.chat import ChatKind, HookRequest, InboundMessage, InboundPress, Parsed
from services.domain.ports.chat_abilities import Button
from tests.fakes.serving import Journal, LocalServer
from tests.fakes.teams_issuer import TeamsIssuer
from tests.peers.playground import Playground, playground

T = TypeVar("T")


class Hook:
    """What the emulator calls. It sends no tokens, so each call is signed here, as the Bot Framework would."""

    def __init__(self, issuer: TeamsIssuer) -> None:
        self.issuer = issuer
        self.calls = Journal()
        self.server = LocalServer(Starlette(routes=[Route("/hook", self._take, methods=["GET", "POST"])]))

    async def _take(self, request: Request) -> Response:
        body = await request.body()
        if body:
            activity = await request.json()
            token = self.issuer.keys.sign(self.issuer.claims(APP_ID, str(activity["serviceUrl"])))
            headers = {"authorization": f"Bearer {token}"}
            self.calls.add({"call": HookRequest("POST", headers, {}, body, datetime.now(UTC))})
        return Response()


class Bot:
    """The adapter, between the hook and the emulator."""

    def __init__(self, hook: Hook, there: Playground) -> None:
        self.hook, self.there = hook, there
        bases = {"TEAMSLOGIN_API_BASE": hook.issuer.url, "TEAMSKEYS_API_BASE": hook.issuer.url}
        self.adapter = TeamsAdapter(there.url, bases)

    def hear(self, text: str) -> InboundMessage:
        """Let the person write, and return what came in."""
        self.there.write(text)
        return self._next(lambda parsed: [one for one in parsed.messages if one.text == text])

    def hear_press(self, value: str) -> InboundPress:
        """Return the press with a value, once it came in."""
        return self._next(lambda parsed: [one for one in parsed.presses if one.value == value])

    def _next(self, pick: Callable[[Parsed], list[T]]) -> T:
        found: list[T] = []

        def fits(entry: dict[str, HookRequest]) -> bool:
            self.adapter.verify(CONFIG, entry["call"])
            picked = pick(self.adapter.parse(CONFIG, entry["call"]))
            found.extend(picked)
            return bool(picked)

        self.hook.calls.wait_for(1, fits)
        return found[0]


@pytest.fixture(scope="module")
def bot(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bot]:
    log_file: Path = tmp_path_factory.mktemp("playground") / "log"
    with TeamsIssuer({(TENANT, APP_ID): CONFIG.client_secret.get_secret_value()}) as issuer:
        hook = Hook(issuer)
        with hook.server, playground(f"{hook.server.url}/hook", log_file) as there:
            yield Bot(hook, there)


def test_what_a_person_writes_comes_in_and_the_answer_is_shown_and_edited(bot: Bot) -> None:
    heard = bot.hear("What is the weather?")
    assert (heard.chat_kind, heard.is_mention) == (ChatKind.DIRECT, True)
    assert heard.sender.display_name == bot.there.person["name"]
    assert heard.place.chat_id == f"_connector/{bot.there.chat_id}"
    bot.adapter.show_typing(CONFIG, heard.place)
    bot.there.wait_for("typing")
    (part,) = bot.adapter.render("It **rains** & pours")
    receipt = bot.adapter.send(CONFIG, heard.place, part, reply_to=heard.message_id)
    shown = bot.there.wait_for("createMessage", messageId=receipt.message_id)
    assert (shown["text"], shown["textFormat"]) == ("It <b>rains</b> &amp; pours", "xml")
    bot.adapter.edit(CONFIG, heard.place, receipt.message_id, "It <i>snows</i>")
    assert bot.there.wait_for("updateMessage", messageId=receipt.message_id)["text"] == "It <i>snows</i>"


def test_an_answer_is_shown_while_it_is_written_and_stays(bot: Bot) -> None:
    place = bot.hear("Tell me more").place
    stream, shown = bot.adapter.open_stream(CONFIG, place), ""
    bot.there.wait_for("createMessage", messageId=stream)
    for text in ("A", "A *brown*", "A *brown* fox", "A *brown* fox 🦊 jumps"):
        bot.adapter.show_stream(CONFIG, place, stream, shown, text)
        bot.there.wait_for("updateMessage", messageId=stream, text=text)
        shown = text
    (part,) = bot.adapter.render(shown)
    assert bot.adapter.close_stream(CONFIG, place, stream, shown, part, "key").message_id == stream
    last = bot.there.wait_for("updateMessage", messageId=stream, text="A <i>brown</i> fox 🦊 jumps")
    assert last["streamEntity"]["streamType"] == "final"


def test_a_press_comes_back_from_the_card_that_was_shown(bot: Bot) -> None:
    place = bot.hear("May I?").place
    card = render_card(bot.adapter, "Go **now**?", [Button("Yes", "yes:1"), Button("No", "no:1")])
    receipt = bot.adapter.send_card(CONFIG, place, card.parts[-1], card.buttons)
    shown = bot.there.wait_for("createMessage", messageId=receipt.message_id)
    (attachment,) = shown["attachments"]
    assert attachment["content"]["body"][0]["text"] == "Go **now**?"
    (action,) = [one for one in attachment["content"]["actions"] if one["title"] == "Yes"]
    bot.there.press(receipt.message_id, action["data"])
    press = bot.hear_press("yes:1")
    assert (press.message_id, press.place) == (receipt.message_id, place)
    bot.adapter.edit(CONFIG, place, receipt.message_id, "Answered: Yes")
    assert bot.there.wait_for("updateMessage", messageId=receipt.message_id)["text"] == "Answered: Yes"


def test_a_message_that_is_not_there_is_refused_with_the_connector_s_code(bot: Bot) -> None:
    place = bot.hear("Anything else?").place
    with pytest.raises(PlatformRefused) as caught:
        bot.adapter.edit(CONFIG, place, "1772443800123", "x")
    assert caught.value.details["answer"] == "ActivityNotFoundInConversation"
