"""Sending to Slack."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from slack_sdk.models.metadata import Metadata

from services.adapters.chat.slack.client import call
from services.adapters.chat.slack.config import SlackConfig
from services.domain.errors import Permanent, Temporary
from services.domain.ports.chat import Place, Receipt

TYPING_STATUS = "is thinking…"


def send(base_url: str, config: SlackConfig, place: Place, part: str) -> Receipt:
    """Post one part of mrkdwn, in the thread if there is one."""
    return post(base_url, config, place, part)


def post(
    base_url: str,
    config: SlackConfig,
    place: Place,
    part: str,
    *,
    blocks: Sequence[dict[str, Any]] | None = None,
    metadata: Metadata | None = None,
) -> Receipt:
    """Post a message, with blocks and metadata if it has them."""
    answer = call(
        base_url,
        config,
        lambda client: client.chat_postMessage(
            channel=place.chat_id,
            text=part,
            thread_ts=place.thread_id,
            mrkdwn=True,
            blocks=blocks,
            metadata=metadata,
            unfurl_links=False,
            unfurl_media=False,
        ),
    )
    return Receipt(message_id=str(answer.get("ts", "")))


def show_typing(base_url: str, config: SlackConfig, place: Place) -> None:
    """Show a status in the thread. Apps without Slack's agent features may not, and nothing hangs on it."""
    thread_ts = place.thread_id
    if thread_ts is None:
        return
    with suppress(Temporary, Permanent):
        call(
            base_url,
            config,
            lambda client: client.assistant_threads_setStatus(
                channel_id=place.chat_id, thread_ts=thread_ts, status=TYPING_STATUS
            ),
        )
