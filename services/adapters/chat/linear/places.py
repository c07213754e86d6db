"""How Linear's places and messages are named. Pure.

A chat is an issue, by its id; a thread in it is a comment's, or a session's: `session:<id>`. A session without an issue
is a chat of its own. A message is `comment:<id>`, `activity:<id>` or `issue:<id>`.
"""

from __future__ import annotations

import re

from services.domain.errors import PlatformRefused
from services.domain.ports.chat import Place

SESSION = "session:"
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{2,63}")
_MESSAGE = re.compile(r"(comment|activity|issue):([A-Za-z0-9][A-Za-z0-9_-]{2,63})")


def session_place(session_id: str, issue_id: str) -> Place:
    """Return the place of a session."""
    thread = f"{SESSION}{session_id}"
    return Place(issue_id, thread) if issue_id else Place(thread)


def session_of(place: Place) -> str | None:
    """Return the session that a place is, if it is one."""
    for name in (place.thread_id, place.chat_id):
        if name is not None and name.startswith(SESSION):
            return checked_id(name.removeprefix(SESSION))
    return None


def checked_id(given: str) -> str:
    """Return one of Linear's ids. Raises: PlatformRefused."""
    if not _ID.fullmatch(given):
        raise PlatformRefused("Linear has no such issue or session.")
    return given


def read_message_id(message_id: str) -> tuple[str, str]:
    """Read the kind and the id of a message. Raises: PlatformRefused."""
    found = _MESSAGE.fullmatch(message_id)
    if found is None:
        raise PlatformRefused("Linear has no such message.")
    return found[1], found[2]
