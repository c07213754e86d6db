"""iMessage as a chat platform."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

from pydantic import BaseModel

from services.adapters.chat.imessage import inbound, linking, outbound, render
from services.adapters.chat.imessage.client import BlueBubblesClient
from services.adapters.chat.imessage.config import IMessageConfig
from services.adapters.chat.imessage.manifest import MANIFEST
from services.domain.ports.chat import HookRequest, LinkIdentity, Manifest, Parsed, Place, Receipt
from services.domain.ports.chat_abilities import OutgoingFile


class IMessageAdapter:
    """The port, for Macs with a BlueBubbles server; `base_url` is the operator's own for all links, if there is one."""

    manifest: Manifest = MANIFEST
    config_model: type[BaseModel] = IMessageConfig
    base_setting: ClassVar[str] = "IMESSAGE_API_BASE"
    default_base: ClassVar[str] = ""
    max_file_bytes: int = outbound.MAX_FILE_BYTES
    max_caption: int = outbound.MAX_CAPTION

    def __init__(self, base_url: str) -> None:
        self._client = BlueBubblesClient(base_url)

    def verify(self, config: IMessageConfig, request: HookRequest) -> None:
        """Check the secret in the address. Raises: HookUnverified."""
        inbound.verify(config, request)

    def parse(self, config: IMessageConfig, request: HookRequest) -> Parsed:
        """Read one webhook. Raises: MalformedBody."""
        return inbound.parse(config, request)

    def render(self, text: str) -> list[str]:
        """Turn Markdown into parts of plain text."""
        return render.render(text)

    def connect(self, config: IMessageConfig, hook_url: str) -> LinkIdentity:
        """Check the password and make the webhook."""
        return linking.connect(self._client, config, hook_url)

    def disconnect(self, config: IMessageConfig) -> None:
        """Remove the webhook."""
        linking.disconnect(self._client, config)

    def check_health(self, config: IMessageConfig, hook_url: str) -> str | None:
        """Look whether the Mac is signed in and the webhook there."""
        return linking.check_health(self._client, config, hook_url)

    def send(
        self, config: IMessageConfig, place: Place, part: str, *, reply_to: str | None = None
    ) -> Receipt:
        """Send one part."""
        return outbound.send(self._client, config, place, part, reply_to)

    def list_sent(self, config: IMessageConfig, place: Place, part: str, since: datetime) -> list[str]:
        """List our messages that say just this."""
        return outbound.list_sent(self._client, config, place, part, since)

    def show_typing(self, config: IMessageConfig, place: Place) -> None:
        """Show that somebody types, where the server can."""
        outbound.show_typing(self._client, config, place)

    def find_emoji(self, emoji: str) -> str | None:
        """Return Apple's name of a reaction."""
        return outbound.find_emoji(emoji)

    def react(self, config: IMessageConfig, place: Place, message_id: str, emoji: str) -> None:
        """Add a reaction."""
        outbound.react(self._client, config, place, message_id, emoji)

    def send_file(
        self,
        config: IMessageConfig,
        place: Place,
        file: OutgoingFile,
        caption: str,
        *,
        reply_to: str | None = None,
    ) -> Receipt:
        """Send a file with its caption."""
        return outbound.send_file(self._client, config, place, file, caption)

    def fetch_file(self, config: IMessageConfig, ref: str, max_bytes: int) -> bytes:
        """Return the bytes of a file that somebody sent."""
        return self._client.download(config, ref, max_bytes)


ADAPTER = IMessageAdapter
