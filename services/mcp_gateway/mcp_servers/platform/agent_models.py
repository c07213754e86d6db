"""What the agent tools take and give."""

from __future__ import annotations

import uuid
from typing import Annotated

from pydantic import Field

from services.domain.agents.models import Agent
from services.domain.egress.rules import read_rules, show_rule
from services.mcp_gateway.mcp_servers.platform.common import Limit, Next, Usd, to_usd
from services.mcp_gateway.mcp_servers.tools import ToolInput, ToolOutput

Entry = Annotated[str, Field(min_length=1, max_length=300)]


class AgentListInput(ToolInput):
    limit: Limit = 50
    cursor: uuid.UUID | None = Field(
        default=None, description="`next` of the page before; leave out for the first page."
    )


class AgentInput(ToolInput):
    agent: str = Field(
        min_length=1,
        max_length=80,
        description="The id, slug or name of an agent from agent_list.",
        examples=["researcher"],
    )


class CreateAgentInput(ToolInput):
    name: str = Field(min_length=1, max_length=80, description="What people see.", examples=["Proofreader"])
    description: str = Field(
        default="",
        max_length=300,
        description="What it is for, in one sentence.",
        examples=["Finds mistakes in texts and explains them."],
    )
    instructions: str = Field(
        min_length=1,
        max_length=100_000,
        description="What it is told before each task: who it is, how it works, what it must not do.",
        examples=["You proofread. List each mistake with its correction. Change nothing else."],
    )
    model: str | None = Field(
        default=None, max_length=100, description="Its model; leave out for the one that you have."
    )
    mcp_servers: list[Entry] | None = Field(
        default=None,
        max_length=20,
        description="The MCP servers that it may use, out of your own; leave out for all of them.",
        examples=[["memory"]],
    )
    tools: list[Entry] | None = Field(
        default=None,
        max_length=200,
        description="The built-in tools that it may use, out of your own; leave out for all of them.",
    )
    egress: list[Entry] | None = Field(
        default=None,
        max_length=200,
        description="The hosts that it may reach, out of your own; an empty list for none, leave out for all of them.",
        examples=[["api.github.com", "*.python.org:443 GET,HEAD"]],
    )
    timeout_s: int | None = Field(
        default=None, ge=1, le=86_400, description="The longest that a task of it may take; at most as yours."
    )
    max_budget_usd: Usd = None


class ListedAgent(ToolOutput):
    agent_id: str = Field(description="The agent's id.")
    slug: str = Field(description="Its short name, by which other tools take it.")
    name: str = Field(description="What people see.")
    description: str = Field(description="What it is for.")
    provider: str = Field(description="What runs in its sandbox.")

    @classmethod
    def of(cls, agent: Agent) -> ListedAgent:
        """Describe an agent."""
        return cls(**_listed(agent))


class OneAgent(ListedAgent):
    model: str = Field(description="Its model; empty for its provider's own.")
    mcp_servers: list[str] = Field(description="The MCP servers that it may use.")
    egress: list[str] = Field(description="The hosts that it may reach.")
    timeout_s: int = Field(description="The longest that a task of it may take.")
    max_budget_usd: str | None = Field(description="The most that a task of it may cost; null for no limit.")
    is_shared: bool = Field(description="Whether everybody in the organisation may use it.")
    is_made_by_agent: bool = Field(description="Whether an agent made it.")

    @classmethod
    def of(cls, agent: Agent) -> OneAgent:
        """Describe an agent."""
        return cls(
            **_listed(agent),
            model=agent.model,
            mcp_servers=list(agent.mcp_servers),
            egress=[show_rule(rule) for rule in read_rules(agent.egress)],
            timeout_s=agent.timeout_s,
            max_budget_usd=to_usd(agent.max_budget_microusd),
            is_shared=agent.is_shared,
            is_made_by_agent=agent.made_by_id is not None,
        )


class AgentList(ToolOutput):
    agents: list[ListedAgent] = Field(description="The agents, the oldest first.")
    next: Next


def _listed(agent: Agent) -> dict[str, str]:
    return {
        "agent_id": str(agent.id),
        "slug": agent.slug,
        "name": agent.name,
        "description": agent.description,
        "provider": agent.provider,
    }
