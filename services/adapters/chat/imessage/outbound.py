"""Sending by a BlueBubbles server.

`tempGuid` is known to the server while a message is on its way, and forgotten then. It is made from what is sent, so
that a second attempt is refused while the first is still at work. Whether that arrived is looked up by its words.
"""

from __future__ import annotations

import hashlib
import re
import uuid
from datetime import datetime
from typing import Any
from urllib.parse import quote

from services.adapters.chat.emoji import emoji_named
from services.adapters.chat.imessage.client import BlueBubblesClient
from services.adapters.chat.imessage.config import IMessageConfig
from services.domain.errors import PlatformRefused
from services.domain.ports.chat import Place, Receipt
from services.domain.ports.chat_abilities import OutgoingFile
from services.kit.emoji import bare

# Apple takes 100 MB; what we hold in memory is less.
MAX_FILE_BYTES = 50_000_000
MAX_CAPTION = 4_000
LOOK_BACK = 50
_CHAT = re.compile(r"[A-Za-z]{1,20};[-+];[^;\s]{1,180}")
# The six that every version knows.
_REACTIONS = {"❤": "love", "👍": "like", "👎": "dislike", "🤣": "laugh", "‼": "emphasize", "❓": "question"}


def send(
    client: BlueBubblesClient, config: IMessageConfig, place: Place, part: str, reply_to: str | None
) -> Receipt:
    """Send one part; as a reply where the server can."""
    body: dict[str, Any] = _target(config, place, part, reply_to or "") | {"message": part}
    if reply_to and config.has_private_api:
        body |= {"selectedMessageGuid": reply_to, "partIndex": 0}
    return _receipt(client.call(config, "POST", "message/text", json=body))


def list_sent(
    client: BlueBubblesClient, config: IMessageConfig, place: Place, part: str, since: datetime
) -> list[str]:
    """List our messages that say just this.

    Source: https://docs.bluebubbles.app/server/developer-guides/rest-api-and-webhooks
    """
    after_ms = int(since.timestamp() * 1_000)
    body = {"chatGuid": _chat(place), "after": after_ms, "offset": 0, "limit": LOOK_BACK, "sort": "ASC"}
    found = client.call(config, "POST", "message/query", json=body)
    return [
        str(message["guid"])
        for message in found or []
        if message.get("isFromMe") and str(message.get("text") or "").strip() == part.strip()
    ]


def send_file(
    client: BlueBubblesClient, config: IMessageConfig, place: Place, file: OutgoingFile, caption: str
) -> Receipt:
    """Send a file, and its caption before it, which iMessage has no other place for."""
    fields = _target(config, place, file.name, hashlib.sha256(file.data).hexdigest())
    if caption:
        send(client, config, place, caption, None)
    upload = {"attachment": (file.name, file.data, file.content_type)}
    made = client.call(config, "POST", "message/attachment", data=fields | {"name": file.name}, files=upload)
    return _receipt(made)


def find_emoji(emoji: str) -> str | None:
    """Return Apple's name of a reaction."""
    return _REACTIONS.get(bare(emoji)) or _REACTIONS.get(emoji_named(emoji) or "")


def react(
    client: BlueBubblesClient, config: IMessageConfig, place: Place, message_id: str, reaction: str
) -> None:
    """Add a reaction. The same again replaces itself."""
    if not config.has_private_api:
        raise PlatformRefused("Reactions need the server's Private API.")
    body = {
        "chatGuid": _chat(place),
        "selectedMessageGuid": message_id,
        "reaction": reaction,
        "partIndex": 0,
    }
    client.call(config, "POST", "message/react", json=body)


def show_typing(client: BlueBubblesClient, config: IMessageConfig, place: Place) -> None:
    """Show that somebody types, where the server can."""
    if config.has_private_api:
        client.call(config, "POST", f"chat/{quote(_chat(place), safe='')}/typing")


def _target(config: IMessageConfig, place: Place, *sent: str) -> dict[str, str]:
    chat = _chat(place)
    return {
        "chatGuid": chat,
        "tempGuid": f"temp-{uuid.uuid5(uuid.NAMESPACE_OID, '/'.join((chat, *sent)))}",
        "method": "private-api" if config.has_private_api else "apple-script",
    }


def _chat(place: Place) -> str:
    if not _CHAT.fullmatch(place.chat_id):
        raise PlatformRefused("This is no chat of iMessage's.")
    return place.chat_id


def _receipt(made: Any) -> Receipt:
    return Receipt(message_id=str(made.get("guid", "")) if isinstance(made, dict) else "")
