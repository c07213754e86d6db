"""Webex as a chat platform."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import ClassVar

from pydantic import BaseModel

from services.adapters.chat.webex import completing, inbound, linking, outbound, render
from services.adapters.chat.webex.client import WebexClient
from services.adapters.chat.webex.config import WebexConfig
from services.adapters.chat.webex.manifest import MANIFEST
from services.domain.ports.chat import HookRequest, LinkIdentity, Manifest, Parsed, Place, Receipt
from services.domain.ports.chat_abilities import Button, ButtonLimits, OutgoingFile


class WebexAdapter:
    """The port, for bots of the REST API at `base_url`."""

    manifest: Manifest = MANIFEST
    config_model: type[BaseModel] = WebexConfig
    base_setting: ClassVar[str] = "WEBEX_API_BASE"
    default_base: ClassVar[str] = "https://webexapis.com"
    # A message can be edited ten times: not enough for one that grows, whose last edit is the answer itself.
    edit_interval_s: float | None = None
    max_file_bytes: int = outbound.MAX_FILE_BYTES
    max_caption: int = outbound.MAX_CAPTION
    button_limits: ButtonLimits = outbound.BUTTON_LIMITS

    person_hint: str = linking.PERSON_HINT

    def __init__(self, base_url: str) -> None:
        self._client = WebexClient(base_url)

    def verify(self, config: WebexConfig, request: HookRequest) -> None:
        """Check the signature. Raises: HookUnverified."""
        inbound.verify(config, request)

    def parse(self, config: WebexConfig, request: HookRequest) -> Parsed:
        """Read a hook, which is incomplete as it comes. Raises: MalformedBody."""
        return inbound.parse(config, request)

    def complete(self, config: WebexConfig, request: HookRequest) -> HookRequest:
        """Fetch what a hook names. Raises: MalformedBody, PlatformRefused when it is gone."""
        return completing.complete(self._client, config, request)

    def render(self, text: str) -> list[str]:
        """Turn Markdown into parts of Webex's."""
        return render.render(text)

    def connect(self, config: WebexConfig, hook_url: str) -> LinkIdentity:
        """Check the token and make the webhooks."""
        return linking.connect(self._client, config, hook_url)

    def open_direct(self, config: WebexConfig, person_id: str, known: Sequence[Place]) -> Place:
        """Return the room with a person, who is greeted if there is none."""
        return linking.open_direct(self._client, config, person_id)

    def disconnect(self, config: WebexConfig) -> None:
        """Remove the webhooks."""
        linking.disconnect(self._client, config)

    def check_health(self, config: WebexConfig, hook_url: str) -> str | None:
        """Look whether the webhooks are there and active."""
        return linking.check_health(self._client, config, hook_url)

    def send(self, config: WebexConfig, place: Place, part: str, *, reply_to: str | None = None) -> Receipt:
        """Send one part. Webex answers in threads, which the place names, so `reply_to` adds nothing."""
        return outbound.post(self._client, config, place, part)

    def list_sent(self, config: WebexConfig, place: Place, part: str, since: datetime) -> list[str] | None:
        """List our messages that say just this, in direct chats."""
        return outbound.list_sent(self._client, config, place, part, since)

    def show_typing(self, config: WebexConfig, place: Place) -> None:
        """Do nothing: Webex has no sign for it."""

    def edit(self, config: WebexConfig, place: Place, message_id: str, part: str) -> None:
        """Replace a message's text."""
        outbound.edit(self._client, config, place, message_id, part)

    def delete(self, config: WebexConfig, place: Place, message_id: str) -> None:
        """Delete a message."""
        outbound.delete(self._client, config, message_id)

    def send_file(
        self,
        config: WebexConfig,
        place: Place,
        file: OutgoingFile,
        caption: str,
        *,
        reply_to: str | None = None,
    ) -> Receipt:
        """Upload a file."""
        return outbound.send_file(self._client, config, place, file, caption)

    def fetch_file(self, config: WebexConfig, ref: str, max_bytes: int) -> bytes:
        """Return the bytes of a file that somebody sent."""
        return self._client.download(config, ref, max_bytes)

    def send_card(
        self,
        config: WebexConfig,
        place: Place,
        part: str,
        buttons: Sequence[Button],
        *,
        reply_to: str | None = None,
    ) -> Receipt:
        """Send a message with buttons."""
        return outbound.post(self._client, config, place, part, buttons=buttons)

    def answer_press(
        self,
        config: WebexConfig,
        place: Place,
        press_ref: str,
        person_id: str,
        text: str,
        *,
        is_refusal: bool,
    ) -> None:
        """Say that a press was refused, where all see it: Webex shows nothing to one person alone."""
        if is_refusal:
            outbound.post(self._client, config, place, render.render(text)[0])


ADAPTER = WebexAdapter
