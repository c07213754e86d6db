"""Ordering the build of an agent's image, in the transaction that wants it."""

from __future__ import annotations

from django.db.models import Q

from services.domain.agents.images import image_of
from services.domain.agents.models import Agent
from services.domain.events.announcing import announce, announce_change
from services.domain.events.listed import AgentChanged
from services.domain.events.types import ImageChanged
from services.domain.images.models import AgentImage, ImageStatus
from services.domain.images.packages import packages_of
from services.domain.outbox.jobs import BuildImage, enqueue
from services.kit.clock import now
from services.kit.environment import environment

KEPT_BUILDS = 20
UNDER_WAY = (ImageStatus.QUEUED, ImageStatus.BUILDING)


def order_image(agent: Agent, *, is_fresh: bool = False) -> AgentImage | None:
    """Order what a locked agent's packages ask for; a build under way for it is overtaken. None when nothing is asked.

    `is_fresh` builds even what has been built before. Emits: ImageChanged. Queues: BuildImage.
    """
    _overtake(agent)
    packages = packages_of(agent.packages)
    if packages.is_empty:
        if agent.image:
            agent.image = ""
            agent.save(update_fields=["image"])
            announce_change(AgentChanged, agent)
        return None
    newest = agent.images.order_by("-number").first()
    image = AgentImage.objects.create(
        org_id=agent.org_id,
        agent=agent,
        number=newest.number + 1 if newest else 1,
        base=image_of(agent.provider, environment()),
        packages=packages.model_dump(),
        is_fresh=is_fresh,
    )
    note_image_changed(image)
    enqueue(BuildImage(org_id=agent.org_id, image_id=image.id))
    agent.images.filter(Q(hosts={}), number__lte=image.number - KEPT_BUILDS).delete()
    return image


def note_image_changed(image: AgentImage) -> None:
    """Tell the organisation how far a build is. Emits: ImageChanged."""
    announce(
        ImageChanged(
            image_id=str(image.id),
            agent_id=str(image.agent_id),
            status=ImageStatus(image.status).value,
            error=image.error_code,
        )
    )


def _overtake(agent: Agent) -> None:
    """End what is under way for an agent: whoever builds it finds its lease gone, and drops the result."""
    for image in agent.images.select_for_update().filter(status__in=UNDER_WAY):
        image.status, image.error_code = ImageStatus.FAILED, "image_overtaken"
        image.error_message = "The agent's packages were changed before this was built."
        image.finished_at, image.lease_token, image.lease_until = now(), None, None
        image.save()
        note_image_changed(image)
