"""The tools about agents: list, look, make."""

from __future__ import annotations

from services.domain.agents.making import MadeAgentFields, make_agent
from services.domain.agents.queries import get_agent, list_agents
from services.domain.tenancy.transaction import tenant_transaction
from services.mcp_gateway.callers import Caller
from services.mcp_gateway.mcp_servers.platform.agent_models import (
    AgentInput,
    AgentList,
    AgentListInput,
    CreateAgentInput,
    ListedAgent,
    OneAgent,
)
from services.mcp_gateway.mcp_servers.platform.common import agent_id_of, to_microusd
from services.mcp_gateway.mcp_servers.tools import Tool
from services.mcp_gateway.threads import run_in_thread


def _list_now(caller: Caller, given: AgentListInput) -> AgentList:
    with tenant_transaction(caller.actor.org_id):
        agents = list_agents(caller.actor).order_by("id")
        if given.cursor is not None:
            agents = agents.filter(id__gt=given.cursor)
        rows = list(agents[: given.limit + 1])
    following = str(rows[given.limit - 1].id) if len(rows) > given.limit else None
    return AgentList(agents=[ListedAgent.of(row) for row in rows[: given.limit]], next=following)


def _get_now(caller: Caller, given: AgentInput) -> OneAgent:
    with tenant_transaction(caller.actor.org_id):
        return OneAgent.of(get_agent(caller.actor, agent_id_of(caller, given.agent)))


def _create_now(caller: Caller, given: CreateAgentInput) -> OneAgent:
    values = given.model_dump(exclude={"max_budget_usd"})
    fields = MadeAgentFields(**values, max_budget_microusd=to_microusd(given.max_budget_usd))
    return OneAgent.of(make_agent(caller.actor, fields))


async def _list(caller: Caller, given: AgentListInput) -> AgentList:
    return await run_in_thread(_list_now, caller, given)


async def _get(caller: Caller, given: AgentInput) -> OneAgent:
    return await run_in_thread(_get_now, caller, given)


async def _create(caller: Caller, given: CreateAgentInput) -> OneAgent:
    return await run_in_thread(_create_now, caller, given)


AGENT_TOOLS = (
    Tool(
        "agent_list",
        "List the agents that work can be passed to, the oldest first, with what each is for.",
        AgentListInput,
        AgentList,
        _list,
        reads_only=True,
    ),
    Tool(
        "agent_get",
        "Look at one agent: its model, what it may use and reach, its limits.",
        AgentInput,
        OneAgent,
        _get,
        reads_only=True,
    ),
    Tool(
        "agent_create",
        "Make a new agent of your own kind for the person you work for, with instructions of its own. It may do at "
        "most what you may; at most 20 such agents for a person. Give it work with task_submit.",
        CreateAgentInput,
        OneAgent,
        _create,
    ),
)
