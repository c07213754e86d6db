"""Discord as a chat platform."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from pydantic import BaseModel

from services.adapters.chat.discord import (
    abilities,
    files,
    gateway,
    interactions,
    linking,
    outbound,
    render,
)
from services.adapters.chat.discord.config import DiscordConfig
from services.adapters.chat.discord.manifest import MANIFEST
from services.adapters.chat.discord.rest import Rest
from services.domain.ports.chat import HookRequest, LinkIdentity, Manifest, Parsed, Place, Receipt
from services.domain.ports.chat_abilities import Button, ButtonLimits, CommandHint, Inbox, OutgoingFile


class DiscordAdapter:
    """The port, for bots of the API at `base_url`."""

    manifest: Manifest = MANIFEST
    config_model: type[BaseModel] = DiscordConfig
    base_setting: ClassVar[str] = "DISCORD_API_BASE"
    default_base: ClassVar[str] = "https://discord.com/api/v10"
    edit_interval_s: float = abilities.EDIT_INTERVAL_S
    max_file_bytes: int = abilities.MAX_FILE_BYTES
    max_caption: int = MANIFEST.max_text
    button_limits: ButtonLimits = abilities.BUTTON_LIMITS

    person_hint: str = linking.PERSON_HINT

    def __init__(self, base_url: str) -> None:
        self._rest = Rest(base_url)

    def verify(self, config: DiscordConfig, request: HookRequest) -> None:
        """Check the signature of an interaction and its time. Raises: HookUnverified."""
        interactions.verify(config, request)

    def parse(self, config: DiscordConfig, request: HookRequest) -> Parsed:
        """Read one interaction. Raises: MalformedBody."""
        return interactions.parse(config, request)

    def show_commands(self, config: DiscordConfig, commands: Sequence[CommandHint]) -> None:
        """Make the commands that people see when they type a slash."""
        linking.show_commands(self._rest, config, commands)

    def open_direct(self, config: DiscordConfig, person_id: str, known: Sequence[Place]) -> Place:
        """Return the direct channel with a person."""
        return linking.open_direct(self._rest, config, person_id)

    def wants_listener(self, config: DiscordConfig) -> bool:
        """Listen to every bot: messages come over the gateway only."""
        return True

    def listen(self, config: DiscordConfig, inbox: Inbox) -> None:
        """Hear a bot's events over the gateway."""
        gateway.listen(self._rest, config, inbox)

    def render(self, text: str) -> list[str]:
        """Turn Markdown into parts of Discord's."""
        return render.render(text)

    def connect(self, config: DiscordConfig, hook_url: str) -> LinkIdentity:
        """Check the token, make the command, and have interactions sent to `hook_url` if a public key is given."""
        return linking.connect(self._rest, config, hook_url)

    def disconnect(self, config: DiscordConfig) -> None:
        """Have no interactions sent here any more."""
        linking.disconnect(self._rest, config)

    def check_health(self, config: DiscordConfig, hook_url: str) -> str | None:
        """Return what a person has to mend, or None."""
        return linking.check_health(self._rest, config, hook_url)

    def send(self, config: DiscordConfig, place: Place, part: str, *, reply_to: str | None = None) -> Receipt:
        """Send one part."""
        return outbound.post(self._rest, config, place, part, reply_to=reply_to)

    def send_once(
        self,
        config: DiscordConfig,
        place: Place,
        part: str,
        key: str,
        buttons: Sequence[Button] = (),
        *,
        reply_to: str | None = None,
    ) -> Receipt:
        """Send one part under a key, with buttons if there are any."""
        return abilities.send_card(self._rest, config, place, part, buttons, key=key, reply_to=reply_to)

    def show_typing(self, config: DiscordConfig, place: Place) -> None:
        """Show that the agent is at work."""
        outbound.show_typing(self._rest, config, place)

    def edit(self, config: DiscordConfig, place: Place, message_id: str, part: str) -> None:
        """Replace a message's text."""
        abilities.edit(self._rest, config, place, message_id, part)

    def delete(self, config: DiscordConfig, place: Place, message_id: str) -> None:
        """Delete a message."""
        abilities.delete(self._rest, config, place, message_id)

    def find_emoji(self, emoji: str) -> str | None:
        """Return the emoji, if Discord takes it."""
        return abilities.find_emoji(emoji)

    def react(self, config: DiscordConfig, place: Place, message_id: str, emoji: str) -> None:
        """Add a reaction."""
        abilities.react(self._rest, config, place, message_id, emoji)

    def send_file(
        self,
        config: DiscordConfig,
        place: Place,
        file: OutgoingFile,
        caption: str,
        *,
        reply_to: str | None = None,
    ) -> Receipt:
        """Upload a file."""
        return outbound.post(self._rest, config, place, caption, file=file, reply_to=reply_to)

    def fetch_file(self, config: DiscordConfig, ref: str, max_bytes: int) -> bytes:
        """Return a file's bytes. Raises also: FileTooLarge."""
        return files.fetch_file(self._rest, config, ref, max_bytes)

    def send_card(
        self,
        config: DiscordConfig,
        place: Place,
        part: str,
        buttons: Sequence[Button],
        *,
        reply_to: str | None = None,
    ) -> Receipt:
        """Send a message with buttons."""
        return abilities.send_card(self._rest, config, place, part, buttons, reply_to=reply_to)

    def answer_press(
        self,
        config: DiscordConfig,
        place: Place,
        press_ref: str,
        person_id: str,
        text: str,
        *,
        is_refusal: bool,
    ) -> None:
        """Tell whoever pressed that it was refused; what came of it otherwise is seen on the card."""
        if is_refusal:
            abilities.answer_press(self._rest, config, press_ref, text)


ADAPTER = DiscordAdapter
