"""What becomes of a derived image: ordered again, taken by a builder, reported on, finished."""

from __future__ import annotations

import hashlib
import json
import uuid
from dataclasses import dataclass
from datetime import timedelta

from services.domain.actors import Actor, require
from services.domain.agents.actions import lock_agent, lock_own_agent
from services.domain.agents.models import Agent
from services.domain.errors import AgentArchived, Invalid, LeaseLost, Limited, NotPermitted
from services.domain.events.announcing import announce_change
from services.domain.events.listed import AgentChanged
from services.domain.images.models import AgentImage, ImageStatus
from services.domain.images.ordering import UNDER_WAY, note_image_changed, order_image
from services.domain.images.packages import packages_of
from services.domain.outbox.jobs import BuildImage, enqueue
from services.domain.ports.images import BuiltImage, Recipe
from services.domain.tenancy.transaction import tenant_transaction
from services.kit.clock import now

BUILD_LEASE = timedelta(seconds=60)
MAX_LOG_BYTES = 64 * 1024
MAX_ATTEMPTS = 5
MAX_REBUILDS = 3


@dataclass(frozen=True, slots=True)
class Lease:
    """A build that is ours until the lease ends."""

    org_id: uuid.UUID
    image_id: uuid.UUID
    token: uuid.UUID
    host: str
    recipe: Recipe


def rebuild_image(actor: Actor, agent_id: uuid.UUID) -> AgentImage:
    """Build an agent's packages anew, so that it gets their latest versions; one that is under way is returned.

    Emits and queues what `order_image` does. Raises: AgentMissing, AgentArchived, Invalid without any packages.
    """
    require(actor, "agents:write")
    with tenant_transaction(actor.org_id):
        return _rebuild(lock_own_agent(actor, agent_id))


def rebuild_own_image(actor: Actor) -> AgentImage:
    """Build the packages of the agent at work anew, a few times an hour; one that is under way is returned.

    Emits and queues what `order_image` does. Raises: as `rebuild_image`; NotPermitted for all but agents; Limited.
    """
    if actor.kind != "agent" or actor.agent_id is None:
        raise NotPermitted("An agent at work rebuilds its own image so.")
    with tenant_transaction(actor.org_id):
        agent = lock_agent(actor.agent_id)
        lately = agent.images.filter(created_at__gt=now() - timedelta(hours=1), is_fresh=True)
        if lately.count() >= MAX_REBUILDS and not agent.images.filter(status__in=UNDER_WAY).exists():
            raise Limited("The image was rebuilt too often.", retry_after_s=1_800, limit=MAX_REBUILDS)
        return _rebuild(agent)


def lease_image(
    org_id: uuid.UUID, image_id: uuid.UUID, host: str, *, base: str, base_digest: str, tag_prefix: str
) -> Lease | None:
    """Take a build for a host; None when there is nothing to do any more, or somebody else is at it.

    What this organisation has built of the same recipe on this host is used again, unless it was to be built anew.
    An image that is ready elsewhere and not here is built here too, and stays ready meanwhile.
    Emits: ImageChanged.
    """
    with tenant_transaction(org_id):
        image = _lock(image_id)
        if image is None or image.status == ImageStatus.FAILED or host in image.hosts:
            return None
        if image.lease_until is not None and image.lease_until > now():
            return None
        if image.attempt >= MAX_ATTEMPTS:
            if image.status != ImageStatus.READY:
                _fail(image, "image_build_failed", "The build was tried too often.")
            return None
        image.base, image.recipe_hash = base, recipe_hash(base_digest, image.packages)
        image.tag = image.tag or f"{tag_prefix}:{image.id.hex}"
        if _reuse(image, host):
            return None
        if image.status != ImageStatus.READY:
            image.status, image.log, image.started_at = ImageStatus.BUILDING, "", now()
        image.attempt += 1
        image.lease_token, image.lease_until = uuid.uuid4(), now() + BUILD_LEASE
        image.save()
        if image.status == ImageStatus.BUILDING:
            note_image_changed(image)
        packages = packages_of(image.packages)
        recipe = Recipe(base_digest, image.tag, tuple(packages.apt), tuple(packages.pip), tuple(packages.npm))
        return Lease(org_id, image.id, image.lease_token, host, recipe)


def renew_lease(lease: Lease, log: str) -> None:
    """Prolong a lease and keep the end of the log so far. Raises: LeaseLost."""
    with tenant_transaction(lease.org_id):
        image = _lock_leased(lease)
        image.lease_until = now() + BUILD_LEASE
        _keep_log(image, log)
        image.save()


def finish_image(lease: Lease, built: BuiltImage, log: str) -> None:
    """Note that an image is on a host; the agent moves to it if it still wants it.

    Emits: ImageChanged. Raises: LeaseLost, and then the image is nobody's.
    """
    with tenant_transaction(lease.org_id):
        image = _lock_leased(lease)
        copy = {"digest": built.digest, "base": lease.recipe.base}
        image.hosts = {**image.hosts, lease.host: copy}
        image.digest, image.size_bytes = built.digest, built.size_bytes
        _keep_log(image, log)
        _settle(image)
        for other in AgentImage.objects.select_for_update().filter(tag=image.tag).exclude(id=image.id):
            other.hosts = {**other.hosts, lease.host: copy}
            other.save(update_fields=["hosts"])


def fail_image(lease: Lease, code: str, message: str, log: str) -> None:
    """Note that a build failed; the agent stays with what it has. Emits: ImageChanged. Raises: LeaseLost."""
    with tenant_transaction(lease.org_id):
        image = _lock_leased(lease)
        _keep_log(image, log)
        if image.status == ImageStatus.READY:
            image.lease_token = image.lease_until = None
            image.save()
        else:
            _fail(image, code, message)


def refuse_image(org_id: uuid.UUID, image_id: uuid.UUID, code: str, message: str) -> None:
    """Note that an image cannot be built at all, before anybody has taken it. Emits: ImageChanged."""
    with tenant_transaction(org_id):
        image = _lock(image_id)
        if image is not None and image.status in UNDER_WAY:
            _fail(image, code, message)


def give_back_image(lease: Lease) -> None:
    """Let go of a build that could not be tried, for a later attempt. Raises: LeaseLost."""
    with tenant_transaction(lease.org_id):
        image = _lock_leased(lease)
        image.lease_token = image.lease_until = None
        if image.status == ImageStatus.BUILDING:
            image.status = ImageStatus.QUEUED
        image.save()


def order_copy(org_id: uuid.UUID, image_id: uuid.UUID, host: str) -> None:
    """Have a host build an image that is ready elsewhere. Queues: BuildImage."""
    with tenant_transaction(org_id):
        enqueue(BuildImage(org_id=org_id, image_id=image_id, host=host))


def find_copy_to_make(org_id: uuid.UUID, tag: str, host: str) -> uuid.UUID | None:
    """Return the image that a host was thought to have, or never had, by its tag; None when it is none of ours.

    From here on nobody thinks that the host has it.
    """
    with tenant_transaction(org_id):
        forget_copy(org_id, tag, host)
        ready = AgentImage.objects.filter(tag=tag, status=ImageStatus.READY)
        return ready.order_by("-number").values_list("id", flat=True).first()


def order_rebuild(org_id: uuid.UUID, agent_id: uuid.UUID, image_id: uuid.UUID) -> None:
    """Build an agent's image on its provider's new base, if this image is still its newest."""
    with tenant_transaction(org_id):
        agent = lock_agent(agent_id)
        newest = agent.images.order_by("-number").first()
        if newest is not None and newest.id == image_id and agent.archived_at is None:
            order_image(agent, is_fresh=True)


def forget_copy(org_id: uuid.UUID, tag: str, host: str) -> None:
    """Note that an image is not on a host any more."""
    with tenant_transaction(org_id):
        for image in (
            AgentImage.objects.select_for_update().filter(tag=tag, hosts__has_key=host).order_by("id")
        ):
            image.hosts = {name: copy for name, copy in image.hosts.items() if name != host}
            image.save(update_fields=["hosts"])


def recipe_hash(base_digest: str, packages: dict[str, list[str]]) -> str:
    """Return what two builds have in common that come to the same."""
    text = json.dumps([base_digest, packages_of(packages).model_dump()], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _rebuild(agent: Agent) -> AgentImage:
    if agent.archived_at is not None:
        raise AgentArchived("The agent is archived.")
    under_way = agent.images.filter(status__in=UNDER_WAY).order_by("-number").first()
    image = under_way or order_image(agent, is_fresh=True)
    if image is None:
        raise Invalid("The agent has no packages.", fields={"packages": "none to build"})
    return image


def _lock(image_id: uuid.UUID) -> AgentImage | None:
    """Lock an image, after its agent: the order in which a change of the agent locks them."""
    image = AgentImage.objects.filter(id=image_id).first()
    if image is None:
        return None
    Agent.objects.select_for_update().get(id=image.agent_id)
    return AgentImage.objects.select_for_update().filter(id=image_id).first()


def _lock_leased(lease: Lease) -> AgentImage:
    image = _lock(lease.image_id)
    if image is None or image.lease_token != lease.token:
        raise LeaseLost("Somebody else builds this image, or nobody wants it any more.")
    return image


def _reuse(image: AgentImage, host: str) -> bool:
    """Take over what was built of the same recipe; True when there was such an image."""
    if image.is_fresh or image.status == ImageStatus.READY:
        return False
    same = AgentImage.objects.filter(
        recipe_hash=image.recipe_hash, status=ImageStatus.READY, hosts__has_key=host
    ).exclude(id=image.id)
    found = same.order_by("-id").first()
    if found is None:
        return False
    image.tag, image.digest, image.size_bytes = found.tag, found.digest, found.size_bytes
    image.hosts, image.log = found.hosts, "The same packages were built before; that image is used.\n"
    image.started_at = now()
    _settle(image)
    return True


def _settle(image: AgentImage) -> None:
    """Make an image ready, and its agent use it when it is the newest that was ordered."""
    was_ready = image.status == ImageStatus.READY
    image.status, image.error_code, image.error_message = ImageStatus.READY, "", ""
    image.lease_token = image.lease_until = image.unused_at = None
    image.attempt = 0
    image.finished_at = image.finished_at if was_ready else now()
    image.save()
    if was_ready:
        return
    is_newest = not AgentImage.objects.filter(agent_id=image.agent_id, number__gt=image.number).exists()
    if is_newest:
        agent = Agent.objects.get(id=image.agent_id)
        agent.image = image.tag
        agent.save(update_fields=["image"])
        announce_change(AgentChanged, agent)
    note_image_changed(image)


def _fail(image: AgentImage, code: str, message: str) -> None:
    image.status, image.error_code, image.error_message = ImageStatus.FAILED, code, message[:300]
    image.lease_token = image.lease_until = None
    image.finished_at = now()
    image.save()
    note_image_changed(image)


def _keep_log(image: AgentImage, log: str) -> None:
    if image.status == ImageStatus.BUILDING:
        image.log = log.encode("utf-8", "replace")[-MAX_LOG_BYTES:].decode("utf-8", "ignore")
