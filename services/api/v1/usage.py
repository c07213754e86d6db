"""What was used, over REST: sandboxes and model calls."""

from __future__ import annotations

import uuid
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Self

from pydantic import AwareDatetime, ConfigDict, Field

from services.api.http.bodies import Closed
from services.api.http.operations import Call, Endpoint, operation
from services.api.http.shapes import Moment, Shape, to_usd
from services.domain.errors import Invalid, WorkspaceMissing
from services.domain.metering.queries import GroupBy, UsageReport, Used, get_usage
from services.kit.clock import now

USUAL_STRETCH = timedelta(days=30)
LONGEST_STRETCH = timedelta(days=400)
_EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
_LATEST = datetime(2200, 1, 1, tzinfo=UTC)


class StretchQuery(Closed):
    """Which stretch of time: the hours that begin in it. The last 30 days unless it is said."""

    since: AwareDatetime | None = Field(default=None, alias="from", ge=_EARLIEST, le=_LATEST)
    until: AwareDatetime | None = Field(default=None, alias="to", ge=_EARLIEST, le=_LATEST)

    def stretch(self) -> tuple[datetime, datetime]:
        """Return its two ends in UTC. Raises: Invalid when it is empty, or longer than 400 days."""
        until = self.until or now()
        since = self.since or until - USUAL_STRETCH
        if since >= until or until - since > LONGEST_STRETCH:
            raise Invalid(
                "The stretch of time is not usable.", fields={"from": "before `to`, within 400 days"}
            )
        return since.astimezone(UTC), until.astimezone(UTC)


class UsageQuery(StretchQuery):
    """Which stretch of time, and by what to add up."""

    group_by: GroupBy | None = None
    limit: int = Field(default=50, ge=1, le=200, description="How many groups at most.")
    cursor: str | None = Field(default=None, max_length=40, description="`next` of the page before.")


class UsedShape(Shape):
    """Sums, all of them exact."""

    cpu_ms: int
    memory_byte_seconds: int
    disk_byte_seconds: int
    network_up_bytes: int
    network_down_bytes: int
    input_tokens: int
    output_tokens: int
    cost_microusd: int
    cost_usd: str

    @classmethod
    def of(cls, used: Used) -> Self:
        """Show sums."""
        return cls(**asdict(used), cost_usd=to_usd(used.cost_microusd) or "")


class UsageGroupShape(Shape):
    """The sums of one group; `key` is its id, its date in UTC, a model's name, or empty for what belongs to none."""

    key: str
    used: UsedShape


class UsageShape(Shape):
    """What was used in a stretch of time: in all, and by group when that was asked for."""

    model_config = ConfigDict(from_attributes=True, extra="forbid", serialize_by_alias=True)

    since: Moment = Field(serialization_alias="from")
    until: Moment = Field(serialization_alias="to")
    total: UsedShape
    items: list[UsageGroupShape]
    next: str | None

    @classmethod
    def of(cls, since: datetime, until: datetime, report: UsageReport) -> Self:
        """Show a report."""
        items = [UsageGroupShape(key=key, used=UsedShape.of(used)) for key, used in report.groups]
        total = UsedShape.of(report.total)
        return cls(since=since, until=until, total=total, items=items, next=report.next_key)


class Usage(Endpoint):
    """The organisation's usage."""

    tag = "usage"

    @operation(errors=(Invalid,))
    def get(self, call: Call, query: UsageQuery) -> UsageShape:
        """Add up what sandboxes and model calls used."""
        since, until = query.stretch()
        report = get_usage(
            call.actor,
            since=since,
            until=until,
            group_by=query.group_by,
            limit=query.limit,
            after=query.cursor,
        )
        return UsageShape.of(since, until, report)


class WorkspaceUsage(Endpoint):
    """The usage of one workspace."""

    tag = "usage"

    @operation(errors=(WorkspaceMissing, Invalid))
    def get(self, call: Call, workspace_id: uuid.UUID, query: StretchQuery) -> UsageShape:
        """Add up what a workspace used."""
        since, until = query.stretch()
        report = get_usage(call.actor, since=since, until=until, workspace_id=workspace_id)
        return UsageShape.of(since, until, report)
