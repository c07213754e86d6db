"""Reading tasks."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from django.db.models import Exists, OuterRef, QuerySet, Sum

from services.domain.actors import Actor, require
from services.domain.errors import TaskMissing, TokenInvalid
from services.domain.identity.models import Organisation
from services.domain.tasks.models import FINAL, Task, TaskToken, UsageRecord
from services.domain.workspaces.reach import tasks_in_reach
from services.kit.clock import now
from services.kit.tokens import TASK_TOKEN_PREFIX, hash_token


def list_tasks(actor: Actor) -> QuerySet[Task]:
    """Return the tasks that the actor may see; to be read in the tenant's transaction."""
    require(actor, "tasks:read")
    return Task.objects.select_related("agent").filter(tasks_in_reach(actor))


def get_task(actor: Actor, task_id: uuid.UUID) -> Task:
    """Return one task. Raises: TaskMissing."""
    task = list_tasks(actor).filter(id=task_id).first()
    if task is None:
        raise TaskMissing("There is no such task.")
    return task


def list_unfinished_tasks(actor: Actor, workspace_id: uuid.UUID) -> list[Task]:
    """List the workspace's tasks that have not ended, the oldest first; in the tenant's transaction."""
    return list(list_tasks(actor).filter(workspace_id=workspace_id, finished_at=None).order_by("id"))


@dataclass(frozen=True, slots=True)
class UsedSoFar:
    """What a task's model calls have used up to now; those at work count once they end."""

    tokens: int = 0
    cost_microusd: int = 0


def sum_usage(tasks: Sequence[Task]) -> dict[uuid.UUID, UsedSoFar]:
    """Return what each task has used so far, by its id; in the tenant's transaction."""
    if not tasks:
        return {}
    rows = UsageRecord.objects.filter(task__in=tasks).values_list("task").order_by()
    sums = rows.annotate(
        tokens=Sum("input_tokens") + Sum("output_tokens"), cost=Sum("cost_microusd")
    ).values_list("task", "tokens", "cost")
    return {task_id: UsedSoFar(tokens or 0, cost or 0) for task_id, tokens, cost in sums}


def all_tenants_find_task_token(token: str, audience: str) -> TaskToken:
    """Return a good token's row together with its task.

    All tenants, because the token is what tells the tenant. `audience` is `llm` or `mcp:<server>`. Raises:
    TokenInvalid, alike for unknown, expired, foreign and dead ones.
    """
    invalid = TokenInvalid("The token is unknown, expired or for something else.")
    if not token.startswith(TASK_TOKEN_PREFIX):
        raise invalid
    suspended = Organisation.objects.filter(id=OuterRef("org_id"), suspended_at__isnull=False)
    row = (
        TaskToken.objects.using("operator")
        .select_related("task")
        .filter(~Exists(suspended))
        .filter(token_hash=hash_token(token), audience=audience, revoked_at=None, expires_at__gt=now())
        .first()
    )
    if row is None or row.task.status in FINAL:
        raise invalid
    return row


def agent_actor(task: Task) -> Actor:
    """Return the agent at work on a task as an actor, with the narrow rights of an agent."""
    return Actor(
        org_id=task.org_id,
        kind="agent",
        role="member",
        user_id=task.user_id,
        task_id=task.id,
        agent_id=task.agent_id,
        workspace_id=task.workspace_id,
        scopes=frozenset(
            {
                "tasks:read",
                "tasks:write",
                "workspaces:read",
                "workspaces:write",
                "memory:read",
                "memory:write",
                "agents:read",
                "playbooks:read",
                "playbooks:write",
            }
        ),
    )
