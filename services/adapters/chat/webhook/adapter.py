"""Webhooks as a chat platform."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import ClassVar

from pydantic import BaseModel

from services.adapters.chat.webhook import client, inbound, outbound, render, signing
from services.adapters.chat.webhook.config import WebhookConfig
from services.adapters.chat.webhook.manifest import MANIFEST
from services.domain.ports.chat import HookRequest, LinkIdentity, Manifest, Parsed, Place, Receipt
from services.domain.ports.chat_abilities import Button, ButtonLimits


class WebhookAdapter:
    """The port, for receivers at their own addresses, or all at `base_url` if there is one."""

    manifest: Manifest = MANIFEST
    config_model: type[BaseModel] = WebhookConfig
    base_setting: ClassVar[str] = "WEBHOOK_API_BASE"
    default_base: ClassVar[str] = ""
    edit_interval_s: float = outbound.EDIT_INTERVAL_S
    button_limits: ButtonLimits = outbound.BUTTON_LIMITS

    def __init__(self, base_url: str) -> None:
        self._base_url = base_url

    def verify(self, config: WebhookConfig, request: HookRequest) -> None:
        """Check the signature and its time. Raises: HookUnverified."""
        signing.verify(config.key, request)

    def parse(self, config: WebhookConfig, request: HookRequest) -> Parsed:
        """Read one event. Raises: MalformedBody."""
        return inbound.parse(config, request)

    def render(self, text: str) -> list[str]:
        """Cut Markdown into parts."""
        return render.render(text)

    def connect(self, config: WebhookConfig, hook_url: str) -> LinkIdentity:
        """Tell the receiver where to post to."""
        return outbound.connect(self._base_url, config, hook_url)

    def disconnect(self, config: WebhookConfig) -> None:
        """Tell the receiver that the link is gone."""
        outbound.disconnect(self._base_url, config)

    def send(self, config: WebhookConfig, place: Place, part: str, *, reply_to: str | None = None) -> Receipt:
        """Post one part under an id of its own."""
        key = f"msg_{uuid.uuid4().hex}"
        return outbound.send(self._base_url, config, place, part, reply_to=reply_to, key=key)

    def send_with_key(self, config: WebhookConfig, place: Place, part: str, key: str) -> Receipt:
        """Post one part under a key, by which the receiver knows a repeat."""
        return outbound.send(self._base_url, config, place, part, key=key)

    def send_card(
        self,
        config: WebhookConfig,
        place: Place,
        part: str,
        buttons: Sequence[Button],
        *,
        reply_to: str | None = None,
    ) -> Receipt:
        """Post a message with buttons."""
        key = f"msg_{uuid.uuid4().hex}"
        return outbound.send(self._base_url, config, place, part, reply_to=reply_to, buttons=buttons, key=key)

    def send_card_with_key(
        self, config: WebhookConfig, place: Place, part: str, buttons: Sequence[Button], key: str
    ) -> Receipt:
        """Post a message with buttons under a key."""
        return outbound.send(self._base_url, config, place, part, buttons=buttons, key=key)

    def find_sent(self, config: WebhookConfig, place: Place, key: str) -> Receipt | None:
        """Ask the receiver for what it took under a key."""
        return outbound.find_sent(self._base_url, config, place, key)

    def edit(self, config: WebhookConfig, place: Place, message_id: str, part: str) -> None:
        """Post a message's new text."""
        outbound.change(self._base_url, config, place, message_id, part)

    def delete(self, config: WebhookConfig, place: Place, message_id: str) -> None:
        """Post that a message is gone."""
        outbound.change(self._base_url, config, place, message_id, None)

    def answer_press(
        self,
        config: WebhookConfig,
        place: Place,
        press_ref: str,
        person_id: str,
        text: str,
        *,
        is_refusal: bool,
    ) -> None:
        """Post what came of a press."""
        outbound.answer_press(
            self._base_url, config, place, press_ref, person_id, text, is_refusal=is_refusal
        )

    def show_typing(self, config: WebhookConfig, place: Place) -> None:
        """Do nothing: receivers are told of messages alone."""

    def check_health(self, config: WebhookConfig, hook_url: str) -> str | None:
        """Ask whether the receiver is there and takes the signature."""
        return outbound.check_health(self._base_url, config)

    def fetch_file(self, config: WebhookConfig, ref: str, max_bytes: int) -> bytes:
        """Return a file's bytes from the receiver's own host. Raises also: FileTooLarge."""
        return client.get(self._base_url, config, ref, max_bytes)


ADAPTER = WebhookAdapter
