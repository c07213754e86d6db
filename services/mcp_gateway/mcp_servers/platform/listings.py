"""The tools that list what work can be passed to."""

from __future__ import annotations

from services.domain.agents.models import Agent
from services.domain.agents.queries import list_agents
from services.domain.tenancy.transaction import tenant_transaction
from services.domain.workspaces.models import Workspace
from services.domain.workspaces.queries import list_workspaces
from services.kit.clock import rfc3339
from services.mcp_gateway.callers import Caller
from services.mcp_gateway.mcp_servers.platform.models import (
    AgentList,
    ListedAgent,
    ListedWorkspace,
    ListInput,
    WorkspaceList,
)
from services.mcp_gateway.mcp_servers.tools import Tool
from services.mcp_gateway.threads import run_in_thread


def _agents_now(caller: Caller, given: ListInput) -> list[Agent]:
    with tenant_transaction(caller.actor.org_id):
        agents = list_agents(caller.actor).order_by("id")
        if given.cursor is not None:
            agents = agents.filter(id__gt=given.cursor)
        return list(agents[: given.limit + 1])


def _workspaces_now(caller: Caller, given: ListInput) -> list[Workspace]:
    with tenant_transaction(caller.actor.org_id):
        workspaces = list_workspaces(caller.actor).filter(archived_at=None).order_by("-id")
        if given.cursor is not None:
            workspaces = workspaces.filter(id__lt=given.cursor)
        return list(workspaces[: given.limit + 1])


async def _list_agents(caller: Caller, given: ListInput) -> AgentList:
    rows = await run_in_thread(_agents_now, caller, given)
    return AgentList(
        agents=[
            ListedAgent(
                agent_id=str(agent.id),
                slug=agent.slug,
                name=agent.name,
                description=agent.description,
                provider=agent.provider,
            )
            for agent in rows[: given.limit]
        ],
        next=str(rows[given.limit - 1].id) if len(rows) > given.limit else None,
    )


async def _list_workspaces(caller: Caller, given: ListInput) -> WorkspaceList:
    rows = await run_in_thread(_workspaces_now, caller, given)
    return WorkspaceList(
        workspaces=[
            ListedWorkspace(
                workspace_id=str(workspace.id),
                name=workspace.name,
                agent=workspace.agent.slug,
                is_persistent=workspace.is_persistent,
                last_active_at=rfc3339(workspace.last_active_at),
            )
            for workspace in rows[: given.limit]
        ],
        next=str(rows[given.limit - 1].id) if len(rows) > given.limit else None,
    )


LISTING_TOOLS = (
    Tool(
        "agent_list",
        "List the agents that work can be passed to, the oldest first, with what each is for.",
        ListInput,
        AgentList,
        _list_agents,
        reads_only=True,
    ),
    Tool(
        "workspace_list",
        "List the open workspaces of your organisation, the newest first. Each is one conversation with its files.",
        ListInput,
        WorkspaceList,
        _list_workspaces,
        reads_only=True,
    ),
)
