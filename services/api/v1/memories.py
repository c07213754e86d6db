"""What agents remember of the caller, over REST. Agents write it; a person reads it and has it forgotten."""

from __future__ import annotations

import uuid
from typing import Self

from services.api.http.operations import Call, Endpoint, operation
from services.api.http.paging import PageQuery, page_of
from services.api.http.shapes import Moment, Page, Shape
from services.domain.errors import MemoryMissing
from services.domain.memory.actions import forget_memory
from services.domain.memory.models import Memory
from services.domain.memory.queries import get_memory_by_id, list_memories


class MemoryShape(Shape):
    """A note that an agent keeps about its work with the caller."""

    id: uuid.UUID
    agent_id: uuid.UUID
    name: str
    body: str
    version: int
    created_at: Moment
    updated_at: Moment

    @classmethod
    def of(cls, memory: Memory) -> Self:
        """Show a row."""
        return cls.model_validate(memory)


class MemoryQuery(PageQuery):
    """Which notes."""

    agent_id: uuid.UUID | None = None


class Memories(Endpoint):
    """The caller's notes."""

    tag = "memories"

    @operation()
    def get(self, call: Call, query: MemoryQuery) -> Page[MemoryShape]:
        """List what agents remember of the caller, newest first."""
        return page_of(list_memories(call.actor), query, MemoryShape.of)


class OneMemory(Endpoint):
    """One note."""

    tag = "memories"

    @operation(errors=(MemoryMissing,))
    def get(self, call: Call, memory_id: uuid.UUID) -> MemoryShape:
        """Show a note."""
        return MemoryShape.of(get_memory_by_id(call.actor, memory_id))

    @operation(errors=(MemoryMissing,))
    def delete(self, call: Call, memory_id: uuid.UUID) -> None:
        """Forget a note."""
        forget_memory(call.actor, memory_id)
