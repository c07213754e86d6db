"""Telegram as a chat platform."""

from __future__ import annotations

from typing import ClassVar

from pydantic import BaseModel

from services.adapters.chat.telegram import inbound, linking, outbound, render
from services.adapters.chat.telegram.config import TelegramConfig
from services.adapters.chat.telegram.manifest import MANIFEST
from services.domain.ports.chat import HookRequest, LinkIdentity, Manifest, Parsed, Place, Receipt


class TelegramAdapter:
    """The port, for bots of the Bot API at `base_url`."""

    manifest: Manifest = MANIFEST
    config_model: type[BaseModel] = TelegramConfig
    base_setting: ClassVar[str] = "TELEGRAM_API_BASE"
    default_base: ClassVar[str] = "https://api.telegram.org"

    def __init__(self, base_url: str) -> None:
        self._base_url = base_url

    def verify(self, config: TelegramConfig, request: HookRequest) -> None:
        """Check the secret header. Raises: HookUnverified."""
        inbound.verify(config, request)

    def parse(self, config: TelegramConfig, request: HookRequest) -> Parsed:
        """Read one update. Raises: MalformedBody."""
        return inbound.parse(config, request)

    def render(self, text: str) -> list[str]:
        """Turn Markdown into parts of Telegram's HTML."""
        return render.render(text)

    def connect(self, config: TelegramConfig, hook_url: str) -> LinkIdentity:
        """Check the token and set the webhook."""
        return linking.connect(self._base_url, config, hook_url)

    def disconnect(self, config: TelegramConfig) -> None:
        """Remove the webhook."""
        linking.disconnect(self._base_url, config)

    def send(
        self, config: TelegramConfig, place: Place, part: str, *, reply_to: str | None = None
    ) -> Receipt:
        """Send one part, as plain text if its markup is refused."""
        return outbound.send(self._base_url, config, place, part, reply_to=reply_to)

    def show_typing(self, config: TelegramConfig, place: Place) -> None:
        """Show that the agent is at work."""
        outbound.show_typing(self._base_url, config, place)


ADAPTER = TelegramAdapter
