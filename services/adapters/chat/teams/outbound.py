"""Sending to Teams, and changing what was sent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote, urlsplit

from services.adapters.chat.adaptive_cards import card_attachment
from services.adapters.chat.calls import download
from services.adapters.chat.teams.card_text import card_text
from services.adapters.chat.teams.client import TeamsClient
from services.adapters.chat.teams.config import MULTI_TENANT, TeamsConfig
from services.adapters.chat.teams.failures import LABEL, translate
from services.adapters.chat.teams.places import conversation_url, region_of
from services.domain.errors import PlatformRefused
from services.domain.ports.chat import Place, Receipt
from services.domain.ports.chat_abilities import Button, ButtonLimits

# One thread takes 60 calls in 30 s from one bot; what else is sent there meanwhile needs some of them.
# Source: https://learn.microsoft.com/microsoftteams/platform/bots/how-to/rate-limit
EDIT_INTERVAL_S = 2.0
CARD_VERSION = "1.5"
# Teams shows six actions and hides the others behind a menu.
BUTTON_LIMITS = ButtonLimits(
    buttons=6,
    label_chars=60,
    value_bytes=2_000,
    source="https://learn.microsoft.com/microsoftteams/platform/task-modules-and-cards/cards/cards-reference",
)
# Files that people attach in a chat are kept in OneDrive, at an address that needs no token for a while.
_FILE_HOSTS = (".sharepoint.com", ".sharepoint.us", ".sharepoint.cn")


def post(
    client: TeamsClient,
    config: TeamsConfig,
    place: Place,
    part: str,
    *,
    reply_to: str | None = None,
    buttons: Sequence[Button] = (),
) -> Receipt:
    """Post one part, or a card of it when there are buttons: Teams makes two messages of a text with a card."""
    activity: dict[str, Any] = {"type": "message"} if buttons else _message(part)
    if reply_to:
        activity["replyToId"] = reply_to
    if buttons:
        card = card_attachment(buttons, version=CARD_VERSION, text=card_text(part))
        activity["attachments"] = [card]
    answer = client.call(config, "POST", f"{conversation_url(client.base_url, place)}/activities", activity)
    return Receipt(message_id=str(answer.get("id", "")))


def open_direct(client: TeamsClient, config: TeamsConfig, person_id: str, known: Sequence[Place]) -> Place:
    """Return the conversation with a person of the app's tenant: Teams gives the same one each time.

    Source: https://learn.microsoft.com/microsoftteams/platform/bots/how-to/conversations/send-proactive-messages
    """
    if config.tenant_id == MULTI_TENANT:
        raise PlatformRefused(
            "The link names no tenant. Enter its Directory (tenant) ID to begin chats with people."
        )
    region = region_of(known)
    body = {
        "bot": {"id": config.own_id},
        "members": [{"id": person_id}],
        "isGroup": False,
        "tenantId": config.tenant_id,
        "channelData": {"tenant": {"id": config.tenant_id}},
    }
    made = client.call(
        config, "POST", f"{client.base_url}/{region}/v3/conversations".replace("//v3", "/v3"), body
    )
    return Place(f"{region}/{made.get('id', '')}")


def show_typing(client: TeamsClient, config: TeamsConfig, place: Place) -> None:
    """Show that somebody types."""
    client.call(config, "POST", f"{conversation_url(client.base_url, place)}/activities", {"type": "typing"})


def edit(client: TeamsClient, config: TeamsConfig, place: Place, message_id: str, part: str) -> None:
    """Replace a message; its card goes away, as the new one has none."""
    client.call(config, "PUT", _message_url(client, place, message_id), _message(part) | {"id": message_id})


def delete(client: TeamsClient, config: TeamsConfig, place: Place, message_id: str) -> None:
    """Delete a message; one that is gone is as good."""
    try:
        client.call(config, "DELETE", _message_url(client, place, message_id))
    except PlatformRefused as error:
        if error.details.get("answer") not in ("ActivityNotFoundInConversation", "404"):
            raise


def fetch_file(client: TeamsClient, config: TeamsConfig, ref: str, max_bytes: int) -> bytes:
    """Return a file's bytes, from the connector or from OneDrive and from nowhere else. Raises also: FileTooLarge."""
    if ref.startswith(f"{client.base_url}/"):
        return client.download(config, ref, max_bytes)
    address = urlsplit(ref)
    if address.scheme != "https" or not (address.hostname or "").endswith(_FILE_HOSTS):
        raise PlatformRefused("The file is at an address that is not of Microsoft's.")
    return download(LABEL, ref, max_bytes=max_bytes, translate=translate)


def _message(part: str) -> dict[str, Any]:
    return {"type": "message", "text": part, "textFormat": "xml"}


def _message_url(client: TeamsClient, place: Place, message_id: str) -> str:
    return f"{conversation_url(client.base_url, place)}/activities/{quote(message_id, safe='')}"
