"""What of an organisation's work an agent reaches: that of the person it works for, and its own.

People and the platform are not narrowed here: their rights are roles and scopes. A token that names agents reaches
their work only.
"""

from __future__ import annotations

from django.db.models import Q

from services.domain.actors import Actor
from services.domain.agents.queries import of_named_agents
from services.domain.tasks.models import Task


def workspaces_in_reach(actor: Actor) -> Q:
    """Return which workspaces exist for an actor.

    An agent at work for a person reaches that person's, and the one it is in; work that no person started reaches
    the one it is in, and those to which it passed work on from there.
    """
    if actor.kind != "agent":
        return of_named_agents(actor)
    own = Q(id=actor.workspace_id)
    if actor.user_id is not None:
        return own | Q(user_id=actor.user_id)
    passed_on = Task.objects.filter(Q(parent__workspace_id=actor.workspace_id), user=None)
    return own | Q(user=None, id__in=passed_on.values("workspace_id"))


def tasks_in_reach(actor: Actor) -> Q:
    """Return which tasks exist for an actor: the same people's and places' as its workspaces."""
    if actor.kind != "agent":
        return of_named_agents(actor)
    if actor.user_id is not None:
        return Q(user_id=actor.user_id)
    of_here = Task.objects.filter(Q(workspace_id=actor.workspace_id))
    return Q(user=None) & (Q(workspace_id=actor.workspace_id) | Q(parent_id__in=of_here.values("id")))
