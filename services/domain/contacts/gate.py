"""Whether somebody on a platform is heard: a pure decision. docs/talking-to-people.md says it in prose."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Literal

from services.domain.chats.models import UnknownSenders


class Standing(enum.StrEnum):
    """Who wrote a message, as far as the gate needs it.

    A member has linked the account; somebody allowed or denied is so for the link; `let_in` is about this one message.
    """

    MEMBER = "member"
    ALLOWED = "allowed"
    DENIED = "denied"
    LET_IN = "let_in"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Ruling:
    """Whether a message is heard, waits for a person's word, or is refused; and why in a word."""

    becomes: Literal["heard", "held", "refused"]
    reason: str


def judge_sender(policy: str, standing: Standing, *, is_asking: bool) -> Ruling:
    """Judge one message. `is_asking`: an agent would answer it; what is not asked is context at most. Pure."""
    match standing:
        case Standing.MEMBER:
            return Ruling("heard", standing)
        case Standing.DENIED:
            # A person has spoken, which goes before what the link does with those of whom nobody has.
            return Ruling("refused", "unknown_sender")
        case Standing.ALLOWED | Standing.LET_IN:
            return Ruling("heard", standing)
    match policy:
        case UnknownSenders.PUBLIC:
            return Ruling("heard", "public")
        case UnknownSenders.REQUEST_APPROVAL:
            return Ruling("held", "unknown_sender") if is_asking else Ruling("heard", "context")
    return Ruling("refused", "unknown_sender_strict")
