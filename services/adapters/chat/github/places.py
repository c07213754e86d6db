"""How GitHub's places and messages are named: `owner/name#12`, and `comment:7`. Pure.

Issues and pull requests of a repository share their numbers, and both have issue comments. A comment on a line of a
pull request is of another kind, in a thread that is named by its first one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from services.domain.errors import PlatformRefused
from services.domain.ports.chat import Place

# What a chat's id may have in the database.
MAX_CHAT_ID = 120
_CHAT = re.compile(r"([A-Za-z0-9-]{1,39}/(?!\.{1,2}#)[A-Za-z0-9_.-]{1,100})#([0-9]{1,10})")
_MESSAGE = re.compile(r"(issue|comment|review_comment):([0-9]{1,20})")


@dataclass(frozen=True, slots=True)
class Spot:
    """An issue or a pull request, and the thread on one of its lines."""

    repository: str
    number: int
    thread_id: int | None


def chat_id_of(repository: str, number: int) -> str:
    """Return the chat of an issue or a pull request."""
    return f"{repository}#{number}"


def read_place(place: Place) -> Spot:
    """Read where something goes. Raises: PlatformRefused."""
    found = _CHAT.fullmatch(place.chat_id)
    thread = place.thread_id or ""
    if found is None or (thread and not (thread.isascii() and thread.isdigit())):
        raise PlatformRefused("A chat of GitHub is named owner/repository#number.")
    return Spot(found[1], int(found[2]), int(thread) if thread else None)


def read_message_id(message_id: str) -> tuple[str, int]:
    """Read the kind and the number of a message. Raises: PlatformRefused."""
    found = _MESSAGE.fullmatch(message_id)
    if found is None:
        raise PlatformRefused("GitHub has no such message.")
    return found[1], int(found[2])


def message_path(spot: Spot, message_id: str) -> str:
    """Return the path of a message below its repository. Raises: PlatformRefused."""
    kind, number = read_message_id(message_id)
    match kind:
        case "issue":
            return f"/issues/{number}"
        case "comment":
            return f"/issues/comments/{number}"
        case _:
            return f"/pulls/comments/{number}"
