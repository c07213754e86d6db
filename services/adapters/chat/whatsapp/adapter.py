"""WhatsApp as a chat platform."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from pydantic import BaseModel

from services.adapters.chat.whatsapp import files, inbound, linking, outbound, render
from services.adapters.chat.whatsapp.config import WhatsappConfig
from services.adapters.chat.whatsapp.manifest import MANIFEST
from services.domain.ports.chat import HookRequest, LinkIdentity, Manifest, Parsed, Place, Receipt
from services.domain.ports.chat_abilities import Button, ButtonLimits, CommandHint, OutgoingFile


class WhatsappAdapter:
    """The port, for numbers of the Cloud API at `base_url`."""

    manifest: Manifest = MANIFEST
    config_model: type[BaseModel] = WhatsappConfig
    base_setting: ClassVar[str] = "WHATSAPP_API_BASE"
    default_base: ClassVar[str] = "https://graph.facebook.com"
    max_file_bytes: int = files.MAX_FILE_BYTES
    max_caption: int = files.MAX_CAPTION
    button_limits: ButtonLimits = outbound.BUTTON_LIMITS

    def __init__(self, base_url: str) -> None:
        self._base_url = base_url.rstrip("/")

    def verify(self, config: WhatsappConfig, request: HookRequest) -> None:
        """Check the signature, or the token of the call that sets the webhook. Raises: HookUnverified."""
        inbound.verify(config, request)

    def parse(self, config: WhatsappConfig, request: HookRequest) -> Parsed:
        """Read one call. Raises: MalformedBody."""
        return inbound.parse(config, request)

    def render(self, text: str) -> list[str]:
        """Turn Markdown into parts of WhatsApp's text."""
        return render.render(text)

    def connect(self, config: WhatsappConfig, hook_url: str) -> LinkIdentity:
        """Check the token and set the number's webhook."""
        return linking.connect(self._base_url, config, hook_url)

    def show_commands(self, config: WhatsappConfig, commands: Sequence[CommandHint]) -> None:
        """Set the list that people see when they type a slash."""
        linking.show_commands(self._base_url, config, commands)

    def disconnect(self, config: WhatsappConfig) -> None:
        """Take the number's webhook back."""
        linking.disconnect(self._base_url, config)

    def send(
        self, config: WhatsappConfig, place: Place, part: str, *, reply_to: str | None = None
    ) -> Receipt:
        """Send one part, in the link's template if the chat is closed."""
        return outbound.send(self._base_url, config, place, part, reply_to=reply_to)

    def send_reported(
        self,
        config: WhatsappConfig,
        place: Place,
        part: str,
        key: str,
        buttons: Sequence[Button] = (),
        *,
        reply_to: str | None = None,
    ) -> Receipt:
        """Send one part under a key, which comes back with each report on it."""
        if buttons:
            return outbound.send_card(
                self._base_url, config, place, part, buttons, reply_to=reply_to, key=key
            )
        return outbound.send(self._base_url, config, place, part, reply_to=reply_to, key=key)

    def send_opening(self, config: WhatsappConfig, place: Place, part: str) -> Receipt:
        """Send one part in the link's template."""
        return outbound.send_opening(self._base_url, config, place, part)

    def show_typing(self, config: WhatsappConfig, place: Place) -> None:
        """Do nothing: WhatsApp shows it on a message that came, which `acknowledge` is told."""

    def acknowledge(self, config: WhatsappConfig, place: Place, message_id: str) -> None:
        """Mark a message as read, and show that the agent is at work."""
        outbound.acknowledge(self._base_url, config, place, message_id)

    def find_emoji(self, emoji: str) -> str | None:
        """Return the emoji, of which WhatsApp takes any."""
        return outbound.find_emoji(emoji)

    def react(self, config: WhatsappConfig, place: Place, message_id: str, emoji: str) -> None:
        """Set the number's reaction."""
        outbound.react(self._base_url, config, place, message_id, emoji)

    def send_file(
        self,
        config: WhatsappConfig,
        place: Place,
        file: OutgoingFile,
        caption: str,
        *,
        reply_to: str | None = None,
    ) -> Receipt:
        """Upload a file and send it."""
        return files.send_file(self._base_url, config, place, file, caption, reply_to=reply_to)

    def fetch_file(self, config: WhatsappConfig, ref: str, max_bytes: int) -> bytes:
        """Return the bytes of what a person sent."""
        return files.fetch_file(self._base_url, config, ref, max_bytes)

    def send_card(
        self,
        config: WhatsappConfig,
        place: Place,
        part: str,
        buttons: Sequence[Button],
        *,
        reply_to: str | None = None,
    ) -> Receipt:
        """Send a message with buttons or a list."""
        return outbound.send_card(self._base_url, config, place, part, buttons, reply_to=reply_to)

    def answer_press(
        self,
        config: WhatsappConfig,
        place: Place,
        press_ref: str,
        person_id: str,
        text: str,
        *,
        is_refusal: bool,
    ) -> None:
        """Say what came of a press: a card of WhatsApp's cannot be changed, so that nothing else shows it."""
        outbound.send(self._base_url, config, place, text)

    def check_health(self, config: WhatsappConfig, hook_url: str) -> str | None:
        """Say what a person has to mend, if anything."""
        return linking.check_health(self._base_url, config, hook_url)


ADAPTER = WhatsappAdapter
