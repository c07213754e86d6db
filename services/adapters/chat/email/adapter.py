"""E-mail as a chat platform."""

from __future__ import annotations

from typing import ClassVar, NoReturn

from pydantic import BaseModel

from services.adapters.chat.email import linking, listening, outbound, render
from services.adapters.chat.email.config import EmailConfig
from services.adapters.chat.email.manifest import MANIFEST
from services.adapters.chat.email.servers import MailServers
from services.domain.errors import HookUnverified
from services.domain.ports.chat import HookRequest, LinkIdentity, Manifest, Parsed, Place, Receipt
from services.domain.ports.chat_abilities import Inbox, OutgoingFile


class EmailAdapter:
    """The port, for mailboxes on any server. What it is made with are the operator's own hosts, by commas."""

    manifest: Manifest = MANIFEST
    config_model: type[BaseModel] = EmailConfig
    base_setting: ClassVar[str] = "UPSTREAM_INTERNAL_HOSTS"
    default_base: ClassVar[str] = ""
    max_file_bytes: int = outbound.MAX_FILE_BYTES
    max_caption: int = outbound.MAX_CAPTION

    def __init__(self, base_url: str) -> None:
        self._servers = MailServers(base_url)

    def verify(self, config: EmailConfig, request: HookRequest) -> NoReturn:
        """Refuse: mail comes by IMAP. Raises: HookUnverified."""
        raise HookUnverified("E-mail has no webhook.")

    def parse(self, config: EmailConfig, request: HookRequest) -> Parsed:
        """Find nothing: no call is verified."""
        return Parsed(ignored="unknown_type")

    def render(self, text: str) -> list[str]:
        """Turn Markdown into parts of HTML."""
        return render.render(text)

    def connect(self, config: EmailConfig, hook_url: str) -> LinkIdentity:
        """Sign in at both servers."""
        return linking.connect(self._servers, config)

    def check_health(self, config: EmailConfig, hook_url: str) -> str | None:
        """Sign in at both servers."""
        return linking.check_health(self._servers, config)

    def disconnect(self, config: EmailConfig) -> None:
        """Do nothing: the mailbox stays what it is."""

    def wants_listener(self, config: EmailConfig) -> bool:
        """Listen as soon as the mailbox was signed in to."""
        return bool(config.bot_id)

    def listen(self, config: EmailConfig, inbox: Inbox) -> None:
        """Take what comes until told to stop."""
        listening.listen(self._servers, config, inbox)

    def send(self, config: EmailConfig, place: Place, part: str, *, reply_to: str | None = None) -> Receipt:
        """Send one mail."""
        return outbound.send(self._servers, config, place, part, reply_to=reply_to)

    def show_typing(self, config: EmailConfig, place: Place) -> None:
        """Do nothing: mail has nothing for it."""

    def send_with_key(self, config: EmailConfig, place: Place, part: str, key: str) -> Receipt:
        """Send one mail, whose message id is made of the key."""
        return outbound.send(self._servers, config, place, part, key=key)

    def find_sent(self, config: EmailConfig, place: Place, key: str) -> Receipt | None:
        """Look for what was sent under a key."""
        return outbound.find_sent(self._servers, config, place, key)

    def send_file(
        self,
        config: EmailConfig,
        place: Place,
        file: OutgoingFile,
        caption: str,
        *,
        reply_to: str | None = None,
    ) -> Receipt:
        """Send a mail with a file in it."""
        return outbound.send(self._servers, config, place, caption, reply_to=reply_to, file=file)

    def fetch_file(self, config: EmailConfig, ref: str, max_bytes: int) -> bytes:
        """Return a file's bytes. Raises also: FileTooLarge."""
        return outbound.fetch_file(self._servers, config, ref, max_bytes)


ADAPTER = EmailAdapter
