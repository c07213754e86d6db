"""Work that agents pass on: how often in a row, and how much of it, so that no loop between agents runs for long.

A playbook that an agent made goes on counting where that agent was, so a loop by way of a schedule ends as well.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db import connection
from django.db.models import Q

from services.domain.actors import Actor
from services.domain.errors import LoopStopped
from services.domain.tasks.models import Task
from services.kit.clock import now

MAX_HOPS = 5
WINDOW = timedelta(hours=1)
MAX_OF_A_TREE = 100
MAX_OF_A_PERSON = 200

# A task is younger than its parent, so the walk up and the walk down both end.
_IN_TREE = """
WITH RECURSIVE chain AS (
    SELECT id, parent_id FROM task WHERE id = %(parent)s
    UNION ALL SELECT t.id, t.parent_id FROM task t JOIN chain ON t.id = chain.parent_id
), tree AS (
    SELECT id, created_at FROM task WHERE id = (SELECT id FROM chain WHERE parent_id IS NULL)
    UNION ALL SELECT t.id, t.created_at FROM task t JOIN tree ON t.parent_id = tree.id
) SELECT count(*) FROM tree WHERE created_at > %(since)s
"""


def find_parent(actor: Actor) -> Task | None:
    """Return the task at work that acts, in the tenant's transaction; None for everybody but agents."""
    return Task.objects.filter(id=actor.task_id).first() if actor.task_id is not None else None


def refuse_loops(actor: Actor, parent: Task | None, hops: int) -> None:
    """Refuse work that would be passed on too often, or too much at once, in the tenant's transaction.

    `hops` is how often the new work would have been passed on; 0 is a person's own, and never refused.
    Locks: all that is passed on for the person. Raises: LoopStopped.
    """
    if hops == 0:
        return
    if hops > MAX_HOPS:
        raise LoopStopped(
            f"Agents may pass work on at most {MAX_HOPS} times in a row, and this work has been. Do it yourself, or "
            "give back what you have as your answer.",
            limit=MAX_HOPS,
        )
    with connection.cursor() as cursor:
        # Those that count at the same time would each leave out the others.
        cursor.execute(
            "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"hops/{actor.org_id}/{actor.user_id}"]
        )
    since = now() - WINDOW
    passed_on = Task.objects.filter(Q(user_id=actor.user_id), hops__gt=0, created_at__gt=since).count()
    if passed_on >= MAX_OF_A_PERSON:
        _stop(f"Agents of one person pass on at most {MAX_OF_A_PERSON} tasks an hour.", MAX_OF_A_PERSON)
    if parent is not None and _count_tree(parent, since) >= MAX_OF_A_TREE:
        _stop(f"What comes of one task is at most {MAX_OF_A_TREE} tasks an hour.", MAX_OF_A_TREE)


def _count_tree(parent: Task, since: datetime) -> int:
    with connection.cursor() as cursor:
        cursor.execute(_IN_TREE, {"parent": parent.id, "since": since})
        return int(cursor.fetchone()[0])


def _stop(reason: str, limit: int) -> None:
    raise LoopStopped(
        f"{reason} Wait for those that you submitted, and do the rest yourself.",
        retry_after_s=WINDOW.total_seconds() / 6,
        limit=limit,
    )
