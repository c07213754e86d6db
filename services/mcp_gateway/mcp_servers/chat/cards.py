"""The tool about cards: a title, a text, fields, buttons."""

from __future__ import annotations

from dataclasses import asdict
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from services.adapters.chat.cards import render_card
from services.domain.actors import require
from services.domain.chats.models import DeliveryKind
from services.domain.chats.sending import SAID_BY_AGENT, Piece, batch_key, write_message
from services.domain.ports.chat_abilities import Button
from services.domain.tenancy.transaction import tenant_transaction
from services.mcp_gateway.callers import Caller
from services.mcp_gateway.mcp_servers.chat.messages import spot_for
from services.mcp_gateway.mcp_servers.chat.models import Key, Sent, Thread, To
from services.mcp_gateway.mcp_servers.chat.platforms import adapter_of
from services.mcp_gateway.mcp_servers.tools import Tool, ToolInput
from services.mcp_gateway.threads import run_in_thread

HINT = "Reply with the number."


class CardField(ToolInput):
    name: str = Field(min_length=1, max_length=100, description="What it is, such as `Branch`.")
    value: str = Field(max_length=1_000, description="What there is to say of it. Markdown.")


class CardButton(ToolInput):
    label: str = Field(min_length=1, max_length=64, description="What stands on it.")
    url: str | None = Field(
        default=None,
        max_length=1_000,
        description="An https address to open. Without one, a press comes to you as a message with the label.",
    )

    @field_validator("url")
    @classmethod
    def _is_https(cls, url: str | None) -> str | None:
        if url is not None and (urlsplit(url).scheme != "https" or not urlsplit(url).hostname):
            raise ValueError("must be an https address")
        return url


class CardInput(ToolInput):
    to: To = "here"
    title: str = Field(min_length=1, max_length=200, description="What stands on top, in one line.")
    text: str = Field(default="", max_length=10_000, description="Markdown.")
    fields: list[CardField] = Field(
        default_factory=list, max_length=20, description="Named facts, listed below the text."
    )
    buttons: list[CardButton] = Field(
        default_factory=list, max_length=10, description="Buttons below the card, in this order."
    )
    thread: Thread = None
    key: Key = None


def _send_now(caller: Caller, given: CardInput) -> Sent:
    require(caller.actor, "tasks:write")
    with tenant_transaction(caller.actor.org_id):
        spot = spot_for(caller.task, given.to, given.thread)
        adapter = adapter_of(spot.chat.link.kind)
        buttons = [
            Button(button.label, url=button.url) if button.url else Button(button.label, value=f"c:{number}")
            for number, button in enumerate(given.buttons)
        ]
        rendered = render_card(adapter, _markdown(given), buttons, hint=HINT if buttons else "")
        *before, last = rendered.parts
        payload = {"buttons": [asdict(button) for button in rendered.buttons]}
        kind = DeliveryKind.CARD if rendered.buttons else DeliveryKind.TEXT
        pieces = [
            *(Piece(part) for part in before),
            Piece(last, kind, payload if rendered.buttons else None),
        ]
        batch = batch_key(
            f"{SAID_BY_AGENT}{caller.task.id}",
            "card",
            spot.chat.id,
            spot.thread_id,
            given.model_dump(mode="json"),
        )
        return Sent.of(write_message(spot, pieces, batch=batch, task=caller.task))


def _markdown(given: CardInput) -> str:
    lines = [f"**{given.title}**"]
    if given.text.strip():
        lines.append(given.text)
    if given.fields:
        lines.append("\n".join(f"- **{field.name}:** {field.value}" for field in given.fields))
    return "\n\n".join(lines)


async def _send(caller: Caller, given: CardInput) -> Sent:
    return await run_in_thread(_send_now, caller, given)


CARD_TOOLS = (
    Tool(
        "send_card",
        "Send a card: a title, a text, named fields, and buttons. A button opens an https address, or its press comes "
        "to you as a message, as new work. To wait for an answer now, use ask_user_question instead.",
        CardInput,
        Sent,
        _send,
    ),
)
