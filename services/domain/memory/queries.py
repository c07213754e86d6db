"""Reading what agents remember. A namespace is one user and one agent; `None` is work that no person started."""

from __future__ import annotations

import base64
import binascii
import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.contrib.postgres.search import SearchQuery, SearchRank, TrigramWordSimilarity
from django.db import connection
from django.db.models import F, Func, IntegerField, Q, QuerySet

from services.domain.actors import Actor, require
from services.domain.agents.models import Agent
from services.domain.errors import CursorInvalid, MemoryMissing, NotGranted
from services.domain.memory.models import Memory

# English stems what it knows; "simple" finds the words of any other language as they are written.
SEARCH_CONFIGS = ("english", "simple")
MAX_WORDS = 24
_SNIPPET_CHARS = 300
_SHORTEST_PART = 3
# Shorter words are like too many others. The part of a word's trigrams that must be found: "recieve" has 0.375 of
# those of "receive", "elephant" 0.33 of those of "element".
_SHORTEST_MISSPELT = 4
_LIKENESS = 0.35


@dataclass(frozen=True, slots=True)
class Found:
    """A note that a search found, and the part of it that shows why."""

    memory: Memory
    snippet: str


@dataclass(frozen=True, slots=True)
class Sized:
    """A note without its body, and how large that is."""

    memory: Memory
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Page:
    """One page of notes; `next` is None on the last one."""

    items: list[Sized]
    next: str | None


def list_memories(actor: Actor, agent_id: uuid.UUID | None = None) -> QuerySet[Memory]:
    """Return the notes of the actor's user, of one agent or of all; to be read in the tenant's transaction."""
    require(actor, "memory:read")
    notes = notes_of(actor)
    return notes if agent_id is None else notes.filter(agent_id=agent_id)


def notes_of(actor: Actor) -> QuerySet[Memory]:
    """Return the notes of the actor's user, or those of no user."""
    if actor.user_id is None:
        return Memory.objects.filter(user=None)
    return Memory.objects.filter(user_id=actor.user_id)


def get_memory(actor: Actor, agent_id: uuid.UUID, name: str) -> Memory:
    """Return one note by its name, in the tenant's transaction. Raises: MemoryMissing."""
    note = list_memories(actor, agent_id).filter(name=name).first()
    if note is None:
        raise missing_note(name)
    return note


def missing_note(name: str) -> MemoryMissing:
    """Return the error for a name that no note has."""
    return MemoryMissing(
        f"There is no note named {name!r}. memory_list and memory_search show the names there are."
    )


def get_memory_by_id(actor: Actor, memory_id: uuid.UUID) -> Memory:
    """Return one note of the actor's user, in the tenant's transaction. Raises: MemoryMissing."""
    note = list_memories(actor).filter(id=memory_id).first()
    if note is None:
        raise MemoryMissing("There is no such note.")
    return note


def list_memory_page(
    actor: Actor, agent_id: uuid.UUID, *, limit: int, cursor: str | None, name_prefix: str = ""
) -> Page:
    """Return notes in the order of their names, in the tenant's transaction. Raises: CursorInvalid."""
    notes = list_memories(actor, agent_id).defer("body", "search", "words")
    if name_prefix:
        notes = notes.filter(name__startswith=name_prefix)
    if cursor is not None:
        notes = notes.filter(name__gt=_read_cursor(cursor))
    size = Func(F("body"), function="octet_length", output_field=IntegerField())
    rows = [
        Sized(note, note.size_bytes) for note in notes.annotate(size_bytes=size).order_by("name")[: limit + 1]
    ]
    return Page(rows[:limit], _cursor(rows[limit - 1].memory.name) if len(rows) > limit else None)


def search_memories(actor: Actor, agent_id: uuid.UUID, query: str, *, limit: int) -> list[Found]:
    """Find notes, the best first: with all the words, some of them, parts of words, words that are nearly the same.

    In the tenant's transaction. A query without any word finds nothing.
    """
    return _search(list_memories(actor, agent_id), query, limit)


def search_all_memories(actor: Actor, agent_id: uuid.UUID | None, query: str, *, limit: int) -> list[Found]:
    """Find what any agent remembers of the actor's user, for an agent that was granted this; with their agents.

    In the tenant's transaction. Raises: NotGranted.
    """
    notes = list_memories(actor).select_related("agent")
    if actor.user_id is None:
        raise NotGranted(
            "No person started this work, so there are no other agents' notes. Use memory_search."
        )
    if actor.kind == "agent" and not Agent.objects.filter(Q(id=agent_id), reads_all_memories=True).exists():
        raise NotGranted(
            "You may read your own notes only, with memory_search. The agent's owner can allow more, by its setting "
            "reads_all_memories."
        )
    return _search(notes, query, limit)


def _search(notes: QuerySet[Memory], query: str, limit: int) -> list[Found]:
    notes = notes.defer("search", "words")
    words = list(dict.fromkeys(re.findall(r"\w+", query.lower())))[:MAX_WORDS]
    found: list[Memory] = []
    for matching in _passes(notes, query, words):
        _fill(found, matching, limit)
    missed = [word for word in words if len(word) >= _SHORTEST_MISSPELT and not _is_in_any(word, found)]
    if missed and len(found) < limit:
        _fill(found, _nearly(notes, missed), limit)
    return [Found(note, _snippet(note.body, words)) for note in found]


def _fill(found: list[Memory], matching: QuerySet[Memory], limit: int) -> None:
    if len(found) < limit:
        known = [note.id for note in found]
        found.extend(matching.exclude(id__in=known)[: limit - len(found)])


def _is_in_any(word: str, notes: Sequence[Memory]) -> bool:
    return any(word in note.name.lower() or word in note.body.lower() for note in notes)


def _passes(notes: QuerySet[Memory], query: str, words: Sequence[str]) -> list[QuerySet[Memory]]:
    if not words:
        return []
    all_words = _any_of([SearchQuery(query, config=name, search_type="websearch") for name in SEARCH_CONFIGS])
    some_words = _any_of([SearchQuery(word, config=name) for word in words for name in SEARCH_CONFIGS])
    parts = [word for word in words if len(word) >= _SHORTEST_PART] or words
    inside = Q()
    for part in parts:
        inside |= Q(name__icontains=part) | Q(body__icontains=part)
    return [
        *(
            notes.filter(search=wanted)
            .annotate(rank=SearchRank(F("search"), wanted))
            .order_by("-rank", "name")
            for wanted in (all_words, some_words)
        ),
        notes.filter(inside).order_by("-updated_at", "name"),
    ]


def _nearly(notes: QuerySet[Memory], words: Sequence[str]) -> QuerySet[Memory]:
    """Return the notes with words that are spelt nearly like those, those with the likest first."""
    with connection.cursor() as cursor:
        # Of this transaction: the operator, and with it the index, reads its threshold from here.
        cursor.execute("SELECT set_config('pg_trgm.word_similarity_threshold', %s, true)", [str(_LIKENESS)])
    like = Q()
    for word in words:
        like |= Q(words__trigram_word_similar=word)
    likeness: Any = TrigramWordSimilarity(words[0], "words")
    for word in words[1:]:
        likeness = likeness + TrigramWordSimilarity(word, "words")
    return notes.filter(like).annotate(likeness=likeness).order_by("-likeness", "name")


def _any_of(queries: Sequence[SearchQuery]) -> SearchQuery:
    combined = queries[0]
    for query in queries[1:]:
        combined = combined | query
    return combined


def _snippet(body: str, words: Sequence[str]) -> str:
    """Cut out the surroundings of the first word that is found; stems differ at their ends, so beginnings count."""
    lowered = body.lower()
    places = [lowered.find(word) for word in words] + [lowered.find(word[:4]) for word in words]
    place = next((place for place in places if place >= 0), 0)
    start = max(0, place - _SNIPPET_CHARS // 4)
    end = start + _SNIPPET_CHARS
    return ("…" if start else "") + body[start:end].strip() + ("…" if end < len(body) else "")


def _cursor(name: str) -> str:
    return base64.urlsafe_b64encode(name.encode()).decode().rstrip("=")


def _read_cursor(cursor: str) -> str:
    try:
        name = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError) as error:
        raise CursorInvalid("The cursor is not one of ours.") from error
    if "\x00" in name:
        raise CursorInvalid("The cursor is not one of ours.")
    return name
