"""Telegram as a chat platform."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from pydantic import BaseModel

from services.adapters.chat.telegram import abilities, files, inbound, linking, outbound, render, streaming
from services.adapters.chat.telegram.config import TelegramConfig
from services.adapters.chat.telegram.manifest import MANIFEST
from services.domain.ports.chat import ChatKind, HookRequest, LinkIdentity, Manifest, Parsed, Place, Receipt
from services.domain.ports.chat_abilities import (
    Button,
    ButtonLimits,
    CommandHint,
    OutgoingFile,
    StreamLimits,
)


class TelegramAdapter:
    """The port, for bots of the Bot API at `base_url`."""

    manifest: Manifest = MANIFEST
    config_model: type[BaseModel] = TelegramConfig
    base_setting: ClassVar[str] = "TELEGRAM_API_BASE"
    default_base: ClassVar[str] = "https://api.telegram.org"
    edit_interval_s: float = abilities.EDIT_INTERVAL_S
    max_file_bytes: int = abilities.MAX_FILE_BYTES
    max_caption: int = abilities.MAX_CAPTION
    button_limits: ButtonLimits = abilities.BUTTON_LIMITS

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

    def edit(self, config: TelegramConfig, place: Place, message_id: str, part: str) -> None:
        """Replace a message's text."""
        abilities.edit(self._base_url, config, place, message_id, part)

    def delete(self, config: TelegramConfig, place: Place, message_id: str) -> None:
        """Delete a message."""
        abilities.delete(self._base_url, config, place, message_id)

    def find_emoji(self, emoji: str) -> str | None:
        """Return the emoji if bots may react with it."""
        return abilities.find_emoji(emoji)

    def react(self, config: TelegramConfig, place: Place, message_id: str, emoji: str) -> None:
        """Set the bot's reaction."""
        abilities.react(self._base_url, config, place, message_id, emoji)

    def send_file(
        self,
        config: TelegramConfig,
        place: Place,
        file: OutgoingFile,
        caption: str,
        *,
        reply_to: str | None = None,
    ) -> Receipt:
        """Upload a file."""
        return abilities.send_file(self._base_url, config, place, file, caption, reply_to=reply_to)

    def send_card(
        self,
        config: TelegramConfig,
        place: Place,
        part: str,
        buttons: Sequence[Button],
        *,
        reply_to: str | None = None,
    ) -> Receipt:
        """Send a message with buttons."""
        return abilities.send_card(self._base_url, config, place, part, buttons, reply_to=reply_to)

    def answer_press(
        self,
        config: TelegramConfig,
        place: Place,
        press_ref: str,
        person_id: str,
        text: str,
        *,
        is_refusal: bool,
    ) -> None:
        """Show a note to whoever pressed."""
        abilities.answer_press(self._base_url, config, press_ref, text, is_refusal=is_refusal)

    def show_commands(self, config: TelegramConfig, commands: Sequence[CommandHint]) -> None:
        """Set the list that people see when they type a slash."""
        linking.show_commands(self._base_url, config, commands)

    def link_to_chat(self, config: TelegramConfig, code: str) -> str:
        """Return the address that opens a chat with the bot."""
        return linking.link_to_chat(config, code)

    def stream_limits(self, place: Place, chat_kind: ChatKind) -> StreamLimits | None:
        """Return how private chats take drafts; nothing else does."""
        return streaming.stream_limits(chat_kind)

    def open_stream(self, config: TelegramConfig, place: Place, *, reply_to: str | None = None) -> str:
        """Make the reference of a draft."""
        return streaming.new_draft(reply_to)

    def show_stream(
        self, config: TelegramConfig, place: Place, stream_ref: str, shown: str, text: str
    ) -> None:
        """Show the text as a draft."""
        streaming.show_draft(self._base_url, config, place, stream_ref, text)

    def close_stream(
        self, config: TelegramConfig, place: Place, stream_ref: str, shown: str, part: str, key: str
    ) -> Receipt:
        """Send the message that takes the draft's place."""
        return streaming.keep_draft(self._base_url, config, place, stream_ref, part)

    def check_health(self, config: TelegramConfig, hook_url: str) -> str | None:
        """Say what is wrong with the bot's webhook."""
        return linking.check_health(self._base_url, config, hook_url)

    def fetch_file(self, config: TelegramConfig, ref: str, max_bytes: int) -> bytes:
        """Return a file's bytes. Raises also: FileTooLarge."""
        return files.fetch_file(self._base_url, config, ref, max_bytes)


ADAPTER = TelegramAdapter
