"""The organisation's limits over REST."""

from __future__ import annotations

from typing import Self

from services.api.http.operations import Call, Endpoint, operation
from services.api.http.shapes import Shape
from services.domain.tasks.limits import TaskLimits, get_task_limits
from services.kit.environment import environment


class RateShape(Shape):
    """So many requests a second in the long run, and so many at once after a pause."""

    per_s: float
    burst: int


class LimitsShape(Shape):
    """How much may be at once, and how much is. Operators set these; more work than may run waits its turn."""

    max_running_tasks: int
    running_tasks: int
    max_queued_tasks: int
    queued_tasks: int
    requests_of_token: RateShape
    requests_of_organisation: RateShape

    @classmethod
    def of(cls, found: TaskLimits) -> Self:
        """Show the limits of tasks beside those of requests, which are the installation's."""
        env = environment()
        return cls(
            max_running_tasks=found.max_running_tasks,
            running_tasks=found.running_tasks,
            max_queued_tasks=found.max_queued_tasks,
            queued_tasks=found.queued_tasks,
            requests_of_token=RateShape(per_s=env.api_token_per_s, burst=env.api_token_burst),
            requests_of_organisation=RateShape(per_s=env.api_org_per_s, burst=env.api_org_burst),
        )


class Limits(Endpoint):
    """The organisation's limits."""

    tag = "usage"

    @operation()
    def get(self, call: Call) -> LimitsShape:
        """Show what may be at once in the organisation, and what is."""
        return LimitsShape.of(get_task_limits(call.actor))
