"""Slack as a chat platform."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from pydantic import BaseModel

from services.adapters.chat.slack import (
    abilities,
    files,
    inbound,
    linking,
    outbound,
    render,
    socket_mode,
    streaming,
)
from services.adapters.chat.slack.config import SlackConfig
from services.adapters.chat.slack.manifest import MANIFEST
from services.domain.ports.chat import ChatKind, HookRequest, LinkIdentity, Manifest, Parsed, Place, Receipt
from services.domain.ports.chat_abilities import Button, ButtonLimits, Inbox, OutgoingFile, StreamLimits


class SlackAdapter:
    """The port, for apps of the workspace whose Web API is at `base_url`."""

    manifest: Manifest = MANIFEST
    config_model: type[BaseModel] = SlackConfig
    base_setting: ClassVar[str] = "SLACK_API_BASE"
    default_base: ClassVar[str] = "https://slack.com/api/"
    edit_interval_s: float = abilities.EDIT_INTERVAL_S
    max_file_bytes: int = abilities.MAX_FILE_BYTES
    max_caption: int = abilities.MAX_CAPTION
    button_limits: ButtonLimits = abilities.BUTTON_LIMITS

    person_hint: str = linking.PERSON_HINT

    def __init__(self, base_url: str) -> None:
        self._base_url = base_url

    def verify(self, config: SlackConfig, request: HookRequest) -> None:
        """Check the signature and its time. Raises: HookUnverified."""
        inbound.verify(config, request)

    def parse(self, config: SlackConfig, request: HookRequest) -> Parsed:
        """Read one event. Raises: MalformedBody."""
        return inbound.parse(config, request)

    def open_direct(self, config: SlackConfig, person_id: str, known: Sequence[Place]) -> Place:
        """Return the direct message with a person."""
        return linking.open_direct(self._base_url, config, person_id)

    def wants_listener(self, config: SlackConfig) -> bool:
        """Listen to apps in Socket Mode."""
        return config.app_token is not None

    def listen(self, config: SlackConfig, inbox: Inbox) -> None:
        """Hear an app's events over a connection of ours."""
        socket_mode.listen(self._base_url, config, inbox)

    def render(self, text: str) -> list[str]:
        """Turn Markdown into parts of mrkdwn."""
        return render.render(text)

    def connect(self, config: SlackConfig, hook_url: str) -> LinkIdentity:
        """Check the tokens; the app's settings name `hook_url`, which no call can do."""
        return linking.connect(self._base_url, config)

    def disconnect(self, config: SlackConfig) -> None:
        """Do nothing: Slack has nothing to take back but the app's own settings."""

    def send(self, config: SlackConfig, place: Place, part: str, *, reply_to: str | None = None) -> Receipt:
        """Send one part. Slack answers in threads, which the place names, so `reply_to` adds nothing."""
        return outbound.send(self._base_url, config, place, part)

    def show_typing(self, config: SlackConfig, place: Place) -> None:
        """Show that the agent is at work, where there is a thread."""
        outbound.show_typing(self._base_url, config, place)

    def send_with_key(self, config: SlackConfig, place: Place, part: str, key: str) -> Receipt:
        """Send one part under a key."""
        return abilities.send_with_key(self._base_url, config, place, part, key)

    def find_sent(self, config: SlackConfig, place: Place, key: str) -> Receipt | None:
        """Look for what was sent under a key."""
        return abilities.find_sent(self._base_url, config, place, key)

    def edit(self, config: SlackConfig, place: Place, message_id: str, part: str) -> None:
        """Replace a message's text."""
        abilities.edit(self._base_url, config, place, message_id, part)

    def delete(self, config: SlackConfig, place: Place, message_id: str) -> None:
        """Delete a message."""
        abilities.delete(self._base_url, config, place, message_id)

    def find_emoji(self, emoji: str) -> str | None:
        """Return Slack's name of an emoji."""
        return abilities.find_emoji(emoji)

    def react(self, config: SlackConfig, place: Place, message_id: str, emoji: str) -> None:
        """Add a reaction."""
        abilities.react(self._base_url, config, place, message_id, emoji)

    def send_file(
        self,
        config: SlackConfig,
        place: Place,
        file: OutgoingFile,
        caption: str,
        *,
        reply_to: str | None = None,
    ) -> Receipt:
        """Upload a file."""
        return abilities.send_file(self._base_url, config, place, file, caption)

    def send_card(
        self,
        config: SlackConfig,
        place: Place,
        part: str,
        buttons: Sequence[Button],
        *,
        reply_to: str | None = None,
    ) -> Receipt:
        """Send a message with buttons."""
        return abilities.send_card(self._base_url, config, place, part, buttons)

    def send_card_with_key(
        self, config: SlackConfig, place: Place, part: str, buttons: Sequence[Button], key: str
    ) -> Receipt:
        """Send a message with buttons under a key."""
        return abilities.send_card(self._base_url, config, place, part, buttons, key)

    def answer_press(
        self,
        config: SlackConfig,
        place: Place,
        press_ref: str,
        person_id: str,
        text: str,
        *,
        is_refusal: bool,
    ) -> None:
        """Tell whoever pressed that it was refused; what came of it otherwise is seen on the card."""
        if is_refusal:
            abilities.answer_press(self._base_url, config, place, person_id, text)

    def stream_limits(self, place: Place, chat_kind: ChatKind) -> StreamLimits | None:
        """Return how threads take streams; nothing else does."""
        return streaming.stream_limits(place)

    def open_stream(self, config: SlackConfig, place: Place, *, reply_to: str | None = None) -> str:
        """Begin a stream in a thread, for whoever is answered."""
        return streaming.open_stream(self._base_url, config, place, reply_to)

    def show_stream(self, config: SlackConfig, place: Place, stream_ref: str, shown: str, text: str) -> None:
        """Add what is new to a stream."""
        streaming.show_stream(self._base_url, config, place, stream_ref, shown, text)

    def close_stream(
        self, config: SlackConfig, place: Place, stream_ref: str, shown: str, part: str, key: str
    ) -> Receipt:
        """Leave the true text in a stream's place; the same again is no error."""
        return streaming.close_stream(self._base_url, config, place, stream_ref, part, key)

    def check_health(self, config: SlackConfig, hook_url: str) -> str | None:
        """Say what is wrong with the token; where events go, Slack tells nobody."""
        return linking.check_health(self._base_url, config)

    def fetch_file(self, config: SlackConfig, ref: str, max_bytes: int) -> bytes:
        """Return a file's bytes. Raises also: FileTooLarge."""
        return files.fetch_file(self._base_url, config, ref, max_bytes)


ADAPTER = SlackAdapter
