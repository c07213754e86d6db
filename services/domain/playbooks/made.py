"""Playbooks that agents make: how many, how often they run, and with which rights."""

from __future__ import annotations

from datetime import timedelta

from django.db import connection
from django.db.models import Q

from services.domain.actors import Actor
from services.domain.agents.limits import exceeding
from services.domain.agents.models import Agent
from services.domain.errors import Limited, NotPermitted, ScheduleInvalid
from services.domain.playbooks.models import Playbook
from services.domain.playbooks.schedule import next_run
from services.domain.tasks.passing import find_parent, refuse_loops
from services.kit.clock import now

MAX_ENABLED = 50
MAX_KEPT = 500
SHORTEST_PERIOD = timedelta(minutes=5)
_RUNS_LOOKED_AT = 12


def note_maker(actor: Actor, playbook: Playbook) -> None:
    """Note which agent makes a new playbook, and what its work may cost; nothing for a person's own.

    In the tenant's transaction. Raises: LoopStopped, Limited.
    """
    task = find_parent(actor)
    if task is None:
        return
    refuse_loops(actor, task, task.hops + 1)
    playbook.made_by_id, playbook.hops = task.agent_id, task.hops + 1
    cap, own = task.max_budget_microusd, playbook.max_budget_microusd
    playbook.max_budget_microusd = own if cap is None else min(cap, own if own is not None else cap)
    if Playbook.objects.filter(Q(user_id=actor.user_id)).exclude(made_by=None).count() >= MAX_KEPT:
        raise Limited(
            f"There are {MAX_KEPT} playbooks that agents made. Delete some with playbook_delete first.",
            limit=MAX_KEPT,
        )


def check_agents_playbook(actor: Actor, playbook: Playbook) -> None:
    """Refuse what an agent may not set going: with more rights than it has, too often, to other places, too many.

    In the tenant's transaction; nothing is refused to people. Raises: NotPermitted, ScheduleInvalid, Limited.
    """
    task = find_parent(actor)
    if task is None:
        return
    more = exceeding(Agent.objects.get(id=playbook.agent_id), Agent.objects.get(id=task.agent_id))
    if more:
        raise NotPermitted(
            f"That agent may do more than you ({', '.join(more)}), so you cannot set it to work by a playbook. Take "
            "another agent, or pass the work on once with task_submit."
        )
    if playbook.deliver_to is not None and playbook.deliver_to != task.deliver_to:
        kept = Playbook.objects.filter(id=playbook.id).values_list("deliver_to", flat=True).first()
        if playbook.deliver_to != kept:
            raise NotPermitted("You may have answers sent only to where your own answer goes.")
    _refuse_often(playbook)
    if playbook.is_enabled:
        _refuse_many(actor, playbook)


def _refuse_often(playbook: Playbook) -> None:
    if not playbook.cron:
        return
    due = next_run(playbook.cron, playbook.timezone, now())
    for _ in range(_RUNS_LOOKED_AT):
        following = next_run(playbook.cron, playbook.timezone, due)
        if following - due < SHORTEST_PERIOD:
            raise ScheduleInvalid(
                "An agent's playbook runs at most every five minutes.", fields={"cron": "too often"}
            )
        due = following


def _refuse_many(actor: Actor, playbook: Playbook) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))",
            [f"playbooks/{actor.org_id}/{actor.user_id}"],
        )
    enabled = Playbook.objects.filter(Q(user_id=actor.user_id), is_enabled=True).exclude(made_by=None)
    if enabled.exclude(id=playbook.id).count() >= MAX_ENABLED:
        raise Limited(
            f"There are {MAX_ENABLED} playbooks of agents already. Pause or delete one first: see playbook_list.",
            limit=MAX_ENABLED,
        )
