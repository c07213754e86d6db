"""Rooms as a chat platform: what is sent is there already, for a room shows the deliveries themselves."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import ClassVar

from pydantic import BaseModel

from services.adapters.chat.emoji import any_emoji
from services.adapters.chat.typed_markdown import render_typed
from services.adapters.chat.web.config import WebConfig
from services.adapters.chat.web.manifest import MANIFEST
from services.domain.errors import HookUnverified
from services.domain.ports.chat import HookRequest, LinkIdentity, Manifest, Parsed, Place, Receipt
from services.domain.ports.chat_abilities import Button, ButtonLimits, OutgoingFile

_SPACE = uuid.UUID("5b0b1c1e-6d8f-4f6c-9a53-0a4f3f0f7d11")


class WebAdapter:
    """The port. Nothing here can fail, and nothing is sent twice: a message's id is made from its delivery's key."""

    manifest: Manifest = MANIFEST
    config_model: type[BaseModel] = WebConfig
    base_setting: ClassVar[str] = "WEB_API_BASE"
    default_base: ClassVar[str] = ""
    # A room's page follows the answer in the workspace's stream.
    edit_interval_s: float | None = None
    max_file_bytes: int = 50_000_000
    max_caption: int = 4_000
    shows_stored: bool = True
    button_limits: ButtonLimits = ButtonLimits(
        buttons=100, label_chars=200, value_bytes=200, source=MANIFEST.source
    )

    def __init__(self, base_url: str) -> None:
        """Take the address that every adapter is made with; there is none to call."""

    def verify(self, config: WebConfig, request: HookRequest) -> None:
        """Refuse every call: people write in rooms as members, not by a webhook. Raises: HookUnverified."""
        raise HookUnverified("Rooms have no webhook.")

    def parse(self, config: WebConfig, request: HookRequest) -> Parsed:
        """Read nothing: no call is ever verified."""
        return Parsed(ignored="unknown_type")

    def render(self, text: str) -> list[str]:
        """Keep Markdown as it is: the page shows it, and REST gives it as it was written."""
        return render_typed(text, MANIFEST.max_text, reads_html=False)

    def connect(self, config: WebConfig, hook_url: str) -> LinkIdentity:
        """Say who answers in rooms: the agents, under their own names."""
        return LinkIdentity("slipway", "Slipway")

    def disconnect(self, config: WebConfig) -> None:
        """Do nothing."""

    def send(self, config: WebConfig, place: Place, part: str, *, reply_to: str | None = None) -> Receipt:
        """Take one part without a key."""
        return Receipt(uuid.uuid4().hex)

    def show_typing(self, config: WebConfig, place: Place) -> None:
        """Do nothing: the room's page sees for itself which tasks are at work."""

    def send_with_key(self, config: WebConfig, place: Place, part: str, key: str) -> Receipt:
        """Take one part; the same key gives the same message."""
        return Receipt(uuid.uuid5(_SPACE, key).hex)

    def send_card_with_key(
        self, config: WebConfig, place: Place, part: str, buttons: Sequence[Button], key: str
    ) -> Receipt:
        """Take one part with buttons; the same key gives the same message."""
        return self.send_with_key(config, place, part, key)

    def find_sent(self, config: WebConfig, place: Place, key: str) -> Receipt | None:
        """Say that it is there: a room shows the delivery itself."""
        return self.send_with_key(config, place, "", key)

    def send_file(
        self,
        config: WebConfig,
        place: Place,
        file: OutgoingFile,
        caption: str,
        *,
        reply_to: str | None = None,
    ) -> Receipt:
        """Take a file: the room offers it from where it was stored to be sent."""
        return Receipt(uuid.uuid4().hex)

    def find_emoji(self, emoji: str) -> str | None:
        """Return the emoji itself: a room takes each."""
        return any_emoji(emoji)

    def react(self, config: WebConfig, place: Place, message_id: str, emoji: str) -> None:
        """Take a reaction; the room shows it below the message."""

    def edit(self, config: WebConfig, place: Place, message_id: str, part: str) -> None:
        """Take an edit; the room folds it into the message."""

    def delete(self, config: WebConfig, place: Place, message_id: str) -> None:
        """Take a deletion; the room leaves the message out."""

    def send_card(
        self,
        config: WebConfig,
        place: Place,
        part: str,
        buttons: Sequence[Button],
        *,
        reply_to: str | None = None,
    ) -> Receipt:
        """Take one part with buttons, without a key."""
        return Receipt(uuid.uuid4().hex)

    def answer_press(
        self,
        config: WebConfig,
        place: Place,
        press_ref: str,
        person_id: str,
        text: str,
        *,
        is_refusal: bool,
    ) -> None:
        """Do nothing: who presses in a room sees on the card what came of it."""


ADAPTER = WebAdapter
