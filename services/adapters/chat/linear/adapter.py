"""Linear as a chat platform."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from pydantic import BaseModel

from services.adapters.chat.linear import inbound, linking, outbound, render
from services.adapters.chat.linear.config import LinearConfig
from services.adapters.chat.linear.manifest import MANIFEST
from services.adapters.chat.linear.places import session_of
from services.domain.ports.chat import HookRequest, LinkIdentity, Manifest, Parsed, Place, Receipt
from services.domain.ports.chat_abilities import Button, ButtonLimits


class LinearAdapter:
    """The port, for apps of the Linear whose API is at `base_url`."""

    manifest: Manifest = MANIFEST
    config_model: type[BaseModel] = LinearConfig
    base_setting: ClassVar[str] = "LINEAR_API_BASE"
    default_base: ClassVar[str] = "https://api.linear.app"
    # A session's response ends its work, and cannot be changed.
    edit_interval_s: float | None = None
    button_limits: ButtonLimits = outbound.BUTTON_LIMITS

    def __init__(self, base_url: str) -> None:
        self._base_url = base_url.rstrip("/")

    def verify(self, config: LinearConfig, request: HookRequest) -> None:
        """Check the signature and the time. Raises: HookUnverified."""
        inbound.verify(config, request)

    def parse(self, config: LinearConfig, request: HookRequest) -> Parsed:
        """Read one event. Raises: MalformedBody."""
        return inbound.parse(config, request)

    def render(self, text: str) -> list[str]:
        """Turn Markdown into parts of Linear's."""
        return render.render(text)

    def connect(self, config: LinearConfig, hook_url: str) -> LinkIdentity:
        """Check the secret or token; the app's settings name `hook_url`, which no call can do."""
        return linking.connect(self._base_url, config)

    def disconnect(self, config: LinearConfig) -> None:
        """Do nothing: the webhook is the app's own setting."""

    def send(self, config: LinearConfig, place: Place, part: str, *, reply_to: str | None = None) -> Receipt:
        """Say one part. The place names the thread, so `reply_to` adds nothing."""
        return outbound.send(self._base_url, config, place, part)

    def show_typing(self, config: LinearConfig, place: Place) -> None:
        """Show in a session that the agent is still at work; elsewhere Linear has nothing for it."""
        session_id = session_of(place)
        if session_id is not None:
            outbound.think(self._base_url, config, session_id, outbound.AT_WORK)

    def acknowledge(self, config: LinearConfig, place: Place, message_id: str) -> None:
        """Answer a session within its ten seconds."""
        outbound.acknowledge(self._base_url, config, place, message_id)

    def send_with_key(self, config: LinearConfig, place: Place, part: str, key: str) -> Receipt:
        """Say one part under a key; a repeat makes nothing new."""
        return outbound.send(self._base_url, config, place, part, key)

    def find_sent(self, config: LinearConfig, place: Place, key: str) -> Receipt | None:
        """Look for what was said under a key."""
        return outbound.find_sent(self._base_url, config, place, key)

    def edit(self, config: LinearConfig, place: Place, message_id: str, part: str) -> None:
        """Replace a comment's text."""
        outbound.edit(self._base_url, config, place, message_id, part)

    def delete(self, config: LinearConfig, place: Place, message_id: str) -> None:
        """Delete a comment."""
        outbound.delete(self._base_url, config, place, message_id)

    def find_emoji(self, emoji: str) -> str | None:
        """Return Linear's name of an emoji."""
        return outbound.find_emoji(emoji)

    def react(self, config: LinearConfig, place: Place, message_id: str, emoji: str) -> None:
        """Add a reaction."""
        outbound.react(self._base_url, config, place, message_id, emoji)

    def send_card(
        self,
        config: LinearConfig,
        place: Place,
        part: str,
        buttons: Sequence[Button],
        *,
        reply_to: str | None = None,
    ) -> Receipt:
        """Ask with options to choose from."""
        return outbound.send_card(self._base_url, config, place, part, buttons)

    def send_card_with_key(
        self, config: LinearConfig, place: Place, part: str, buttons: Sequence[Button], key: str
    ) -> Receipt:
        """Ask with options under a key."""
        return outbound.send_card(self._base_url, config, place, part, buttons, key)

    def answer_press(
        self,
        config: LinearConfig,
        place: Place,
        press_ref: str,
        person_id: str,
        text: str,
        *,
        is_refusal: bool,
    ) -> None:
        """Tell whoever chose that it was refused; what came of it otherwise is seen from the agent's going on."""
        session_id = session_of(place)
        if is_refusal and session_id is not None:
            outbound.say_refused(self._base_url, config, session_id, text)

    def check_health(self, config: LinearConfig, hook_url: str) -> str | None:
        """Say what a person has to mend, if anything."""
        return linking.check_health(self._base_url, config)


ADAPTER = LinearAdapter
