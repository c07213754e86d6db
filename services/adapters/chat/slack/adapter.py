"""Slack as a chat platform."""

from __future__ import annotations

from typing import ClassVar

from pydantic import BaseModel

from services.adapters.chat.slack import inbound, linking, outbound, render
from services.adapters.chat.slack.config import SlackConfig
from services.adapters.chat.slack.manifest import MANIFEST
from services.domain.ports.chat import HookRequest, LinkIdentity, Manifest, Parsed, Place, Receipt


class SlackAdapter:
    """The port, for apps of the workspace whose Web API is at `base_url`."""

    manifest: Manifest = MANIFEST
    config_model: type[BaseModel] = SlackConfig
    base_setting: ClassVar[str] = "SLACK_API_BASE"
    default_base: ClassVar[str] = "https://slack.com/api/"

    def __init__(self, base_url: str) -> None:
        self._base_url = base_url

    def verify(self, config: SlackConfig, request: HookRequest) -> None:
        """Check the signature and its time. Raises: HookUnverified."""
        inbound.verify(config, request)

    def parse(self, config: SlackConfig, request: HookRequest) -> Parsed:
        """Read one event. Raises: MalformedBody."""
        return inbound.parse(config, request)

    def render(self, text: str) -> list[str]:
        """Turn Markdown into parts of mrkdwn."""
        return render.render(text)

    def connect(self, config: SlackConfig, hook_url: str) -> LinkIdentity:
        """Check the token; the app's settings name `hook_url`, which no call can do."""
        return linking.connect(self._base_url, config)

    def disconnect(self, config: SlackConfig) -> None:
        """Do nothing: Slack has nothing to take back but the app's own settings."""

    def send(self, config: SlackConfig, place: Place, part: str, *, reply_to: str | None = None) -> Receipt:
        """Send one part. Slack answers in threads, which the place names, so `reply_to` adds nothing."""
        return outbound.send(self._base_url, config, place, part)

    def show_typing(self, config: SlackConfig, place: Place) -> None:
        """Show that the agent is at work, where there is a thread."""
        outbound.show_typing(self._base_url, config, place)


ADAPTER = SlackAdapter
