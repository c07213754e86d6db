"""Reading derived images."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from django.db.models import Max, Q, QuerySet

from services.domain.actors import Actor, require
from services.domain.agents.models import Agent
from services.domain.agents.queries import get_agent
from services.domain.errors import AgentImageMissing
from services.domain.images.models import AgentImage, ImageStatus
from services.domain.images.ordering import UNDER_WAY
from services.domain.plane.models import HOLDS_SLOT, Host, Sandbox
from services.domain.tenancy.transaction import tenant_transaction
from services.kit.clock import now
from services.kit.environment import environment

ORPHAN_AGE = timedelta(seconds=90)


@dataclass(frozen=True, slots=True)
class ImageRef:
    """An image of some organisation."""

    org_id: uuid.UUID
    agent_id: uuid.UUID
    image_id: uuid.UUID


def list_images(actor: Actor, agent_id: uuid.UUID) -> QuerySet[AgentImage]:
    """Return an agent's builds without their logs, in the tenant's transaction. Raises: AgentMissing."""
    get_agent(actor, agent_id)
    return AgentImage.objects.filter(agent_id=agent_id).defer("log")


def list_newest_images(actor: Actor, agent_id: uuid.UUID, limit: int = 5) -> list[AgentImage]:
    """List an agent's last builds with their logs, in the tenant's transaction. Raises: AgentMissing."""
    get_agent(actor, agent_id)
    return list(AgentImage.objects.filter(agent_id=agent_id).order_by("-number")[:limit])


def get_image(actor: Actor, image_id: uuid.UUID) -> AgentImage:
    """Return one build, in the tenant's transaction. Raises: AgentImageMissing."""
    require(actor, "agents:read")
    image = AgentImage.objects.filter(id=image_id).first()
    if image is None:
        raise AgentImageMissing("There is no such image.")
    return image


def find_provider(org_id: uuid.UUID, image_id: uuid.UUID) -> str | None:
    """Return the provider of the agent whose image this is, or None when the image is gone."""
    with tenant_transaction(org_id):
        image = AgentImage.objects.select_related("agent").filter(id=image_id).first()
        return image.agent.provider if image else None


def is_copy_on(org_id: uuid.UUID, image_id: uuid.UUID, host: str) -> bool:
    """Say whether a host has an image."""
    with tenant_transaction(org_id):
        return AgentImage.objects.filter(id=image_id, hosts__has_key=host).exists()


def is_leased(org_id: uuid.UUID, image_id: uuid.UUID) -> bool:
    """Say whether somebody builds an image now."""
    with tenant_transaction(org_id):
        return AgentImage.objects.filter(id=image_id, lease_until__gt=now()).exists()


def is_org_building(org_id: uuid.UUID, but: uuid.UUID) -> bool:
    """Say whether an organisation has another build at work."""
    with tenant_transaction(org_id):
        return AgentImage.objects.filter(lease_until__gt=now()).exclude(id=but).exists()


def list_build_hosts() -> list[str]:
    """Name the hosts that are alive and build images."""
    return list(_live_hosts().filter(driver="docker").order_by("name").values_list("name", flat=True))


def all_tenants_abandoned_images() -> list[ImageRef]:
    """List the builds that should be under way and that nobody has."""
    waiting = Q(lease_until=None, created_at__lt=now() - ORPHAN_AGE) | Q(lease_until__lt=now())
    rows = AgentImage.objects.using("operator").filter(waiting, status__in=UNDER_WAY)
    return [ImageRef(*row) for row in rows.values_list("org_id", "agent_id", "id")[:200]]


def all_tenants_homeless_images() -> list[ImageRef]:
    """List the images that agents use and that no living host has."""
    alive = list(_live_hosts().values_list("name", flat=True))
    used = Agent.objects.using("operator").filter(archived_at=None).exclude(image="")
    rows = AgentImage.objects.using("operator").filter(status=ImageStatus.READY, tag__in=used.values("image"))
    rows = rows.filter(Q(lease_until=None) | Q(lease_until__lt=now()))
    if alive:
        rows = rows.exclude(hosts__has_any_keys=alive)
    by_tag = {row[3]: ImageRef(*row[:3]) for row in rows.values_list("org_id", "agent_id", "id", "tag")[:200]}
    return list(by_tag.values())


def all_tenants_outdated_images(host: str, provider: str, base_digest: str) -> list[ImageRef]:
    """List the newest images of a provider's agents that this host has, made of another base than it has now."""
    agents = Agent.objects.using("operator").filter(archived_at=None, provider=provider).exclude(image="")
    newest = agents.annotate(newest=Max("images__number")).values_list("id", "newest")
    numbers = dict(newest)
    rows = AgentImage.objects.using("operator").filter(
        agent_id__in=list(numbers), status=ImageStatus.READY, hosts__has_key=host
    )
    return [
        ImageRef(row.org_id, row.agent_id, row.id)
        for row in rows.defer("log")
        if numbers[row.agent_id] == row.number and row.hosts[host]["base"] != base_digest
    ]


def all_tenants_needed_tags() -> set[str]:
    """Return the tags of the derived images that agents, builds, sandboxes or warm pools need."""
    agents = Agent.objects.using("operator").filter(archived_at=None).exclude(image="")
    building = AgentImage.objects.using("operator").filter(Q(status__in=UNDER_WAY) | Q(lease_until__gt=now()))
    return {
        *agents.values_list("image", flat=True),
        *building.exclude(tag="").values_list("tag", flat=True),
        *Sandbox.objects.filter(state__in=HOLDS_SLOT).values_list("image", flat=True).distinct(),
    }


def all_tenants_mark_unused(tags: Sequence[str], needed: set[str]) -> None:
    """Note of a host's images since when nobody needs them."""
    rows = AgentImage.objects.using("operator").filter(tag__in=tags)
    rows.filter(tag__in=needed).exclude(unused_at=None).update(unused_at=None)
    rows.exclude(tag__in=needed).filter(unused_at=None).update(unused_at=now())


def all_tenants_kept_tags(tags: Sequence[str], *, grace: timedelta) -> dict[str, uuid.UUID]:
    """Return those of the tags that are needed, or were so a while ago, each with its organisation."""
    rows = AgentImage.objects.using("operator").filter(tag__in=tags)
    kept = rows.filter(Q(unused_at=None) | Q(unused_at__gt=now() - grace))
    return dict(kept.values_list("tag", "org_id"))


def all_tenants_owners(tags: Sequence[str]) -> dict[str, uuid.UUID]:
    """Return whose images the tags are."""
    rows = AgentImage.objects.using("operator").filter(tag__in=tags)
    return dict(rows.values_list("tag", "org_id"))


def _live_hosts() -> QuerySet[Host]:
    edge = now() - timedelta(seconds=environment().host_stale_s)
    return Host.objects.filter(fenced_at=None, last_beat_at__gt=edge)
