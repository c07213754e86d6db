"""Sending to Matrix: texts under a key of ours, and the notes that the bot is at work.

A homeserver takes a transaction id once, so that a repeat under the same key changes nothing while it remembers
(Synapse: half an hour); `find_sent` looks further back.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any
from uuid import uuid4

from services.adapters.chat.html_markup import plain
from services.adapters.chat.matrix.client import Conversation, Homeserver, path
from services.adapters.chat.matrix.config import MatrixConfig
from services.adapters.chat.matrix.encryption import ENCRYPTED, Encryption
from services.domain.errors import PlatformRefused
from services.domain.ports.chat import Place, Receipt

# By this an agent of ours is known to another, so that two of them do not answer each other.
BOT_MARK = "slipway.bot"
LOOK_BACK = 50
TYPING_MS = 30_000
MESSAGE = "m.room.message"
ENCRYPTION = "m.room.encryption"
ENCRYPTED_ROOM = "The room is encrypted, and the link's keys are not at hand."


def send(
    homeserver: Homeserver,
    config: MatrixConfig,
    place: Place,
    part: str,
    *,
    key: str | None = None,
    reply_to: str | None = None,
) -> Receipt:
    """Send one part of HTML, under a key if it has one."""
    content = text_content(part) | relation(place, reply_to)
    transaction = transaction_id(key) if key else uuid4().hex
    return homeserver.run(config, lambda talk: post(talk, place.chat_id, content, transaction))


async def post(talk: Conversation, room_id: str, content: dict[str, Any], key: str) -> Receipt:
    """Send an event of a message, encrypted where the room is."""
    return await post_by(await find_rules(talk, room_id), talk, room_id, content, key)


async def post_by(
    rules: dict[str, Any] | None, talk: Conversation, room_id: str, content: dict[str, Any], key: str
) -> Receipt:
    """Send an event of a message, encrypted by the rules of its room, if it has any.

    Raises also: PlatformRefused where the room is encrypted and the link's keys are not at hand.
    """
    kind = MESSAGE
    if rules is not None:
        # What is written unencrypted into such a room is shown to people as if somebody had broken in.
        if talk.config.drawer is None:
            raise PlatformRefused(ENCRYPTED_ROOM, answer="encrypted_room")
        content = await Encryption(talk, talk.config.drawer).encrypt(room_id, rules, MESSAGE, content)
        kind = ENCRYPTED
    answer = await talk.put(path("rooms", room_id, "send", kind, key), content)
    return Receipt(message_id=str(answer.get("event_id", "")))


def find_sent(homeserver: Homeserver, config: MatrixConfig, place: Place, key: str) -> Receipt | None:
    """Look among the room's last events for one that this account sent under a key."""
    transaction = transaction_id(key)

    async def look(talk: Conversation) -> Receipt | None:
        address = path("rooms", place.chat_id, "messages")
        wanted = json.dumps({"types": [MESSAGE, ENCRYPTED], "senders": [config.bot_id]})
        page = await talk.get(address, dir="b", limit=LOOK_BACK, filter=wanted)
        for event in page.get("chunk") or []:
            if event.get("unsigned", {}).get("transaction_id") == transaction:
                return Receipt(message_id=str(event["event_id"]))
        return None

    try:
        return homeserver.run(config, look)
    except PlatformRefused:
        return None


def show_typing(homeserver: Homeserver, config: MatrixConfig, place: Place) -> None:
    """Show "typing" for half a minute, or until a message comes."""
    address = path("rooms", place.chat_id, "typing", config.bot_id)
    homeserver.run(config, lambda talk: talk.put(address, {"typing": True, "timeout": TYPING_MS}))


async def find_rules(talk: Conversation, room_id: str) -> dict[str, Any] | None:
    """Return how a room is encrypted; None for one that is not."""
    try:
        return await talk.get(path("rooms", room_id, "state", ENCRYPTION, ""))
    except PlatformRefused as error:
        if error.details.get("answer") == "M_NOT_FOUND":
            return None
        raise


def transaction_id(key: str) -> str:
    """Return a key as it can stand in an address."""
    return hashlib.sha256(key.encode()).hexdigest()[:40]


def text_content(part: str) -> dict[str, Any]:
    """Return a message's content. It mentions nobody: names in an answer are no calls."""
    return {
        "msgtype": "m.text",
        "body": plain(part),
        "format": "org.matrix.custom.html",
        "formatted_body": part,
        "m.mentions": {},
        BOT_MARK: True,
    }


def relation(place: Place, reply_to: str | None) -> dict[str, Any]:
    """Say which thread a message is in, and what it answers; clients without threads are shown a reply."""
    if place.thread_id:
        answered = {"event_id": reply_to or place.thread_id}
        thread = {
            "rel_type": "m.thread",
            "event_id": place.thread_id,
            "is_falling_back": reply_to is None,
            "m.in_reply_to": answered,
        }
        return {"m.relates_to": thread}
    return {"m.relates_to": {"m.in_reply_to": {"event_id": reply_to}}} if reply_to else {}
