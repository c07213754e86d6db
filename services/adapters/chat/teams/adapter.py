"""Microsoft Teams as a chat platform."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from pydantic import BaseModel

from services.adapters.chat.bearer import IssuerKeys
from services.adapters.chat.teams import inbound, outbound, places, render, streams
from services.adapters.chat.teams.client import TeamsClient
from services.adapters.chat.teams.config import TeamsConfig
from services.adapters.chat.teams.keys import fetch_keys
from services.adapters.chat.teams.manifest import MANIFEST
from services.domain.errors import PlatformRefused
from services.domain.ports.chat import ChatKind, HookRequest, LinkIdentity, Manifest, Parsed, Place, Receipt
from services.domain.ports.chat_abilities import Button, ButtonLimits, StreamLimits

LOGIN_SETTING, KEYS_SETTING = "TEAMSLOGIN_API_BASE", "TEAMSKEYS_API_BASE"


class TeamsAdapter:
    """The port, for bots that the connector at `base_url` serves."""

    manifest: Manifest = MANIFEST
    config_model: type[BaseModel] = TeamsConfig
    base_setting: ClassVar[str] = "TEAMS_API_BASE"
    default_base: ClassVar[str] = "https://smba.trafficmanager.net"
    other_bases: ClassVar[Mapping[str, str]] = {
        LOGIN_SETTING: "https://login.microsoftonline.com",
        KEYS_SETTING: "https://login.botframework.com",
    }
    edit_interval_s: float = outbound.EDIT_INTERVAL_S
    button_limits: ButtonLimits = outbound.BUTTON_LIMITS

    person_hint: str = places.PERSON_HINT

    def __init__(self, base_url: str, other_bases: Mapping[str, str]) -> None:
        self._client = TeamsClient(base_url, other_bases[LOGIN_SETTING])
        self._keys = IssuerKeys(lambda: fetch_keys(other_bases[KEYS_SETTING]))

    def verify(self, config: TeamsConfig, request: HookRequest) -> None:
        """Check the call's token. Raises: HookUnverified, PlatformAway while the issuer's keys cannot be had."""
        inbound.verify(config, request, self._keys)

    def parse(self, config: TeamsConfig, request: HookRequest) -> Parsed:
        """Read one activity. Raises: MalformedBody."""
        return inbound.parse(config, request, self._client.base_url)

    def render(self, text: str) -> list[str]:
        """Turn Markdown into parts of Teams' markup."""
        return render.render(text)

    def open_direct(self, config: TeamsConfig, person_id: str, known: Sequence[Place]) -> Place:
        """Return the conversation with a person."""
        return outbound.open_direct(self._client, config, person_id, known)

    def connect(self, config: TeamsConfig, hook_url: str) -> LinkIdentity:
        """Check the app's credentials; the Azure Bot's settings name `hook_url`, which no call of the bot's can do."""
        self._client.token(config)
        return LinkIdentity(platform_id=config.own_id, display_name=config.bot_name or config.app_id)

    def disconnect(self, config: TeamsConfig) -> None:
        """Do nothing: Teams has nothing to take back but the bot's own settings."""

    def check_health(self, config: TeamsConfig, hook_url: str) -> str | None:
        """Ask for a fresh token. Whether the Azure Bot names our address cannot be asked."""
        try:
            self._client.token(config, refused=self._client.token(config))
        except PlatformRefused as error:
            return f"{error.message} Enter a new client secret: the old one may have expired."
        return None

    def send(self, config: TeamsConfig, place: Place, part: str, *, reply_to: str | None = None) -> Receipt:
        """Send one part."""
        return outbound.post(self._client, config, place, part, reply_to=reply_to)

    def show_typing(self, config: TeamsConfig, place: Place) -> None:
        """Show that somebody types."""
        outbound.show_typing(self._client, config, place)

    def edit(self, config: TeamsConfig, place: Place, message_id: str, part: str) -> None:
        """Replace a message."""
        outbound.edit(self._client, config, place, message_id, part)

    def delete(self, config: TeamsConfig, place: Place, message_id: str) -> None:
        """Delete a message."""
        outbound.delete(self._client, config, place, message_id)

    def send_card(
        self,
        config: TeamsConfig,
        place: Place,
        part: str,
        buttons: Sequence[Button],
        *,
        reply_to: str | None = None,
    ) -> Receipt:
        """Send a message with buttons."""
        return outbound.post(self._client, config, place, part, reply_to=reply_to, buttons=buttons)

    def answer_press(
        self,
        config: TeamsConfig,
        place: Place,
        press_ref: str,
        person_id: str,
        text: str,
        *,
        is_refusal: bool,
    ) -> None:
        """Say that a press was refused, where all see it: Teams shows nothing to one person alone."""
        if is_refusal:
            outbound.post(self._client, config, place, render.render(text)[0])

    def fetch_file(self, config: TeamsConfig, ref: str, max_bytes: int) -> bytes:
        """Return the bytes of a file that somebody sent."""
        return outbound.fetch_file(self._client, config, ref, max_bytes)

    def stream_limits(self, place: Place, chat_kind: ChatKind) -> StreamLimits | None:
        """Return how a chat with one person takes an answer while it is written."""
        return streams.stream_limits(chat_kind)

    def open_stream(self, config: TeamsConfig, place: Place, *, reply_to: str | None = None) -> str:
        """Begin to show an answer."""
        return streams.open_stream(self._client, config, place)

    def show_stream(self, config: TeamsConfig, place: Place, stream_ref: str, shown: str, text: str) -> None:
        """Show the answer so far."""
        streams.show_stream(self._client, config, place, stream_ref, shown, text)

    def close_stream(
        self, config: TeamsConfig, place: Place, stream_ref: str, shown: str, part: str, key: str
    ) -> Receipt:
        """Leave the answer in place of what was shown."""
        return streams.close_stream(self._client, config, place, stream_ref, part)


ADAPTER = TeamsAdapter
