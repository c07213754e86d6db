"""GitHub as a chat platform."""

from __future__ import annotations

from typing import ClassVar

from pydantic import BaseModel

from services.adapters.chat.github import inbound, linking, listening, outbound, render
from services.adapters.chat.github.config import GithubConfig
from services.adapters.chat.github.manifest import MANIFEST
from services.domain.ports.chat import HookRequest, LinkIdentity, Manifest, Parsed, Place, Receipt
from services.domain.ports.chat_abilities import Inbox


class GithubAdapter:
    """The port, for apps of the GitHub whose REST API is at `base_url`."""

    manifest: Manifest = MANIFEST
    config_model: type[BaseModel] = GithubConfig
    base_setting: ClassVar[str] = "GITHUB_API_BASE"
    default_base: ClassVar[str] = "https://api.github.com"
    # Whoever follows an issue gets the first words of a comment by mail: these must not be half an answer.
    edit_interval_s: float | None = None

    def __init__(self, base_url: str) -> None:
        self._base_url = base_url.rstrip("/")

    def verify(self, config: GithubConfig, request: HookRequest) -> None:
        """Check the signature. Raises: HookUnverified."""
        inbound.verify(config, request)

    def parse(self, config: GithubConfig, request: HookRequest) -> Parsed:
        """Read one event. Raises: MalformedBody."""
        return inbound.parse(config, request)

    def render(self, text: str) -> list[str]:
        """Turn Markdown into parts of GitHub's."""
        return render.render(text)

    def connect(self, config: GithubConfig, hook_url: str) -> LinkIdentity:
        """Check the app's key, rights and events; its settings name `hook_url`, which is a person's to enter."""
        return linking.connect(self._base_url, config)

    def disconnect(self, config: GithubConfig) -> None:
        """Do nothing: the webhook is the app's own setting."""

    def send(self, config: GithubConfig, place: Place, part: str, *, reply_to: str | None = None) -> Receipt:
        """Write a comment. The place names the thread, so `reply_to` adds nothing."""
        return outbound.send(self._base_url, config, place, part)

    def show_typing(self, config: GithubConfig, place: Place) -> None:
        """Do nothing: what shows that the agent is at work is the reaction of `acknowledge`."""

    def acknowledge(self, config: GithubConfig, place: Place, message_id: str) -> None:
        """React with eyes to what the agent takes up."""
        outbound.react(self._base_url, config, place, message_id, outbound.SEEN)

    def send_with_key(self, config: GithubConfig, place: Place, part: str, key: str) -> Receipt:
        """Write a comment with a key in its hidden first line."""
        return outbound.send(self._base_url, config, place, part, key)

    def find_sent(self, config: GithubConfig, place: Place, key: str) -> Receipt | None:
        """Look for what was written under a key."""
        return outbound.find_sent(self._base_url, config, place, key)

    def edit(self, config: GithubConfig, place: Place, message_id: str, part: str) -> None:
        """Replace a comment's text."""
        outbound.edit(self._base_url, config, place, message_id, part)

    def delete(self, config: GithubConfig, place: Place, message_id: str) -> None:
        """Delete a comment."""
        outbound.delete(self._base_url, config, place, message_id)

    def find_emoji(self, emoji: str) -> str | None:
        """Return GitHub's name of one of its eight reactions."""
        return outbound.find_emoji(emoji)

    def react(self, config: GithubConfig, place: Place, message_id: str, emoji: str) -> None:
        """Add a reaction."""
        outbound.react(self._base_url, config, place, message_id, emoji)

    def check_health(self, config: GithubConfig, hook_url: str) -> str | None:
        """Say what a person has to mend, if anything."""
        return linking.check_health(self._base_url, config, hook_url)

    def wants_listener(self, config: GithubConfig) -> bool:
        """Say yes: GitHub does not repeat a delivery that failed."""
        return True

    def listen(self, config: GithubConfig, inbox: Inbox) -> None:
        """Look for deliveries that failed, and take them as if they had come."""
        listening.listen(self._base_url, config, inbox)


ADAPTER = GithubAdapter
