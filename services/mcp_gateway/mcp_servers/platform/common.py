"""What the groups of platform tools share: pages, and finding an agent by any of its names."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Annotated, TypeVar

from django.db.models import Model, QuerySet
from pydantic import Field

from services.domain.agents.models import Agent
from services.domain.agents.queries import list_agents
from services.domain.errors import AgentMissing
from services.kit.clock import rfc3339
from services.mcp_gateway.callers import Caller

RowT = TypeVar("RowT", bound=Model)

Limit = Annotated[int, Field(ge=1, le=100, description="The most to return.")]
Cursor = Annotated[
    uuid.UUID | None, Field(description="`next` of the page before; leave out for the first page.")
]
Next = Annotated[
    str | None, Field(description="Give it as `cursor` for the next page; null on the last one.")
]
AgentName = Annotated[
    str | None,
    Field(
        min_length=1,
        max_length=80,
        description="The id, slug or name of an agent from agent_list. Leave out for one of your own kind.",
        examples=["researcher"],
    ),
]
Moment = Annotated[str, Field(description="A moment in UTC.")]
Usd = Annotated[
    float | None,
    Field(
        ge=0,
        le=1_000_000,
        description="The most that its model calls may cost, in US dollars; never more than what you may spend.",
        examples=[0.5],
    ),
]


def page_of(rows: QuerySet[RowT], *, cursor: uuid.UUID | None, limit: int) -> tuple[list[RowT], str | None]:
    """Return the newest rows below a cursor, and the cursor of the next page; in the tenant's transaction."""
    rows = rows.order_by("-id") if cursor is None else rows.order_by("-id").filter(id__lt=cursor)
    found = list(rows[: limit + 1])
    return found[:limit], str(found[limit - 1].pk) if len(found) > limit else None


def agent_id_of(caller: Caller, name: str | None) -> uuid.UUID:
    """Return the agent that is meant, the caller's own when none is named; in the tenant's transaction.

    Raises: AgentMissing.
    """
    if name is None:
        return caller.agent_id
    agents = list_agents(caller.actor)
    try:
        found: list[Agent] = list(agents.filter(id=uuid.UUID(name)))
    except ValueError:
        found = list(agents.filter(slug=name)) or list(agents.filter(name__iexact=name)[:2])
    if len(found) != 1:
        reason = "Several agents have this name: give the slug or id." if found else "There is no such agent."
        raise AgentMissing(reason)
    return found[0].id


def to_microusd(usd: float | None) -> int | None:
    """Return dollars as micro-dollars."""
    return None if usd is None else round(usd * 1_000_000)


def to_usd(microusd: int | None) -> str | None:
    """Return micro-dollars as dollars."""
    return None if microusd is None else f"{microusd / 1_000_000:.6f}"


def moment(value: datetime | None) -> str | None:
    """Format a moment, if there is one."""
    return rfc3339(value) if value is not None else None
