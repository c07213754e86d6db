"""The tool that searches what all agents remember of the person."""

from __future__ import annotations

from pydantic import Field

from services.domain.memory.queries import search_all_memories
from services.domain.tenancy.transaction import tenant_transaction
from services.kit.clock import rfc3339
from services.mcp_gateway.callers import Caller
from services.mcp_gateway.mcp_servers.tools import Tool, ToolInput, ToolOutput
from services.mcp_gateway.threads import run_in_thread


class MemoryQueryInput(ToolInput):
    query: str = Field(
        min_length=1,
        max_length=500,
        description="Words to look for; the more fit, the higher a note comes.",
        examples=["favourite restaurant"],
    )
    limit: int = Field(default=10, ge=1, le=50, description="The most to return.")


class FoundAnywhere(ToolOutput):
    agent: str = Field(description="The slug of the agent that remembers it.")
    name: str = Field(description="The note's name.")
    body: str = Field(description="The note's text, or the part of it that shows why it was found.")
    updated_at: str = Field(description="When the note was last written, in UTC.")


class MemoryQueryOutput(ToolOutput):
    notes: list[FoundAnywhere] = Field(description="The notes that were found, the best first.")


def _query_now(caller: Caller, given: MemoryQueryInput) -> MemoryQueryOutput:
    agent_id = caller.agent_id if caller.task_id is not None else None
    with tenant_transaction(caller.actor.org_id):
        found = search_all_memories(caller.actor, agent_id, given.query, limit=given.limit)
        return MemoryQueryOutput(
            notes=[
                FoundAnywhere(
                    agent=hit.memory.agent.slug,
                    name=hit.memory.name,
                    body=hit.snippet,
                    updated_at=rfc3339(hit.memory.updated_at),
                )
                for hit in found
            ]
        )


async def _query(caller: Caller, given: MemoryQueryInput) -> MemoryQueryOutput:
    return await run_in_thread(_query_now, caller, given)


MEMORY_TOOLS = (
    Tool(
        "memory_query",
        "Search what every agent remembers of the person you work for, not only your own notes. Your owner must have "
        "allowed it; without that use memory_search.",
        MemoryQueryInput,
        MemoryQueryOutput,
        _query,
        reads_only=True,
    ),
)
