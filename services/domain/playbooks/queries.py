"""Reading playbooks."""

from __future__ import annotations

import uuid

from django.db.models import Q, QuerySet

from services.domain.actors import Actor, require
from services.domain.errors import PlaybookMissing
from services.domain.playbooks.models import Playbook, PlaybookRun


def playbooks_in_reach(actor: Actor) -> Q:
    """Return which playbooks exist for an actor: for an agent its person's, or without one those of its own kind."""
    if actor.kind != "agent":
        return Q()
    if actor.user_id is not None:
        return Q(user_id=actor.user_id)
    return Q(user=None, made_by_id=actor.agent_id)


def list_playbooks(actor: Actor) -> QuerySet[Playbook]:
    """Return the playbooks; to be read in the tenant's transaction."""
    require(actor, "playbooks:read")
    return (
        Playbook.objects.filter(playbooks_in_reach(actor)).select_related("agent").defer("sealed_hook_secret")
    )


def get_playbook(actor: Actor, playbook_id: uuid.UUID) -> Playbook:
    """Return one playbook. Raises: PlaybookMissing."""
    playbook = list_playbooks(actor).filter(id=playbook_id).first()
    if playbook is None:
        raise PlaybookMissing("There is no such playbook.")
    return playbook


def list_runs(actor: Actor, playbook_id: uuid.UUID) -> QuerySet[PlaybookRun]:
    """Return a playbook's runs, with their tasks. Raises: PlaybookMissing."""
    get_playbook(actor, playbook_id)
    return PlaybookRun.objects.select_related("task").filter(playbook_id=playbook_id)


def list_last_runs(actor: Actor, playbook_id: uuid.UUID, *, limit: int = 25) -> list[PlaybookRun]:
    """List a playbook's last runs, the newest first. Raises: PlaybookMissing."""
    return list(list_runs(actor, playbook_id).order_by("-id")[:limit])
