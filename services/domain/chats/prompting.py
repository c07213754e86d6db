"""What an agent is given to read: a message, and what was said and changed around it since it last answered."""

from __future__ import annotations

from datetime import datetime
from functools import reduce
from operator import or_

from django.db.models import Q

from services.domain.chat_commands.taking import BEGUN
from services.domain.chats.models import InboundEvent, InboundEventKind, InboundMessage
from services.domain.contacts.claiming import TAKEN
from services.domain.contacts.holding import HELD, REFUSED
from services.domain.media.telling import with_files

CONTEXT_MESSAGES = 20
QUOTED_CHARS = 300


def prompt_of(message: InboundMessage) -> str:
    """Put what was said since the last answer before the message itself, so that the agent knows the talk."""
    rows = said_before(message)
    *texts, last = with_files([*rows, message])
    said = [(row.created_at, f"{_name(row)}: {text}") for row, text in zip(rows, texts, strict=True)]
    lines = sorted([*said, *_changed_before(message)])[-CONTEXT_MESSAGES:]
    if not lines:
        return last
    context = "\n".join(line for _, line in lines)
    return f"Earlier in this chat:\n{context}\n\n{message.sender_name or 'Message'}: {last}"


def said_before(message: InboundMessage) -> list[InboundMessage]:
    """List what was said since the last answer and given to no agent, the oldest first."""
    said = (
        InboundMessage.objects.filter(_before(message), routed_at__isnull=False)
        .exclude(outcome__startswith="task:")
        .exclude(reduce(or_, (Q(outcome__startswith=how) for how in TAKEN)))
        .exclude(outcome__startswith=HELD)
        .exclude(outcome__startswith=REFUSED)
        .exclude(text="")
        .order_by("-id")
    )
    return list(reversed(said[:CONTEXT_MESSAGES]))


def _changed_before(message: InboundMessage) -> list[tuple[datetime, str]]:
    """Tell what became of messages that a turn had taken already: their text is not above, and was another then."""
    changed = InboundEvent.objects.filter(_before(message), outcome="context").order_by("-id")
    return [(row.created_at, _tell(row)) for row in changed[:CONTEXT_MESSAGES]]


def _before(message: InboundMessage) -> Q:
    """Return what came in this place since the last message that was answered there, or that began it anew."""
    here = Q(chat_id=message.chat_id, thread_id=message.thread_id, id__lt=message.id)
    is_cut = Q(outcome__startswith="task:") | Q(outcome=BEGUN)
    last = InboundMessage.objects.filter(here, is_cut).order_by("-id").first()
    return here & Q(id__gt=last.id) if last is not None else here


def _tell(event: InboundEvent) -> str:
    who = event.sender_name or "Its writer"
    if event.kind == InboundEventKind.DELETED:
        return f"({who} deleted an earlier message.)"
    return f"({who} edited an earlier message, which says now: {event.text[:QUOTED_CHARS]})"


def _name(message: InboundMessage) -> str:
    return message.sender_name or message.sender_id
