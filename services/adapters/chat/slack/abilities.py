"""What Slack can do beyond sending text: editing, deleting, reacting, files, buttons, and finding what was sent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from slack_sdk.errors import SlackRequestError
from slack_sdk.models.metadata import Metadata

from services.adapters.chat.emoji import NAMES, read_name
from services.adapters.chat.slack.client import call
from services.adapters.chat.slack.config import SlackConfig
from services.adapters.chat.slack.outbound import post
from services.domain.errors import PlatformAway, PlatformRefused
from services.domain.ports.chat import Place, Receipt
from services.domain.ports.chat_abilities import Button, ButtonLimits, OutgoingFile
from services.kit.emoji import bare

# Slack takes a gigabyte; what we hold in memory is less.
# Source: https://docs.slack.dev/messaging/working-with-files
MAX_FILE_BYTES = 50_000_000
# chat.update is of tier 3: 50 calls a minute. Source: https://docs.slack.dev/apis/web-api/rate-limits
EDIT_INTERVAL_S = 1.2
MAX_CAPTION = 4_000
# Source: https://docs.slack.dev/reference/block-kit/blocks/actions-block, …/block-elements/button-element
BUTTON_LIMITS = ButtonLimits(
    buttons=25,
    label_chars=75,
    value_bytes=2_000,
    source="https://docs.slack.dev/reference/block-kit/block-elements/button-element",
)
SECTION_CHARS = 3_000
EVENT_TYPE = "slipway_delivery"
LOOK_BACK = 50
_FILE_ID = "F"


def send_with_key(base_url: str, config: SlackConfig, place: Place, part: str, key: str) -> Receipt:
    """Post one part under a key of ours, which Slack keeps with it."""
    return post(base_url, config, place, part, metadata=key_metadata(key))


def find_sent(base_url: str, config: SlackConfig, place: Place, key: str) -> Receipt | None:
    """Look for a message under a key among the last ones. An app that may not read there finds nothing."""
    thread_ts = place.thread_id
    try:
        answer = call(
            base_url,
            config,
            lambda client: (
                client.conversations_replies(
                    channel=place.chat_id, ts=thread_ts, limit=LOOK_BACK, include_all_metadata=True
                )
                if thread_ts
                else client.conversations_history(
                    channel=place.chat_id, limit=LOOK_BACK, include_all_metadata=True
                )
            ),
        )
    except PlatformRefused:
        return None
    messages: Any = answer.get("messages") or []
    for message in messages:
        metadata = message.get("metadata") or {}
        if metadata.get("event_type") == EVENT_TYPE and metadata.get("event_payload", {}).get("key") == key:
            return Receipt(message_id=str(message["ts"]))
    return None


def edit(base_url: str, config: SlackConfig, place: Place, message_id: str, part: str) -> None:
    """Replace a message's text; its blocks, and with them its buttons, go away."""
    call(
        base_url,
        config,
        lambda client: client.chat_update(channel=place.chat_id, ts=message_id, text=part, blocks=[]),
    )


def delete(base_url: str, config: SlackConfig, place: Place, message_id: str) -> None:
    """Delete a message; a file by its own id."""
    _call_unless(
        base_url,
        config,
        lambda client: (
            client.files_delete(file=message_id)
            if message_id.startswith(_FILE_ID)
            else client.chat_delete(channel=place.chat_id, ts=message_id)
        ),
        "message_not_found",
        "file_not_found",
        "file_deleted",
    )


def find_emoji(emoji: str) -> str | None:
    """Return Slack's name: of an emoji that we know, or whatever name was given, as workspaces have their own."""
    return NAMES.get(bare(emoji)) or read_name(emoji)


def react(base_url: str, config: SlackConfig, place: Place, message_id: str, emoji: str) -> None:
    """Add a reaction."""
    _call_unless(
        base_url,
        config,
        lambda client: client.reactions_add(channel=place.chat_id, timestamp=message_id, name=emoji),
        "already_reacted",
    )


def send_file(base_url: str, config: SlackConfig, place: Place, file: OutgoingFile, caption: str) -> Receipt:
    """Upload a file and share it, by the calls that replaced `files.upload`."""
    try:
        answer = call(
            base_url,
            config,
            lambda client: client.files_upload_v2(
                filename=file.name,
                title=file.name,
                content=file.data,
                channel=place.chat_id,
                thread_ts=place.thread_id,
                initial_comment=caption or None,
            ),
        )
    except SlackRequestError as error:
        raise PlatformAway(
            "Slack did not take the file.", retry_after_s=5.0, may_have_arrived=False
        ) from error
    files: Any = answer.get("files") or [{}]
    return Receipt(message_id=str(files[0].get("id", "")))


def send_card(
    base_url: str,
    config: SlackConfig,
    place: Place,
    part: str,
    buttons: Sequence[Button],
    key: str | None = None,
) -> Receipt:
    """Post a message with buttons. Its text is in sections as well: with blocks, Slack shows only those."""
    sections: list[dict[str, Any]] = [
        {"type": "section", "text": {"type": "mrkdwn", "text": part[start : start + SECTION_CHARS]}}
        for start in range(0, len(part), SECTION_CHARS)
    ]
    elements = [_element(number, button) for number, button in enumerate(buttons)]
    blocks = [*sections, {"type": "actions", "elements": elements}] if elements else sections
    return post(base_url, config, place, part, blocks=blocks, metadata=key_metadata(key) if key else None)


def answer_press(base_url: str, config: SlackConfig, place: Place, person_id: str, text: str) -> None:
    """Show a refusal to the person alone. An outcome is seen on the card, so that it needs no words here."""
    call(
        base_url,
        config,
        lambda client: client.chat_postEphemeral(
            channel=place.chat_id, user=person_id, text=text, thread_ts=place.thread_id
        ),
    )


def _element(number: int, button: Button) -> dict[str, Any]:
    element: dict[str, Any] = {
        "type": "button",
        "action_id": f"slipway_{number}",
        "text": {"type": "plain_text", "text": button.label},
    }
    return element | ({"url": button.url} if button.url else {"value": button.value})


def key_metadata(key: str) -> Metadata:
    return Metadata(event_type=EVENT_TYPE, event_payload={"key": key})


def _call_unless(base_url: str, config: SlackConfig, make: Any, *answers: str) -> None:
    """Make a call; a refusal that says it is so already is none."""
    try:
        call(base_url, config, make)
    except PlatformRefused as error:
        if error.details.get("answer") not in answers:
            raise
