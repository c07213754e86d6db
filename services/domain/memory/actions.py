"""Changing what agents remember."""

from __future__ import annotations

import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.search import SearchVector
from django.db import connection
from django.db.models import F, Func, IntegerField, Q, QuerySet, Sum, TextField, Value

from services.domain.actors import Actor, require
from services.domain.agents.models import Agent
from services.domain.errors import AgentMissing, Invalid, MemoryChanged, MemoryFull, MemoryMissing
from services.domain.events.announcing import announce_change
from services.domain.events.listed import NoteChanged
from services.domain.memory.models import Memory
from services.domain.memory.queries import SEARCH_CONFIGS, list_memories, missing_note, notes_of
from services.domain.tenancy.transaction import tenant_transaction
from services.kit.clock import now

MAX_NAME_CHARS = 120
MAX_BODY_BYTES = 100_000
MAX_NOTES = 1_000
MAX_TOTAL_BYTES = 10_000_000
# PostgreSQL takes neither in a text; other control characters have no place in a name.
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_CONTROL = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Forgetting:
    """Which notes to forget: those that fit all that is given. Nothing given fits nothing."""

    names: Sequence[str] | None = None
    name_prefix: str | None = None
    unchanged_since: datetime | None = None

    def applied(self, notes: QuerySet[Memory]) -> QuerySet[Memory]:
        """Return those of the notes that fit. Raises: Invalid when nothing is given."""
        if not self.names and not self.name_prefix and self.unchanged_since is None:
            raise Invalid(
                "Say which notes to forget: by `names`, `name_prefix` or `unchanged_since`.",
                fields={"filter": "missing"},
            )
        if self.names:
            notes = notes.filter(name__in=self.names)
        if self.name_prefix:
            notes = notes.filter(name__startswith=self.name_prefix)
        return notes if self.unchanged_since is None else notes.filter(updated_at__lte=self.unchanged_since)


def write_memory(
    actor: Actor, agent_id: uuid.UUID, name: str, body: str, *, if_version: int | None = None
) -> Memory:
    """Write a note of the actor's user and an agent; one of the same name is replaced.

    With `if_version` only the note that was read is: 0 says that there was none.
    Locks: the namespace. Raises: Invalid, MemoryChanged, MemoryFull, AgentMissing.
    """
    require(actor, "memory:write")
    _check(name, body)
    with tenant_transaction(actor.org_id):
        note = _lock_note(actor, agent_id, name)
        _refuse_other_version(name, note, if_version)
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


def delete_memory(actor: Actor, agent_id: uuid.UUID, name: str, *, if_version: int | None = None) -> None:
    """Forget a note; with `if_version` only the one that was read. Raises: MemoryMissing, MemoryChanged.

    Locks: the namespace.
    """
    require(actor, "memory:write")
    with tenant_transaction(actor.org_id):
        note = _lock_note(actor, agent_id, name)
        if note is None:
            raise missing_note(name)
        _refuse_other_version(name, note, if_version)
        announce_change(NoteChanged, note, "deleted")
        note.delete()


def forget_memories(actor: Actor, agent_id: uuid.UUID, which: Forgetting) -> list[str]:
    """Forget all notes that fit, and return their names in order. Locks: the namespace. Raises: Invalid."""
    require(actor, "memory:write")
    with tenant_transaction(actor.org_id):
        _lock_namespace(actor, agent_id)
        found = which.applied(list_memories(actor, agent_id)).defer("body", "search", "words")
        rows = list(found.order_by("name"))
        for note in rows:
            announce_change(NoteChanged, note, "deleted")
        Memory.objects.filter(id__in=[note.id for note in rows]).delete()
        return [note.name for note in rows]


def forget_memory(actor: Actor, memory_id: uuid.UUID) -> None:
    """Forget a note of the actor's user, by its id. Raises: MemoryMissing."""
    require(actor, "memory:write")
    with tenant_transaction(actor.org_id):
        note = list_memories(actor).filter(id=memory_id).first()
        if note is None:
            raise MemoryMissing("There is no such note.")
        announce_change(NoteChanged, note, "deleted")
        note.delete()


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


def _refuse_other_version(name: str, note: Memory | None, if_version: int | None) -> None:
    current = note.version if note is not None else 0
    if if_version is not None and if_version != current:
        is_now = f"is at version {current}" if current else "does not exist"
        raise MemoryChanged(
            f"The note {name!r} {is_now}, not at version {if_version}. Read it again and join both texts.",
            version=current,
        )


def _lock_namespace(actor: Actor, agent_id: uuid.UUID) -> None:
    with connection.cursor() as cursor:
        # A row that does not exist yet cannot be locked, and the limits are about all rows.
        cursor.execute(
            "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))",
            [f"memory/{actor.org_id}/{agent_id}/{actor.user_id}"],
        )


def _lock_note(actor: Actor, agent_id: uuid.UUID, name: str) -> Memory | None:
    """Lock the namespace, and return the note of this name if there is one."""
    _lock_namespace(actor, agent_id)
    notes = notes_of(actor).select_for_update().filter(agent_id=agent_id)
    return notes.filter(name=name).first()


def _new_note(actor: Actor, agent_id: uuid.UUID, name: str) -> Memory:
    if not Agent.objects.filter(id=agent_id).exists():
        raise AgentMissing("There is no such agent.")
    if notes_of(actor).filter(agent_id=agent_id).count() >= MAX_NOTES:
        raise MemoryFull(f"There are {MAX_NOTES} notes already. Forget or join some first.", limit=MAX_NOTES)
    return Memory(org_id=actor.org_id, agent_id=agent_id, user_id=actor.user_id, name=name, version=0)


def _save(note: Memory, body: str) -> Memory:
    """Store a note with its next version. Raises: MemoryFull when all of them together become too large."""
    others = Memory.objects.filter(Q(user_id=note.user_id), agent_id=note.agent_id).exclude(id=note.id)
    size = Func(F("body"), function="octet_length", output_field=IntegerField())
    total = (others.aggregate(total=Sum(size))["total"] or 0) + len(body.encode())
    if total > MAX_TOTAL_BYTES:
        raise MemoryFull(
            f"All notes together have at most {MAX_TOTAL_BYTES} bytes; they would have {total}. Forget some first.",
            limit=MAX_TOTAL_BYTES,
        )
    note.body = body
    note.version += 1
    note.updated_at = now()
    vector = _search_vector(note)
    words = Func(vector, function="tsvector_to_array", output_field=_WORDS)
    note.search = vector
    note.words = Func(words, Value(" "), function="array_to_string", output_field=TextField())
    is_new = note._state.adding
    note.save()
    announce_change(NoteChanged, note, "created" if is_new else "updated")
    return note


_WORDS: ArrayField[Any, Any] = ArrayField(TextField())


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
