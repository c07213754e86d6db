"""The warm pool of this host: sandboxes that wait for whoever comes next, kept at the size of recent demand."""

from __future__ import annotations

import logging
import time

from services.domain.agents.models import Agent, Provider
from services.domain.errors import SlipwayError, Temporary
from services.domain.outbox.jobs import DispatchTask, FillPool
from services.domain.plane.actions import change_state, profile_of
from services.domain.plane.demand import PoolBounds, plan_pool
from services.domain.plane.models import Sandbox, SandboxState
from services.domain.tasks.dispatch import all_tenants_has_queued
from services.kit.environment import environment
from services.worker.jobs.dispatching import build_of, dispatch_task
from services.worker.jobs.sandboxes import IN_HAND, remove_container, remove_evicted, start_container
from services.worker.rounds import Rounds

log = logging.getLogger(__name__)

REFUSED_S = 300.0
_rounds = Rounds()
_refused_until: dict[str, float] = {}


def fill_pool(job: FillPool) -> None:
    """Start what the pool lacks and remove what it has too much of. Who waits with a task comes first."""
    if all_tenants_has_queued():
        return
    _rounds.run(_fill)
    if all_tenants_has_queued():
        # Somebody came while the pool held the last slots; now that what it started is there, it can make room.
        dispatch_task(DispatchTask())


def _fill() -> None:
    env = environment()
    build = build_of(Agent(provider=Provider.SHELL))
    moment = time.monotonic()
    refused = {profile for profile, until in _refused_until.items() if until > moment}
    plan = plan_pool(
        env.host_name,
        PoolBounds(least=env.warm_min, most=env.warm_max),
        usual=(profile_of(build), build),
        without=refused,
    )
    IN_HAND.update(sandbox.id for sandbox in plan.to_start)
    try:
        for sandbox in plan.to_remove:
            remove_evicted(sandbox)
        for sandbox in plan.to_start:
            _start(sandbox)
    finally:
        IN_HAND.difference_update(sandbox.id for sandbox in plan.to_start)


def _start(sandbox: Sandbox) -> None:
    try:
        if not start_container(sandbox):
            # Evicted before it was started: whoever did that may have been too early to remove anything.
            remove_container(sandbox.id)
    except SlipwayError as error:
        change_state(sandbox.id, SandboxState.FAILED, error=f"{error.code}: {error.message}")
        if isinstance(error, Temporary):
            raise
        log.warning("no warm sandbox of image %s: %s", sandbox.image, error)
        _refused_until[sandbox.profile] = time.monotonic() + REFUSED_S
