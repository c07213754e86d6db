"""What an agent is given to read: a message, and what was said and changed around it since it last answered."""

from __future__ import annotations

import uuid
from datetime import datetime

from services.domain.chat_commands.taking import BEGUN
from services.domain.chats.models import Decision, InboundEvent, InboundEventKind, InboundMessage
from services.domain.media.telling import with_files

CONTEXT_MESSAGES = 20
QUOTED_CHARS = 300
_LOOKED_BACK = 100


def prompt_of(message: InboundMessage, agent_id: uuid.UUID) -> str:
    """Put what the agent has not read yet of a place before the message itself, so that it knows the talk."""
    rows, since = _unread_before(message, agent_id)
    *texts, last = with_files([*rows, message])
    said = [(row.created_at, f"{_name(row)}: {text}") for row, text in zip(rows, texts, strict=True)]
    lines = sorted([*said, *_changed_before(message, since)])[-CONTEXT_MESSAGES:]
    if not lines:
        return last
    context = "\n".join(line for _, line in lines)
    return f"Earlier in this chat:\n{context}\n\n{message.sender_name or 'Message'}: {last}"


def said_before(message: InboundMessage, agent_id: uuid.UUID) -> list[InboundMessage]:
    """List what is context for an agent and was not given to it yet, the oldest first."""
    return _unread_before(message, agent_id)[0]


def _unread_before(
    message: InboundMessage, agent_id: uuid.UUID
) -> tuple[list[InboundMessage], uuid.UUID | None]:
    """Return also the id of the last message that it was given, or that began the talk anew."""
    before = (
        Decision.objects.select_related("message")
        .filter(chat_id=message.chat_id, message__thread_id=message.thread_id, message_id__lt=message.id)
        .order_by("-message_id")
    )
    unread: list[InboundMessage] = []
    for row in before[:_LOOKED_BACK]:
        becomes = next((one["becomes"] for one in row.wirings if one["agent_id"] == str(agent_id)), "")
        if becomes in ("task", "steered") or row.message.outcome == BEGUN:
            return unread[::-1], row.message_id
        if becomes == "context" and row.message.deleted_at is None and len(unread) < CONTEXT_MESSAGES:
            unread.append(row.message)
    return unread[::-1], None


def _changed_before(message: InboundMessage, since: uuid.UUID | None) -> list[tuple[datetime, str]]:
    """Tell what became of messages that a turn had taken already: their text is not above, and was another then."""
    changed = InboundEvent.objects.filter(
        chat_id=message.chat_id, thread_id=message.thread_id, id__lt=message.id, outcome="context"
    )
    if since is not None:
        changed = changed.filter(id__gt=since)
    return [(row.created_at, _tell(row)) for row in changed.order_by("-id")[:CONTEXT_MESSAGES]]


def _tell(event: InboundEvent) -> str:
    who = event.sender_name or "Its writer"
    if event.kind == InboundEventKind.DELETED:
        return f"({who} deleted an earlier message.)"
    return f"({who} edited an earlier message, which says now: {event.text[:QUOTED_CHARS]})"


def _name(message: InboundMessage) -> str:
    return message.sender_name or message.sender_id
