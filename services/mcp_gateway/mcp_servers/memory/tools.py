"""The memory tools: each one action or query."""

from __future__ import annotations

from services.domain.memory.actions import append_memory, delete_memory, write_memory
from services.domain.memory.queries import Found, Page, get_memory, list_memory_page, search_memories
from services.domain.tenancy.transaction import tenant_transaction
from services.kit.clock import rfc3339
from services.mcp_gateway.callers import Caller
from services.mcp_gateway.mcp_servers.memory.models import (
    AppendInput,
    Deleted,
    FoundNote,
    ListedNote,
    ListInput,
    ListOutput,
    NameInput,
    Note,
    SearchInput,
    SearchOutput,
    WriteInput,
    Written,
)
from services.mcp_gateway.mcp_servers.tools import Tool
from services.mcp_gateway.threads import run_in_thread


async def _write(caller: Caller, given: WriteInput) -> Written:
    note = await run_in_thread(write_memory, caller.actor, caller.task.agent_id, given.name, given.body)
    return Written.of(note)


async def _append(caller: Caller, given: AppendInput) -> Written:
    note = await run_in_thread(append_memory, caller.actor, caller.task.agent_id, given.name, given.text)
    return Written.of(note)


async def _read(caller: Caller, given: NameInput) -> Note:
    def read() -> Note:
        with tenant_transaction(caller.actor.org_id):
            note = get_memory(caller.actor, caller.task.agent_id, given.name)
        return Note(name=note.name, body=note.body, updated_at=rfc3339(note.updated_at))

    return await run_in_thread(read)


async def _search(caller: Caller, given: SearchInput) -> SearchOutput:
    def search() -> list[Found]:
        with tenant_transaction(caller.actor.org_id):
            return search_memories(caller.actor, caller.task.agent_id, given.query, limit=given.limit)

    found = await run_in_thread(search)
    return SearchOutput(
        notes=[
            FoundNote(name=hit.memory.name, snippet=hit.snippet, updated_at=rfc3339(hit.memory.updated_at))
            for hit in found
        ]
    )


async def _list(caller: Caller, given: ListInput) -> ListOutput:
    def read() -> Page:
        with tenant_transaction(caller.actor.org_id):
            return list_memory_page(
                caller.actor, caller.task.agent_id, limit=given.limit, cursor=given.cursor
            )

    page = await run_in_thread(read)
    return ListOutput(
        notes=[
            ListedNote(
                name=row.memory.name, size_bytes=row.size_bytes, updated_at=rfc3339(row.memory.updated_at)
            )
            for row in page.items
        ],
        next=page.next,
    )


async def _delete(caller: Caller, given: NameInput) -> Deleted:
    await run_in_thread(delete_memory, caller.actor, caller.task.agent_id, given.name)
    return Deleted(name=given.name)


TOOLS = (
    Tool(
        "memory_write",
        "Write a note under a name, replacing what the name held before. Use it for facts, preferences and results "
        "that later tasks will need. Read the note first if you only want to change a part of it.",
        WriteInput,
        Written,
        _write,
        destroys=True,
    ),
    Tool(
        "memory_append",
        "Add a line or paragraph to the end of a note; begins the note if there is none of that name. Good for logs "
        "and lists that grow.",
        AppendInput,
        Written,
        _append,
    ),
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
        "Find notes by words in their names and bodies, the best first, each with the part that matched. Parts of "
        "words are found too.",
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
    Tool(
        "memory_delete",
        "Delete one note for good, by its exact name.",
        NameInput,
        Deleted,
        _delete,
        destroys=True,
    ),
)
