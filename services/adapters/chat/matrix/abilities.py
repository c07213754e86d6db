"""What Matrix can do beyond sending text: editing, deleting, reacting, files out and in."""

from __future__ import annotations

import re
from typing import Any
from uuid import uuid4

from services.adapters.chat.emoji import any_emoji
from services.adapters.chat.html_markup import plain
from services.adapters.chat.matrix.client import Conversation, Homeserver, path
from services.adapters.chat.matrix.config import MatrixConfig
from services.adapters.chat.matrix.outbound import (
    find_rules,
    post,
    post_by,
    relation,
    text_content,
    transaction_id,
)
from services.adapters.chat.matrix.sealed_files import open_file, seal_file
from services.domain.errors import PlatformRefused
from services.domain.ports.chat import Place, Receipt
from services.domain.ports.chat_abilities import OutgoingFile

# Homeservers say theirs at /media/config; what we hold in memory is less than most of them take.
MAX_FILE_BYTES = 50_000_000
MAX_CAPTION = 11_000
# Synapse lets an account send 0.2 events a second after a burst of ten (rc_message).
# Source: https://element-hq.github.io/synapse/latest/usage/configuration/config_documentation.html#rc_message
EDIT_INTERVAL_S = 5.0
_MXC = re.compile(r"mxc://([^/?#\s]{1,255})/([A-Za-z0-9_-]{1,255})(?:#([A-Za-z0-9_+/.-]{1,300}))?")
_KINDS = {"image": "m.image", "audio": "m.audio", "video": "m.video"}


def edit(homeserver: Homeserver, config: MatrixConfig, place: Place, message_id: str, part: str) -> None:
    """Replace a message's text."""
    new = text_content(part)
    content = new | {
        "body": f"* {new['body']}",
        "formatted_body": f"* {part}",
        "m.new_content": new,
        "m.relates_to": {"rel_type": "m.replace", "event_id": message_id},
    }

    async def replace(talk: Conversation) -> None:
        # A server takes an edit of a deleted event and shows nothing.
        event = await talk.get(path("rooms", place.chat_id, "event", message_id))
        if not event.get("content"):
            raise PlatformRefused("The message was deleted.", answer="redacted")
        await post(talk, place.chat_id, content, uuid4().hex)

    homeserver.run(config, replace)


def delete(homeserver: Homeserver, config: MatrixConfig, place: Place, message_id: str) -> None:
    """Redact a message."""
    address = path("rooms", place.chat_id, "redact", message_id, transaction_id(f"delete {message_id}"))
    try:
        homeserver.run(config, lambda talk: talk.put(address, {}))
    except PlatformRefused as error:
        if error.details.get("answer") != "M_NOT_FOUND":
            raise


def find_emoji(emoji: str) -> str | None:
    """Return the emoji itself: Matrix takes each."""
    return any_emoji(emoji)


def react(homeserver: Homeserver, config: MatrixConfig, place: Place, message_id: str, emoji: str) -> None:
    """Add a reaction."""
    content = {"m.relates_to": {"rel_type": "m.annotation", "event_id": message_id, "key": emoji}}
    address = path("rooms", place.chat_id, "send", "m.reaction", uuid4().hex)
    try:
        homeserver.run(config, lambda talk: talk.put(address, content))
    except PlatformRefused as error:
        if error.details.get("answer") != "M_DUPLICATE_ANNOTATION":
            raise


def send_file(
    homeserver: Homeserver,
    config: MatrixConfig,
    place: Place,
    file: OutgoingFile,
    caption: str,
    *,
    reply_to: str | None = None,
) -> Receipt:
    """Upload a file and show it in the room."""

    async def send(talk: Conversation) -> Receipt:
        rules = await find_rules(talk, place.chat_id)
        content: dict[str, Any] = {
            "msgtype": _KINDS.get(file.content_type.partition("/")[0], "m.file"),
            "filename": file.name,
            "body": plain(caption) or file.name,
            **await _uploaded(talk, file, is_sealed=rules is not None),
            "info": {"mimetype": file.content_type, "size": len(file.data)},
            "m.mentions": {},
        }
        if caption:
            content |= {"format": "org.matrix.custom.html", "formatted_body": caption}
        return await post_by(rules, talk, place.chat_id, content | relation(place, reply_to), uuid4().hex)

    return homeserver.run(config, send)


async def _uploaded(talk: Conversation, file: OutgoingFile, *, is_sealed: bool) -> dict[str, Any]:
    """Upload a file, and return what its event says of where it is."""
    if not is_sealed:
        return {"url": await talk.upload(file.data, file.content_type, file.name)}
    sealed, opening = seal_file(file.data)
    return {"file": opening | {"url": await talk.upload(sealed, "application/octet-stream", "sealed")}}


def fetch_file(homeserver: Homeserver, config: MatrixConfig, ref: str, max_bytes: int) -> bytes:
    """Return a file's bytes; from an older server without authentication of media by the older address.

    Source: https://spec.matrix.org/v1.11/client-server-api/#content-repository
    """
    found = _MXC.fullmatch(ref)
    if found is None:
        raise PlatformRefused("This is not the address of a file on Matrix.")
    server, media, opening = found.groups()

    async def fetch(talk: Conversation) -> bytes:
        try:
            return await talk.download(f"/_matrix/client/v1/media/download/{server}/{media}", max_bytes)
        except PlatformRefused as error:
            if error.details.get("answer") != "M_UNRECOGNIZED":
                raise
        return await talk.download(f"/_matrix/media/v3/download/{server}/{media}", max_bytes)

    data = homeserver.run(config, fetch)
    return open_file(opening, data) if opening else data
