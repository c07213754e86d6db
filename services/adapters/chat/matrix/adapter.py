"""Matrix as a chat platform."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, NoReturn

from pydantic import BaseModel

from services.adapters.chat.matrix import abilities, linking, listening, outbound, render
from services.adapters.chat.matrix.client import Homeserver
from services.adapters.chat.matrix.config import MatrixConfig
from services.adapters.chat.matrix.manifest import MANIFEST
from services.domain.errors import HookUnverified
from services.domain.ports.chat import HookRequest, LinkIdentity, Manifest, Parsed, Place, Receipt
from services.domain.ports.chat_abilities import Drawer, Inbox, OutgoingFile


class MatrixAdapter:
    """The port, for accounts on homeservers; links that name none are on the one at `base_url`."""

    manifest: Manifest = MANIFEST
    config_model: type[BaseModel] = MatrixConfig
    base_setting: ClassVar[str] = "MATRIX_API_BASE"
    default_base: ClassVar[str] = "https://matrix-client.matrix.org"
    edit_interval_s: float = abilities.EDIT_INTERVAL_S
    max_file_bytes: int = abilities.MAX_FILE_BYTES
    max_caption: int = abilities.MAX_CAPTION

    person_hint: str = linking.PERSON_HINT

    def __init__(self, base_url: str) -> None:
        self._homeserver = Homeserver(base_url)

    def verify(self, config: MatrixConfig, request: HookRequest) -> NoReturn:
        """Refuse: homeservers call no webhook of ours. Raises: HookUnverified."""
        raise HookUnverified("Matrix has no webhook here.")

    def parse(self, config: MatrixConfig, request: HookRequest) -> Parsed:
        """Find nothing: no call is verified."""
        return Parsed(ignored="unknown_type")

    def render(self, text: str) -> list[str]:
        """Turn Markdown into parts of HTML."""
        return render.render(text)

    def connect(self, config: MatrixConfig, hook_url: str) -> LinkIdentity:
        """Check the token."""
        return linking.connect(self._homeserver, config)

    def check_health(self, config: MatrixConfig, hook_url: str) -> str | None:
        """Ask whether the token is still taken."""
        return linking.check_health(self._homeserver, config)

    def open_direct(self, config: MatrixConfig, person_id: str, known: Sequence[Place]) -> Place:
        """Return the room with a person, who is invited into a new one if there is none."""
        return linking.open_direct(self._homeserver, config, person_id)

    def disconnect(self, config: MatrixConfig) -> None:
        """Do nothing: a person made the token, and ends it."""

    def wants_listener(self, config: MatrixConfig) -> bool:
        """Listen as soon as it is known who the bot is."""
        return bool(config.bot_id)

    def listen(self, config: MatrixConfig, inbox: Inbox) -> None:
        """Take what comes until told to stop."""
        listening.listen(self._homeserver, config, inbox)

    def with_drawer(self, config: MatrixConfig, drawer: Drawer) -> MatrixConfig:
        """Return the configuration with the drawer in which the keys of encrypted rooms lie."""
        return config.with_drawer(drawer)

    def send(self, config: MatrixConfig, place: Place, part: str, *, reply_to: str | None = None) -> Receipt:
        """Send one part."""
        return outbound.send(self._homeserver, config, place, part, reply_to=reply_to)

    def show_typing(self, config: MatrixConfig, place: Place) -> None:
        """Show that the agent is at work."""
        outbound.show_typing(self._homeserver, config, place)

    def send_with_key(self, config: MatrixConfig, place: Place, part: str, key: str) -> Receipt:
        """Send one part; the key is the transaction."""
        return outbound.send(self._homeserver, config, place, part, key=key)

    def find_sent(self, config: MatrixConfig, place: Place, key: str) -> Receipt | None:
        """Look for what was sent under a key."""
        return outbound.find_sent(self._homeserver, config, place, key)

    def edit(self, config: MatrixConfig, place: Place, message_id: str, part: str) -> None:
        """Replace a message's text."""
        abilities.edit(self._homeserver, config, place, message_id, part)

    def delete(self, config: MatrixConfig, place: Place, message_id: str) -> None:
        """Delete a message."""
        abilities.delete(self._homeserver, config, place, message_id)

    def find_emoji(self, emoji: str) -> str | None:
        """Return the emoji itself."""
        return abilities.find_emoji(emoji)

    def react(self, config: MatrixConfig, place: Place, message_id: str, emoji: str) -> None:
        """Add a reaction."""
        abilities.react(self._homeserver, config, place, message_id, emoji)

    def send_file(
        self,
        config: MatrixConfig,
        place: Place,
        file: OutgoingFile,
        caption: str,
        *,
        reply_to: str | None = None,
    ) -> Receipt:
        """Upload a file and show it in the room."""
        return abilities.send_file(self._homeserver, config, place, file, caption, reply_to=reply_to)

    def fetch_file(self, config: MatrixConfig, ref: str, max_bytes: int) -> bytes:
        """Return a file's bytes. Raises also: FileTooLarge."""
        return abilities.fetch_file(self._homeserver, config, ref, max_bytes)


ADAPTER = MatrixAdapter
