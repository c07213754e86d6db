"""Sending to Discord: into a channel, or into the thread that an answer opens below its question.

A thread that was opened from a message has the message's id. So a place whose thread is a message of its channel
needs no memory: the thread is written to, and opened when it is not there.
Source: https://docs.discord.com/developers/topics/threads
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from services.adapters.chat.discord.config import DiscordConfig
from services.adapters.chat.discord.failures import (
    CANNOT_OPEN_THREADS,
    THREAD_EXISTS,
    UNKNOWN_CHANNEL,
    UNKNOWN_MESSAGE,
    is_refused_as,
)
from services.adapters.chat.discord.rest import Rest, snowflake
from services.domain.errors import Permanent, PlatformRefused, Temporary
from services.domain.ports.chat import Place, Receipt
from services.domain.ports.chat_abilities import OutgoingFile

NONCE_CHARS = 25
SUPPRESS_EMBEDS = 1 << 2
ARCHIVE_AFTER_MIN = 1440
THREAD_NAME_CHARS = 60
NAMELESS_THREAD = "Conversation"


def post(
    rest: Rest,
    config: DiscordConfig,
    place: Place,
    content: str,
    *,
    key: str | None = None,
    components: list[dict[str, Any]] | None = None,
    file: OutgoingFile | None = None,
    reply_to: str | None = None,
) -> Receipt:
    """Post a message; the same key again within minutes gives the first message back."""
    message: dict[str, Any] = {
        "content": content,
        "flags": SUPPRESS_EMBEDS,
        # Whom an agent names is told; everybody and whole roles are not.
        "allowed_mentions": {"parse": ["users"], "replied_user": True},
    }
    if key is not None:
        message |= {"nonce": nonce_of(key), "enforce_nonce": True}
    if components:
        message["components"] = components
    if place.thread_id is None:
        return _post(rest, config, snowflake(place.chat_id), message | _reference(reply_to), file)
    thread_id = snowflake(place.thread_id)
    answered = _reference(reply_to) if reply_to != thread_id else {}
    try:
        return _post(rest, config, thread_id, message | answered, file)
    except PlatformRefused as error:
        if not is_refused_as(error, UNKNOWN_CHANNEL):
            raise
    if open_thread(rest, config, snowflake(place.chat_id), thread_id):
        return _post(rest, config, thread_id, message | answered, file)
    return _post(rest, config, place.chat_id, message | _reference(thread_id), file)


def open_thread(rest: Rest, config: DiscordConfig, channel_id: str, message_id: str) -> bool:
    """Open a thread below a message, named after it; returns whether there is one now."""
    name = NAMELESS_THREAD
    with suppress(PlatformRefused):
        found = rest.object(config, "GET", f"/channels/{channel_id}/messages/{message_id}")
        text = str(found.get("content") or "").replace(f"<@{config.bot_id}>", "").strip()
        name = text.splitlines()[0][:THREAD_NAME_CHARS].strip() if text else name
    try:
        rest.call(
            config,
            "POST",
            f"/channels/{channel_id}/messages/{message_id}/threads",
            {"name": name or NAMELESS_THREAD, "auto_archive_duration": ARCHIVE_AFTER_MIN},
        )
    except PlatformRefused as error:
        if is_refused_as(error, *CANNOT_OPEN_THREADS):
            return False
        if not is_refused_as(error, THREAD_EXISTS):
            raise
    return True


def at_message(place: Place, message_id: str, do: Callable[[str, str], Any]) -> None:
    """Do something with a message, in the channel where it lies: ours, or one that somebody wrote.

    What a thread was opened from lies in the channel, and where no thread may be opened everything does.
    Raises: as `do`, PlatformRefused.
    """
    channels = [snowflake(place.chat_id)]
    if place.thread_id is not None:
        is_start = message_id == place.thread_id
        channels.insert(len(channels) if is_start else 0, snowflake(place.thread_id))
    for channel_id in channels:
        try:
            do(channel_id, snowflake(message_id))
        except PlatformRefused as error:
            is_elsewhere = is_refused_as(error, UNKNOWN_CHANNEL, UNKNOWN_MESSAGE)
            if not is_elsewhere or channel_id == channels[-1]:
                raise
        else:
            return


def show_typing(rest: Rest, config: DiscordConfig, place: Place) -> None:
    """Show that the bot types, in the thread or, before there is one, in its channel. Nothing hangs on it."""
    for channel_id in filter(None, (place.thread_id, place.chat_id)):
        with suppress(Temporary, Permanent):
            rest.call(config, "POST", f"/channels/{snowflake(channel_id)}/typing")
            return


def nonce_of(key: str) -> str:
    """Return a key in the length that Discord takes."""
    return hashlib.sha256(key.encode()).hexdigest()[:NONCE_CHARS]


def _post(
    rest: Rest, config: DiscordConfig, channel_id: str, message: Mapping[str, Any], file: OutgoingFile | None
) -> Receipt:
    answer = rest.object(config, "POST", f"/channels/{channel_id}/messages", message, file=file)
    return Receipt(message_id=str(answer.get("id", "")))


def _reference(message_id: str | None) -> dict[str, Any]:
    if not message_id:
        return {}
    # An answer to a message that is gone is still an answer, and a command has no message.
    return {"message_reference": {"message_id": message_id, "fail_if_not_exists": False}}
