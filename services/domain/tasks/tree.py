"""What came of one piece of work: all that agents passed on, from the work that began it down to the last."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from django.db import connection

from services.domain.actors import Actor
from services.domain.tasks.models import Task
from services.domain.tasks.queries import get_task, list_tasks

MAX_SHOWN = 500

# A task is younger than its parent, so the walk up and the walk down both end.
_ROOT = """
WITH RECURSIVE chain AS (
    SELECT id, parent_id FROM task WHERE id = %s
    UNION ALL SELECT t.id, t.parent_id FROM task t JOIN chain ON t.id = chain.parent_id
) SELECT id FROM chain WHERE parent_id IS NULL
"""
# In the order of a tree that is read aloud: each before what came of it, the older before the younger.
_DOWN = """
WITH RECURSIVE tree AS (
    SELECT id, ARRAY[id] AS path FROM task WHERE id = %s
    UNION ALL SELECT t.id, tree.path || t.id FROM task t JOIN tree ON t.parent_id = tree.id
) SELECT id, cardinality(path) - 1 FROM tree ORDER BY path LIMIT %s
"""


@dataclass(frozen=True, slots=True)
class Branch:
    """One task of a tree; `depth` 0 is the work that began it."""

    task: Task
    depth: int

    @property
    def steps(self) -> range:
        """Return as many things as it is steps below the beginning."""
        return range(self.depth)


@dataclass(frozen=True, slots=True)
class TaskTree:
    """A tree's tasks, each before what came of it. `is_cut`: there are more than are shown."""

    branches: list[Branch]
    is_cut: bool

    @property
    def cost_microusd(self) -> int:
        """Return what all that is shown has cost."""
        return sum(branch.task.cost_microusd for branch in self.branches)


def get_task_tree(actor: Actor, task_id: uuid.UUID) -> TaskTree:
    """Return the whole tree that a task is in, as far as the actor sees it. In the tenant's transaction.

    Raises: TaskMissing.
    """
    task = get_task(actor, task_id)
    with connection.cursor() as cursor:
        cursor.execute(_ROOT, [task.id])
        (root_id,) = cursor.fetchone()
        cursor.execute(_DOWN, [root_id, MAX_SHOWN + 1])
        depths = dict(cursor.fetchall())
    seen = {row.id: row for row in list_tasks(actor).filter(id__in=depths)}
    branches = [Branch(seen[one], depth) for one, depth in depths.items() if one in seen]
    return TaskTree(branches[:MAX_SHOWN], is_cut=len(depths) > MAX_SHOWN)


def find_workspace_tree(actor: Actor, workspace_id: uuid.UUID) -> TaskTree | None:
    """Return the tree of the newest work of a workspace that was passed on; None when none was."""
    of_here = list_tasks(actor).filter(workspace_id=workspace_id)
    passed_on = of_here.filter(hops__gt=0) | of_here.filter(
        id__in=Task.objects.filter(parent__workspace_id=workspace_id).values("parent_id")
    )
    newest = passed_on.order_by("-id").values_list("id", flat=True).first()
    return get_task_tree(actor, newest) if newest is not None else None
