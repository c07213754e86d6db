"""Over REST: what agents called through the gateway. Names, times and sizes, never what was said."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import Any, Literal, Self

from pydantic import AwareDatetime, Field

from services.api.http.operations import Call, Endpoint, operation
from services.api.http.paging import PageQuery, page_of
from services.api.http.shapes import Moment, Page, Shape
from services.domain.calls.models import McpCall
from services.domain.calls.queries import list_calls

_EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
_LATEST = datetime(2200, 1, 1, tzinfo=UTC)
_NAME = r"^[^\x00-\x1f]+$"

Kind = Literal["own", "upstream", "model"]
Outcome = Literal["ok", "error", "refused", "limited", "held", "timeout", "cancelled"]


class CallShape(Shape):
    """One call that ended. `own` are the platform's servers, `upstream` registered ones, `model` a model's vendor."""

    id: uuid.UUID
    kind: Kind
    server: str
    tool: str
    outcome: Outcome
    code: str = Field(description="The error's code; empty when it went well.")
    task_id: uuid.UUID | None
    agent_id: uuid.UUID | None
    user_id: uuid.UUID | None
    started_at: Moment
    duration_ms: float
    request_bytes: int
    result_bytes: int
    attempts: int | None = Field(
        description="How often a vendor was asked for a model's answer, 0 if it was refused before. Null for tools."
    )

    @classmethod
    def of(cls, call: McpCall) -> Self:
        """Show a row."""
        return cls.model_validate(call)


class CallQuery(PageQuery):
    """Which calls. `from` and `to` are about when a call began."""

    task_id: uuid.UUID | None = None
    agent_id: uuid.UUID | None = None
    kind: Kind | None = None
    server: str | None = Field(default=None, max_length=80, pattern=_NAME)
    tool: str | None = Field(default=None, max_length=200, pattern=_NAME)
    outcome: Outcome | None = None
    since: AwareDatetime | None = Field(default=None, alias="from", ge=_EARLIEST, le=_LATEST)
    until: AwareDatetime | None = Field(default=None, alias="to", ge=_EARLIEST, le=_LATEST)

    def filters(self) -> dict[str, Any]:
        """Return what the query asks for, as look-ups on the rows' own columns."""
        filters = super().filters()
        stretch = {
            "started_at__gte": filters.pop("since", None),
            "started_at__lt": filters.pop("until", None),
        }
        return filters | {name: moment for name, moment in stretch.items() if moment is not None}


class Calls(Endpoint):
    """What was called."""

    tag = "calls"

    @operation()
    def get(self, call: Call, query: CallQuery) -> Page[CallShape]:
        """List calls of tools and models, newest first; kept for 30 days."""
        return page_of(list_calls(call.actor), query, CallShape.of)
