"""What an agent is told of the files of messages: a line for each."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from services.domain.chats.models import InboundMessage
from services.domain.media.models import FileState, InboundFile

_SHOWN_CHARS = 4_000


def with_files(messages: Sequence[InboundMessage]) -> list[str]:
    """Return the texts of messages, each with what came with it. Inside the tenant's transaction."""
    told: dict[uuid.UUID, list[str]] = {}
    files = InboundFile.objects.select_related("message").filter(message__in=messages)
    for file in files.order_by("message_id", "number"):
        told.setdefault(file.message_id, []).append(tell_file(file))
    return ["\n".join(filter(None, [message.text, *told.get(message.id, ())])) for message in messages]


def tell_file(file: InboundFile) -> str:
    """Describe a file in a line: its name, type, size and path, or why there is none. Pure."""
    what = "Voice message" if file.is_voice else "File"
    if file.state != FileState.KEPT:
        reason = file.error or "nobody has asked for it yet"
        return f"[{what} {file.name}: not here: {reason}]"
    told = f"[{what} {file.name}: {file.content_type}, {_size(file.size_bytes or 0)}, at {file.path}"
    if file.text_key:
        told += f", its text at {file.text_path}"
    told += f". {_sentence(file.note)}]" if file.note else "]"
    if file.transcript:
        told += f"\n[What is said in {file.name}: {_shown(file.transcript)}]"
    return told


def _shown(text: str) -> str:
    return (
        text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}… (the rest is in the file of its text)"
    )


def _sentence(note: str) -> str:
    return f"{note[:1].upper()}{note[1:]}."


def _size(size: int) -> str:
    for unit, factor in (("MB", 1_000_000), ("kB", 1_000)):
        if size >= factor:
            return f"{size / factor:.1f} {unit}"
    return f"{size} bytes"
