"""Where a conversation of Teams is: the service URL it is reached at, and its id. Pure.

A chat's id has both, as the platform tells the first with each activity and in no other way: `emea/19:…@thread.v2` is
the conversation `19:…@thread.v2` at the path `/emea/` of the connector. The host is never taken from what comes in.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from urllib.parse import quote

from services.domain.errors import PlatformRefused
from services.domain.ports.chat import Place

_PATH = re.compile(r"(?:[A-Za-z0-9_-]{1,64}(?:/[A-Za-z0-9_-]{1,64}){0,3})?")
_THREAD = ";messageid="
MAX_ID_CHARS = 255
# Source: https://learn.microsoft.com/microsoftteams/platform/bots/how-to/conversations/send-proactive-messages
_EVERYWHERE = "teams"
PERSON_HINT = "the person's Entra object id, or their id in conversations, which begins with 29:"


def read_place(base_url: str, service_url: str, conversation_id: str) -> Place | None:
    """Return the place of a conversation, or None when its service URL is not below the connector's address."""
    base, url = base_url.rstrip("/"), service_url.rstrip("/")
    path = url[len(base) :].strip("/")
    if not (url == base or url.startswith(f"{base}/")) or not _PATH.fullmatch(path):
        return None
    conversation, _, thread = conversation_id.partition(_THREAD)
    chat_id = f"{path}/{conversation}"
    if not conversation or "/" in conversation or len(chat_id) > MAX_ID_CHARS:
        return None
    return Place(chat_id, thread or None)


def region_of(known: Sequence[Place]) -> str:
    """Return the path at which the connector serves those who are known, or where it serves all. Pure."""
    for place in known:
        path, _, conversation = place.chat_id.rpartition("/")
        if conversation and _PATH.fullmatch(path):
            return path
    return _EVERYWHERE


def conversation_url(base_url: str, place: Place) -> str:
    """Return the address of a conversation, or of a thread in it. Raises: PlatformRefused for what is no place."""
    path, _, conversation = place.chat_id.rpartition("/")
    if not conversation or not _PATH.fullmatch(path):
        raise PlatformRefused("This is no conversation of Teams.")
    thread = f"{_THREAD}{place.thread_id}" if place.thread_id else ""
    prefix = f"{base_url.rstrip('/')}/{path}".rstrip("/")
    return f"{prefix}/v3/conversations/{quote(conversation + thread, safe='')}"
