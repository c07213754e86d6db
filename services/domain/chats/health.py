"""Whether links work: asked when they are made and from then on, told to whoever made them when that changes."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db.models import QuerySet

from services.domain.actors import Actor, require
from services.domain.chats.actions import read_link_config
from services.domain.chats.models import Link, LinkHealth, LinkListener, ListenerStatus
from services.domain.chats.queries import get_link
from services.domain.errors import LinkMissing
from services.domain.events.announcing import announce_change
from services.domain.events.listed import LinkChanged
from services.domain.events.types import NotificationCreated
from services.domain.identity.models import Membership
from services.domain.ports.chat_abilities import Health
from services.domain.push.telling import tell_person
from services.domain.tenancy.transaction import tenant_transaction
from services.kit.clock import now
from services.kit.environment import environment

CHECK_EVERY = timedelta(minutes=5)
SILENT_LIMIT = 3
"""A platform may be away for a moment: only the third check in a row without an answer says that a link is broken."""
_ADMINS = ("owner", "admin")
_MAX_ERROR = 300
MAX_HISTORY = 50
"""Changes that are kept of one link."""


@dataclass(frozen=True, slots=True)
class LinkToCheck:
    """A link to ask its platform about. `config` is open: do not log it."""

    kind: str
    config: dict[str, Any]
    hook_url: str


def hook_url(link: Link) -> str:
    """Return the address at which a platform reaches a link."""
    return f"{environment().public_url.rstrip('/')}/hooks/{link.kind}/{link.id}"


def find_check(org_id: uuid.UUID, link_id: uuid.UUID) -> LinkToCheck | None:
    """Return what to ask about a link that was connected once; None for any other."""
    with tenant_transaction(org_id):
        link = Link.objects.filter(id=link_id).exclude(status="pending").first()
        return LinkToCheck(link.kind, read_link_config(link), hook_url(link)) if link is not None else None


def note_connected(actor: Actor, link_id: uuid.UUID, *, identity: str) -> Link:
    """Record that the platform accepted the credentials. Emits: LinkChanged. Raises: LinkMissing."""
    require(actor, "chats:write")
    with tenant_transaction(actor.org_id):
        link = _lock(link_id)
        link.platform_identity = identity[:120]
        _settle(link, Health(), is_certain=True)
        return link


def note_failed(actor: Actor, link_id: uuid.UUID, *, error: str) -> Link:
    """Record why the platform refused the credentials. Emits: LinkChanged. Raises: LinkMissing."""
    require(actor, "chats:write")
    with tenant_transaction(actor.org_id):
        link = _lock(link_id)
        # Whoever connects it sees it: nobody else is told.
        _settle(link, Health(error), is_certain=True)
        return link


def note_health(org_id: uuid.UUID, link_id: uuid.UUID, health: Health) -> Link:
    """Record what a check found, and tell people when a link is broken, or mended. Locks: the link.

    Emits: LinkChanged, NotificationCreated. Raises: LinkMissing.
    """
    with tenant_transaction(org_id):
        link = _lock(link_id)
        was = link.status
        health = _with_listener(link, health)
        link.silent_checks = link.silent_checks + 1 if health.is_silent else 0
        _settle(link, health, is_certain=not health.is_silent or link.silent_checks >= SILENT_LIMIT)
        if was != link.status and "pending" not in (was, link.status):
            _tell_people(link)
        return link


def all_tenants_claim_due_checks(*, limit: int = 100) -> list[tuple[uuid.UUID, uuid.UUID]]:
    """List the links that are due for a check, each for one caller; it is due again after a while."""
    moment = now()
    due = Link.objects.using("operator").filter(status__in=("connected", "failed"), next_check_at__lte=moment)
    claimed = []
    for org_id, link_id in list(due.order_by("next_check_at").values_list("org_id", "id")[:limit]):
        if due.filter(id=link_id).update(next_check_at=moment + CHECK_EVERY):
            claimed.append((org_id, link_id))
    return claimed


def _with_listener(link: Link, health: Health) -> Health:
    """Return what is wrong all in all: a platform may be content with a link whose messages nobody can hear."""
    if health.problem:
        return health
    failed = LinkListener.objects.filter(link=link, status=ListenerStatus.FAILED).first()
    return health if failed is None else Health(failed.last_error)


def _settle(link: Link, health: Health, *, is_certain: bool) -> None:
    was = (link.status, link.last_error)
    if not health.is_silent:
        link.reached_at = now()
    link.checked_at, link.next_check_at = now(), now() + CHECK_EVERY
    if is_certain:
        link.status, link.last_error = (
            ("failed" if health.problem else "connected"),
            health.problem[:_MAX_ERROR],
        )
    link.save()
    if (link.status, link.last_error) != was:
        _keep_history(link)
        announce_change(LinkChanged, link)


def _keep_history(link: Link) -> None:
    LinkHealth.objects.create(org_id=link.org_id, link=link, status=link.status, reason=link.last_error)
    kept = LinkHealth.objects.filter(link=link).order_by("-id").values_list("id", flat=True)[:MAX_HISTORY]
    LinkHealth.objects.filter(link=link).exclude(id__in=list(kept)).delete()


def list_history(actor: Actor, link_id: uuid.UUID) -> QuerySet[LinkHealth]:
    """Return how a link has fared, to be read in the tenant's transaction. Raises: LinkMissing."""
    get_link(actor, link_id)
    return LinkHealth.objects.filter(link_id=link_id)


def _tell_people(link: Link) -> None:
    """Tell whoever made the link and is a member still, else the admins."""
    members = Membership.objects.order_by("user_id").values_list("user_id", flat=True)
    maker = link.created_by_id
    people = list(members.filter(user_id=maker)) if maker is not None else []
    people = people or list(members.filter(role__in=_ADMINS))
    is_broken = link.status == "failed"
    message = f"The link {link.name} ({link.kind}) works again."
    if is_broken:
        message = f"The link {link.name} ({link.kind}) does not work: {link.last_error}"
    for person in people:
        tell_person(person, NotificationCreated(message=message, urgency="high" if is_broken else "normal"))


def _lock(link_id: uuid.UUID) -> Link:
    link = Link.objects.select_for_update().filter(id=link_id).first()
    if link is None:
        raise LinkMissing("There is no such link.")
    return link
