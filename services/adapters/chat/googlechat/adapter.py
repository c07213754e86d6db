"""Google Chat as a chat platform."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from pydantic import BaseModel

from services.adapters.chat.bearer import IssuerKeys
from services.adapters.chat.googlechat import inbound, outbound, render, verifying
from services.adapters.chat.googlechat.client import GoogleChatClient
from services.adapters.chat.googlechat.config import GoogleChatConfig
from services.adapters.chat.googlechat.keys import CHAT_PATH, GOOGLE_PATH, fetch_keys
from services.adapters.chat.googlechat.manifest import MANIFEST
from services.domain.errors import PlatformRefused
from services.domain.ports.chat import HookRequest, LinkIdentity, Manifest, Parsed, Place, Receipt
from services.domain.ports.chat_abilities import Button, ButtonLimits

TOKEN_SETTING, KEYS_SETTING = "GOOGLECHATTOKEN_API_BASE", "GOOGLECHATKEYS_API_BASE"


class GoogleChatAdapter:
    """The port, for apps of the Chat API at `base_url`."""

    manifest: Manifest = MANIFEST
    config_model: type[BaseModel] = GoogleChatConfig
    base_setting: ClassVar[str] = "GOOGLECHAT_API_BASE"
    default_base: ClassVar[str] = "https://chat.googleapis.com"
    other_bases: ClassVar[Mapping[str, str]] = {
        TOKEN_SETTING: "https://oauth2.googleapis.com",
        KEYS_SETTING: "https://www.googleapis.com",
    }
    edit_interval_s: float = outbound.EDIT_INTERVAL_S
    button_limits: ButtonLimits = outbound.BUTTON_LIMITS

    person_hint: str = outbound.PERSON_HINT

    def __init__(self, base_url: str, other_bases: Mapping[str, str]) -> None:
        self._client = GoogleChatClient(base_url, other_bases[TOKEN_SETTING])
        keys_base = other_bases[KEYS_SETTING]
        self._keys = verifying.GoogleKeys(
            chat=IssuerKeys(lambda: fetch_keys(keys_base, CHAT_PATH)),
            google=IssuerKeys(lambda: fetch_keys(keys_base, GOOGLE_PATH)),
        )

    def verify(self, config: GoogleChatConfig, request: HookRequest) -> None:
        """Check the call's token. Raises: HookUnverified, PlatformAway while the issuer's keys cannot be had."""
        verifying.verify(config, request, self._keys)

    def parse(self, config: GoogleChatConfig, request: HookRequest) -> Parsed:
        """Read one event. Raises: MalformedBody."""
        return inbound.parse(config, request)

    def render(self, text: str) -> list[str]:
        """Turn Markdown into parts of Google Chat's text."""
        return render.render(text)

    def open_direct(self, config: GoogleChatConfig, person_id: str, known: Sequence[Place]) -> Place:
        """Return the space of a person and the app."""
        return outbound.find_direct(self._client, config, person_id)

    def connect(self, config: GoogleChatConfig, hook_url: str) -> LinkIdentity:
        """Check the service account's key; the app's settings name `hook_url`, which no call can do."""
        self._client.token(config)
        return LinkIdentity(
            platform_id=config.bot_id or str(config.key["client_email"]),
            display_name=config.bot_name or str(config.key["client_email"]),
        )

    def disconnect(self, config: GoogleChatConfig) -> None:
        """Do nothing: Google Chat has nothing to take back but the app's own settings."""

    def check_health(self, config: GoogleChatConfig, hook_url: str) -> str | None:
        """Ask for a fresh token, and for the spaces with it. The app's settings cannot be read."""
        try:
            self._client.token(config, refused=self._client.token(config))
            self._client.call(config, "GET", "spaces", params={"pageSize": "1"})
        except PlatformRefused as error:
            return f"{error.message} Look at the service account's keys, and whether the Chat API is switched on."
        if config.endpoint_url and config.endpoint_url != hook_url:
            return "The HTTP endpoint URL is not this link's address."
        return None

    def send(
        self, config: GoogleChatConfig, place: Place, part: str, *, reply_to: str | None = None
    ) -> Receipt:
        """Send one part. Google answers in threads, which the place names, so `reply_to` adds nothing."""
        return outbound.post(self._client, config, place, part)

    def show_typing(self, config: GoogleChatConfig, place: Place) -> None:
        """Do nothing: Google Chat has no sign for it."""

    def send_with_key(self, config: GoogleChatConfig, place: Place, part: str, key: str) -> Receipt:
        """Send one part under a key."""
        return outbound.post(self._client, config, place, part, key=key)

    def send_card_with_key(
        self, config: GoogleChatConfig, place: Place, part: str, buttons: Sequence[Button], key: str
    ) -> Receipt:
        """Send a message with buttons under a key."""
        return outbound.post(self._client, config, place, part, key=key, buttons=buttons)

    def find_sent(self, config: GoogleChatConfig, place: Place, key: str) -> Receipt | None:
        """Look for what was sent under a key."""
        return outbound.find(self._client, config, place, key)

    def edit(self, config: GoogleChatConfig, place: Place, message_id: str, part: str) -> None:
        """Replace a message's text."""
        outbound.edit(self._client, config, message_id, part)

    def delete(self, config: GoogleChatConfig, place: Place, message_id: str) -> None:
        """Delete a message."""
        outbound.delete(self._client, config, message_id)

    def send_card(
        self,
        config: GoogleChatConfig,
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
        config: GoogleChatConfig,
        place: Place,
        press_ref: str,
        person_id: str,
        text: str,
        *,
        is_refusal: bool,
    ) -> None:
        """Say that a press was refused, for whoever pressed alone to see."""
        if is_refusal:
            outbound.tell_privately(self._client, config, place, person_id, render.render(text)[0])

    def fetch_file(self, config: GoogleChatConfig, ref: str, max_bytes: int) -> bytes:
        """Return the bytes of what somebody uploaded."""
        if not ref:
            raise PlatformRefused("The file is in Google Drive, where a Chat app cannot read it.")
        return self._client.download(config, ref, max_bytes)


ADAPTER = GoogleChatAdapter
