"""What came with messages, and the asking for it once an agent is to read them."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import timedelta

from services.domain.chats.models import InboundMessage
from services.domain.identity.models import Organisation
from services.domain.media.models import FileState, InboundFile
from services.domain.outbox.jobs import FetchFile, enqueue
from services.domain.ports.chat import InboundFile as Incoming
from services.kit.clock import now
from services.kit.environment import environment
from services.kit.file_names import clean_name
from services.kit.storable import storable

MAX_FILES = 20
AWAITING = "waiting: files"
"""The outcome, for the time being, of a message that is not routed before its files are there."""
GIVE_UP = timedelta(seconds=120)
"""How long a message waits for its files."""


def keep_files(message: InboundMessage, files: Sequence[Incoming]) -> None:
    """Note what came with a new message; nothing is fetched yet. Inside the tenant's transaction."""
    names: set[str] = set()
    rows = []
    for number, file in enumerate(files[:MAX_FILES], start=1):
        name = _untaken(clean_name(storable(file.name), "voice.ogg" if file.is_voice else "file"), names)
        rows.append(
            InboundFile(
                org_id=message.org_id,
                message=message,
                number=number,
                ref=storable(file.ref),
                name=name,
                claimed_type=storable(file.content_type)[:120],
                claimed_bytes=file.size if file.size is not None and 0 <= file.size < 2**63 else None,
                is_voice=file.is_voice,
            )
        )
    if len(files) > MAX_FILES:
        rows[-1].state = FileState.FAILED
        rows[-1].name = f"{len(files) - MAX_FILES + 1} more files"
        rows[-1].error = f"at most {MAX_FILES} files of one message are taken"
    InboundFile.objects.bulk_create(rows)


def ask_for_files(messages: Sequence[InboundMessage], agent_id: uuid.UUID) -> bool:
    """Have the files of messages fetched that an agent is to read; says whether these are still awaited.

    The agent that asks first is charged for what it costs to read them. Inside the tenant's transaction.
    Queues: FetchFile for each that nobody has asked for before; with the last one of a message settled, RouteMessage
    brings its message back.
    """
    offered = list(
        InboundFile.objects.select_for_update().filter(message__in=messages, state=FileState.OFFERED)
    )
    for file in offered:
        file.state, file.give_up_at, file.agent_id = FileState.AWAITED, now() + GIVE_UP, agent_id
        most = max_bytes_of(file.org_id)
        if file.claimed_bytes is not None and file.claimed_bytes > most:
            file.state, file.error = FileState.FAILED, too_large(file.claimed_bytes, most)
        else:
            enqueue(FetchFile(org_id=file.org_id, file_id=file.id))
        file.save(update_fields=["state", "error", "give_up_at", "agent"])
    return InboundFile.objects.filter(message__in=messages, state=FileState.AWAITED).exists()


def max_bytes_of(org_id: uuid.UUID) -> int:
    """Return how large a file may be that an organisation's agents get. Inside the tenant's transaction."""
    own = Organisation.objects.values_list("max_inbound_file_bytes", flat=True).get(id=org_id)
    most = environment().max_inbound_file_bytes
    return most if own is None else min(own, most)


def too_large(size: int, most: int) -> str:
    """Say that a file is too large, in words for the agent."""
    return f"it has {size:,} bytes, and at most {most:,} are taken"


def _untaken(name: str, names: set[str]) -> str:
    """Return a name that no other file of the message has, whose text has room beside it."""
    stem, dot, suffix = name.rpartition(".")
    chosen, number = name, 1
    while {chosen, f"{chosen}.txt"} & {*names, *(f"{taken}.txt" for taken in names)}:
        number += 1
        chosen = f"{stem}-{number}{dot}{suffix}" if stem else f"{name}-{number}"
    names.add(chosen)
    return chosen
