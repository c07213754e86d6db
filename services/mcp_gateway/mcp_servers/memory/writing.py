"""The memory tools that change notes."""

from __future__ import annotations

from services.domain.memory.actions import (
    Forgetting,
    append_memory,
    delete_memory,
    forget_memories,
    write_memory,
)
from services.mcp_gateway.callers import Caller
from services.mcp_gateway.mcp_servers.memory.models import (
    MOST_NAMES,
    AppendInput,
    ForgetInput,
    ForgetManyInput,
    Forgotten,
    WriteInput,
    Written,
)
from services.mcp_gateway.mcp_servers.tools import Tool
from services.mcp_gateway.threads import run_in_thread


async def _write(caller: Caller, given: WriteInput) -> Written:
    note = await run_in_thread(
        write_memory, caller.actor, caller.agent_id, given.name, given.body, if_version=given.if_version
    )
    return Written.of(note)


async def _append(caller: Caller, given: AppendInput) -> Written:
    note = await run_in_thread(append_memory, caller.actor, caller.agent_id, given.name, given.text)
    return Written.of(note)


async def _forget(caller: Caller, given: ForgetInput) -> Forgotten:
    await run_in_thread(delete_memory, caller.actor, caller.agent_id, given.name, if_version=given.if_version)
    return Forgotten(count=1, names=[given.name])


async def _forget_many(caller: Caller, given: ForgetManyInput) -> Forgotten:
    which = Forgetting(given.names, given.name_prefix, given.unchanged_since)
    names = await run_in_thread(forget_memories, caller.actor, caller.agent_id, which)
    return Forgotten(count=len(names), names=names[:MOST_NAMES])


WRITING_TOOLS = (
    Tool(
        "memory_write",
        "Write a note under a name, replacing what the name held before. Use it for facts, preferences and results "
        "that later tasks will need. To change a part of a note, read it first and give its version: another task of "
        "yours may write at the same time.",
        WriteInput,
        Written,
        _write,
        destroys=True,
    ),
    Tool(
        "memory_append",
        "Add a line or paragraph to the end of a note; begins the note if there is none of that name. Good for logs "
        "and lists that grow: two tasks that append at once lose nothing.",
        AppendInput,
        Written,
        _append,
    ),
    Tool(
        "memory_forget",
        "Forget one note for good, by its exact name.",
        ForgetInput,
        Forgotten,
        _forget,
        destroys=True,
    ),
    Tool(
        "memory_forget_many",
        "Forget all of your notes that fit every filter given; at least one is needed. Use memory_list first to see "
        "what would go.",
        ForgetManyInput,
        Forgotten,
        _forget_many,
        destroys=True,
    ),
)
