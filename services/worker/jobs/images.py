"""Building derived images on this host, and removing those that nobody needs any more."""

from __future__ import annotations

import functools
import logging
import threading
import time
import uuid
from datetime import timedelta

from django.db import connections, transaction

from services.adapters.images.registry import make_builder
from services.domain.agents.images import image_of
from services.domain.agents.models import Provider
from services.domain.errors import ImageMissing, LeaseLost, Permanent, SlipwayError, Temporary
from services.domain.images import actions
from services.domain.images.actions import BUILD_LEASE, MAX_LOG_BYTES, Lease
from services.domain.images.queries import (
    all_tenants_abandoned_images,
    all_tenants_homeless_images,
    all_tenants_kept_tags,
    all_tenants_mark_unused,
    all_tenants_needed_tags,
    all_tenants_outdated_images,
    all_tenants_owners,
    find_provider,
    is_copy_on,
    is_leased,
    is_org_building,
    list_build_hosts,
)
from services.domain.outbox.jobs import BuildImage, enqueue
from services.domain.ports.images import BuiltImage, ImageBuilder
from services.kit.clock import now
from services.kit.environment import environment

log = logging.getLogger(__name__)

BUILDS_AT_ONCE = 2
BUSY_DELAY = timedelta(seconds=5)
RENEW_S = 10.0
REMOVE_GRACE = timedelta(hours=1)
_free = threading.BoundedSemaphore(BUILDS_AT_ONCE)


@functools.cache
def builder() -> ImageBuilder:
    """Return this host's builder."""
    env = environment()
    return make_builder(env.sandbox_driver, env.installation, docker_host=env.docker_host)


def build_image(job: BuildImage) -> None:
    """Build an agent's image here, or pass it on to a host that can. Raises: EngineAway."""
    if _passed_on(job):
        return
    if is_org_building(job.org_id, job.image_id) or not _free.acquire(blocking=False):
        # One organisation's builds are one after the other, and they never take all of a host.
        with transaction.atomic(using="operator"):
            enqueue(job, not_before=now() + BUSY_DELAY, using="operator")
        return
    try:
        lease = _take(job)
        if lease is not None:
            _Build(lease).run()
    finally:
        _free.release()


def bring_image(org_id: uuid.UUID, tag: str) -> bool:
    """Build here an agent's image that a sandbox needs and this engine lacks; False when it is not to be had.

    Raises: EngineAway.
    """
    host = environment().host_name
    image_id = actions.find_copy_to_make(org_id, tag, host)
    if image_id is None:
        return False
    while not is_copy_on(org_id, image_id, host):
        with _free:
            lease = _take(BuildImage(org_id=org_id, image_id=image_id, host=host))
            if lease is not None:
                _Build(lease).run()
        if lease is not None or not is_leased(org_id, image_id):
            return is_copy_on(org_id, image_id, host)
        time.sleep(1.0)
    return True


class _Build:
    """One build under its lease: the log grows, a thread keeps the lease, and ends the build when it is lost."""

    def __init__(self, lease: Lease) -> None:
        self._lease = lease
        self._log = ""
        self._stop = threading.Event()
        self._ended = threading.Event()

    def run(self) -> None:
        """Build, then note how it went; a lease that was lost is somebody else's matter. Raises: EngineAway."""
        keeper = threading.Thread(target=self._keep_lease, name="image-lease", daemon=True)
        keeper.start()
        try:
            built = self._build()
        finally:
            self._ended.set()
            keeper.join()
        if built is None:
            return
        try:
            actions.finish_image(self._lease, built, self._log)
        except LeaseLost:
            builder().remove(self._lease.recipe.tag)
            raise

    def _build(self) -> BuiltImage | None:
        try:
            return builder().build(
                self._lease.recipe,
                self._add_to_log,
                timeout_s=environment().image_build_timeout_s,
                stop=self._stop,
            )
        except Temporary:
            actions.give_back_image(self._lease)
            raise
        except Permanent as error:
            actions.fail_image(self._lease, error.code, error.message, self._log)
            return None

    def _add_to_log(self, text: str) -> None:
        self._log = (self._log + text)[-MAX_LOG_BYTES:]

    def _keep_lease(self) -> None:
        give_up_at = now() + BUILD_LEASE
        try:
            while not self._ended.wait(RENEW_S):
                try:
                    actions.renew_lease(self._lease, self._log)
                    give_up_at = now() + BUILD_LEASE
                except LeaseLost:
                    self._stop.set()
                    return
                except Exception:
                    # The database may be away for a moment; without it, the lease ends and somebody else builds.
                    log.exception("the lease of image %s was not renewed", self._lease.image_id)
                    if now() > give_up_at:
                        self._stop.set()
                        return
        finally:
            connections.close_all()


def sweep_images() -> None:
    """Order what is missing, build anew what is on an old base, and remove what nobody has needed for a while."""
    if environment().sandbox_driver != "docker":
        return
    host = environment().host_name
    for ref in all_tenants_abandoned_images():
        actions.order_copy(ref.org_id, ref.image_id, host)
    for ref in all_tenants_homeless_images():
        actions.order_copy(ref.org_id, ref.image_id, host)
    for provider in Provider.values:
        try:
            base_digest = builder().resolve(image_of(provider, environment()))
        except ImageMissing:
            continue
        for ref in all_tenants_outdated_images(host, provider, base_digest):
            actions.order_rebuild(ref.org_id, ref.agent_id, ref.image_id)
    _remove_unused(host)


def _remove_unused(host: str) -> None:
    stored = builder().list_built()
    tags = [image.tag for image in stored]
    all_tenants_mark_unused(tags, all_tenants_needed_tags())
    kept = all_tenants_kept_tags(tags, grace=REMOVE_GRACE)
    owners = all_tenants_owners(tags)
    for image in stored:
        if image.tag in kept or image.created_at > now() - REMOVE_GRACE:
            continue
        org_id = owners.get(image.tag)
        if org_id is not None:
            # First the row, so that nobody is sent to an image that is just going.
            actions.forget_copy(org_id, image.tag, host)
        if builder().remove(image.tag):
            log.info("the image %s is not needed any more", image.tag)
    builder().remove_leftovers()


def _take(job: BuildImage) -> Lease | None:
    """Take the build, or refuse it for good when its base is not to be had here. Raises: EngineAway."""
    env = environment()
    provider = find_provider(job.org_id, job.image_id)
    if provider is None:
        return None
    base = image_of(provider, env)
    try:
        digest = builder().resolve(base)
    except SlipwayError as error:
        if isinstance(error, Temporary):
            raise
        actions.refuse_image(job.org_id, job.image_id, error.code, error.message)
        return None
    prefix = f"slipway-derived-{env.installation}"
    return actions.lease_image(
        job.org_id, job.image_id, env.host_name, base=base, base_digest=digest, tag_prefix=prefix
    )


def _passed_on(job: BuildImage) -> bool:
    """Send a job to the host that it names, or from one that builds nothing to one that does."""
    env = environment()
    if job.host:
        target = job.host
    elif env.sandbox_driver == "docker":
        target = env.host_name
    else:
        target = next(iter(list_build_hosts()), env.host_name)
    if target == env.host_name:
        return False
    with transaction.atomic(using="operator"):
        enqueue(job.model_copy(update={"host": target}), using="operator")
    return True
