"""The memory tools that read notes."""

from __future__ import annotations

from services.domain.memory.queries import get_memory, list_memory_page, search_memories
from services.domain.tenancy.transaction import tenant_transaction
from services.mcp_gateway.callers import Caller
from services.mcp_gateway.mcp_servers.memory.models import (
    FoundNote,
    ListedNote,
    ListInput,
    ListOutput,
    NameInput,
    Note,
    SearchInput,
    SearchOutput,
)
from services.mcp_gateway.mcp_servers.tools import Tool
from services.mcp_gateway.threads import run_in_thread


def _read_now(caller: Caller, given: NameInput) -> Note:
    with tenant_transaction(caller.actor.org_id):
        return Note.of(get_memory(caller.actor, caller.agent_id, given.name))


def _search_now(caller: Caller, given: SearchInput) -> SearchOutput:
    with tenant_transaction(caller.actor.org_id):
        found = search_memories(caller.actor, caller.agent_id, given.query, limit=given.limit)
        return SearchOutput(notes=[FoundNote.of(hit) for hit in found])


def _list_now(caller: Caller, given: ListInput) -> ListOutput:
    with tenant_transaction(caller.actor.org_id):
        page = list_memory_page(
            caller.actor,
            caller.agent_id,
            limit=given.limit,
            cursor=given.cursor,
            name_prefix=given.name_prefix or "",
        )
        return ListOutput(notes=[ListedNote.of(row) for row in page.items], next=page.next)


async def _read(caller: Caller, given: NameInput) -> Note:
    return await run_in_thread(_read_now, caller, given)


async def _search(caller: Caller, given: SearchInput) -> SearchOutput:
    return await run_in_thread(_search_now, caller, given)


async def _list(caller: Caller, given: ListInput) -> ListOutput:
    return await run_in_thread(_list_now, caller, given)


READING_TOOLS = (
    Tool(
        "memory_read",
        "Read one note in full by its exact name. If you do not know the name, use memory_search or memory_list.",
        NameInput,
        Note,
        _read,
        reads_only=True,
    ),
    Tool(
        "memory_search",
        "Find notes by words in their names and bodies, the best first, each with the part that matched. Other forms, "
        "parts and misspellings of words are found too.",
        SearchInput,
        SearchOutput,
        _search,
        reads_only=True,
    ),
    Tool(
        "memory_list",
        "List the names of your notes in alphabetical order, page by page.",
        ListInput,
        ListOutput,
        _list,
        reads_only=True,
    ),
)
