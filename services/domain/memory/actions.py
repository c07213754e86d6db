"""Changing what agents remember."""

from __future__ import annotations

import re
import uuid
from typing import Any

from django.contrib.postgres.search import SearchVector
from django.db import connection
from django.db.models import Value

from services.domain.actors import Actor, require
from services.domain.agents.models import Agent
from services.domain.errors import AgentMissing, Invalid, MemoryFull, MemoryMissing
from services.domain.memory.models import Memory
from services.domain.memory.queries import SEARCH_CONFIGS, list_memories, notes_of
from services.domain.tenancy.transaction import tenant_transaction
from services.kit.clock import now

MAX_NAME_CHARS = 120
MAX_BODY_BYTES = 100_000
MAX_NOTES = 1_000
# PostgreSQL takes neither in a text; other control characters have no place in a name.
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_CONTROL = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")


def write_memory(actor: Actor, agent_id: uuid.UUID, name: str, body: str) -> Memory:
    """Write a note of the actor's user and an agent; one of the same name is replaced.

    Locks: the namespace. Raises: Invalid, MemoryFull, AgentMissing.
    """
    require(actor, "memory:write")
    _check(name, body)
    with tenant_transaction(actor.org_id):
        note = _lock_note(actor, agent_id, name)
        return _save(note or _new_note(actor, agent_id, name), body)


def append_memory(actor: Actor, agent_id: uuid.UUID, name: str, text: str) -> Memory:
    """Add a paragraph to a note, or begin it; two that append at once both count.

    Locks: the namespace. Raises: Invalid, also when the note would become too long, MemoryFull, AgentMissing.
    """
    require(actor, "memory:write")
    _check(name, text)
    with tenant_transaction(actor.org_id):
        note = _lock_note(actor, agent_id, name)
        if note is None:
            return _save(_new_note(actor, agent_id, name), text)
        body = f"{note.body}\n{text}" if note.body else text
        _check(name, body)
        return _save(note, body)


def delete_memory(actor: Actor, agent_id: uuid.UUID, name: str) -> None:
    """Forget a note. Raises: MemoryMissing."""
    require(actor, "memory:write")
    with tenant_transaction(actor.org_id):
        deleted, _ = list_memories(actor, agent_id).filter(name=name).delete()
        if not deleted:
            raise MemoryMissing(f"There is no note named {name!r}.")


def forget_memory(actor: Actor, memory_id: uuid.UUID) -> None:
    """Forget a note of the actor's user, by its id. Raises: MemoryMissing."""
    require(actor, "memory:write")
    with tenant_transaction(actor.org_id):
        deleted, _ = list_memories(actor).filter(id=memory_id).delete()
        if not deleted:
            raise MemoryMissing("There is no such note.")


def _check(name: str, body: str) -> None:
    if not name.strip() or len(name) > MAX_NAME_CHARS or _CONTROL.search(name):
        raise Invalid(
            "The name of a note is one line of 1 to 120 characters.", fields={"name": "1 to 120 characters"}
        )
    if _UNSTORABLE.search(body):
        raise Invalid("A note cannot hold NUL characters or lone surrogates.", fields={"body": "characters"})
    size = len(body.encode())
    if size > MAX_BODY_BYTES:
        raise Invalid(
            f"A note has at most {MAX_BODY_BYTES} bytes; this one would have {size}. Split it into several notes.",
            fields={"body": f"{size} bytes"},
        )


def _lock_note(actor: Actor, agent_id: uuid.UUID, name: str) -> Memory | None:
    """Lock the namespace, and return the note of this name if there is one."""
    with connection.cursor() as cursor:
        # A row that does not exist yet cannot be locked, and the limit counts rows.
        cursor.execute(
            "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"memory/{agent_id}/{actor.user_id}"]
        )
    notes = notes_of(actor).select_for_update().filter(agent_id=agent_id)
    return notes.filter(name=name).first()


def _new_note(actor: Actor, agent_id: uuid.UUID, name: str) -> Memory:
    if not Agent.objects.filter(id=agent_id).exists():
        raise AgentMissing("There is no such agent.")
    if notes_of(actor).filter(agent_id=agent_id).count() >= MAX_NOTES:
        raise MemoryFull(f"There are {MAX_NOTES} notes already. Delete or join some first.", limit=MAX_NOTES)
    return Memory(org_id=actor.org_id, agent_id=agent_id, user_id=actor.user_id, name=name)


def _save(note: Memory, body: str) -> Memory:
    note.body = body
    note.updated_at = now()
    note.search = _search_vector(note)
    note.save()
    return note


def _search_vector(note: Memory) -> Any:
    vectors = [
        SearchVector(Value(text), config=config, weight=weight)
        for text, weight in ((note.name.replace("-", " ").replace("_", " "), "A"), (note.body, "B"))
        for config in SEARCH_CONFIGS
    ]
    combined: Any = vectors[0]
    for vector in vectors[1:]:
        combined = combined + vector
    return combined
