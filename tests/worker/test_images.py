"""The worker's part in derived images: building under a lease, failing in the open, passing on, cleaning up."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta

import pytest

from conftest import Tenant, recorded
from services.domain.agents.actions import update_agent
from services.domain.agents.models import Agent
from services.domain.errors import EngineAway, ImageBuildFailed, ImageBuildTimeout, ImageMissing, LeaseLost
from services.domain.images.models import AgentImage
from services.domain.outbox.jobs import BuildImage
from services.domain.plane.hosts import register_host
from services.domain.plane.models import Sandbox, SandboxState
from services.domain.ports.images import BuiltImage, Recipe, StoredImage
from services.domain.tenancy.transaction import tenant_transaction
from services.kit.clock import now
from services.kit.environment import environment
from services.worker.jobs import images as image_jobs
from tests.worker.engines import dispatched

OLD = timedelta(hours=2)


class FakeBuilder:
    """A builder in memory, by its port."""

    def __init__(self) -> None:
        self.base = "sha256:base"
        self.recipes: list[Recipe] = []
        self.stored: dict[str, StoredImage] = {}
        self.in_use: set[str] = set()
        self.failure: Exception | None = None
        self.missing: Exception | None = None
        self.during: Callable[[], None] = lambda: None

    def resolve(self, image: str) -> str:
        if self.missing is not None:
            raise self.missing
        return self.base

    def build(
        self, recipe: Recipe, on_log: Callable[[str], None], *, timeout_s: float, stop: threading.Event
    ) -> BuiltImage:
        self.recipes.append(recipe)
        on_log("installing\n")
        self.during()
        if self.failure is not None:
            raise self.failure
        self.stored[recipe.tag] = StoredImage(recipe.tag, "sha256:made", now() - OLD)
        return BuiltImage("sha256:made", 5)

    def list_built(self) -> list[StoredImage]:
        return list(self.stored.values())

    def remove(self, tag: str) -> bool:
        if tag in self.in_use:
            return False
        self.stored.pop(tag, None)
        return True

    def remove_leftovers(self) -> None:
        pass


@pytest.fixture
def builder(database, monkeypatch) -> FakeBuilder:
    """Put a builder in memory behind the worker, on a living host."""
    fake = FakeBuilder()
    monkeypatch.setattr(image_jobs, "builder", lambda: fake)
    monkeypatch.setattr(environment(), "sandbox_driver", "docker")
    register_host("testhost", driver="docker", slots=4)
    return fake


def ordered(tenant: Tenant, **packages: list[str]) -> BuildImage:
    """Change the packages; return the job that this queued."""
    with recorded() as seen:
        update_agent(tenant.owner, tenant.agent.id, {"packages": packages or {"pip": ["six"]}})
    return BuildImage.model_validate(seen.jobs[-1].payload)


def image_of(job: BuildImage) -> AgentImage:
    with tenant_transaction(job.org_id):
        return AgentImage.objects.get(id=job.image_id)


def agents_image(tenant: Tenant) -> str:
    with tenant_transaction(tenant.organisation.id):
        return Agent.objects.get(id=tenant.agent.id).image


def test_a_build_ends_with_the_agent_on_its_image(acme, builder):
    job = ordered(acme, apt=["tree"], pip=["six"])
    for _ in range(2):
        image_jobs.build_image(job)
    (recipe,) = builder.recipes
    assert (recipe.base, recipe.apt, recipe.pip) == ("sha256:base", ("tree",), ("six",))
    image = image_of(job)
    assert (image.status, image.log, image.digest) == ("ready", "installing\n", "sha256:made")
    assert agents_image(acme) == image.tag == recipe.tag


@pytest.mark.parametrize(
    ("failure", "code"),
    [
        (ImageBuildFailed("It failed."), "image_build_failed"),
        (ImageBuildTimeout("Too slow."), "image_build_timeout"),
    ],
)
def test_a_failed_build_keeps_the_old_image_and_says_why(acme, builder, failure, code):
    first = ordered(acme, pip=["six"])
    image_jobs.build_image(first)
    builder.failure = failure
    second = ordered(acme, pip=["idna"])
    with recorded() as seen:
        image_jobs.build_image(second)
    image = image_of(second)
    assert (image.status, image.error_code, image.log) == ("failed", code, "installing\n")
    assert agents_image(acme) == image_of(first).tag
    assert seen.events[-1].data["error"] == code


def test_an_engine_that_is_away_leaves_the_build_for_later(acme, builder):
    job = ordered(acme)
    builder.failure = EngineAway("away")
    with pytest.raises(EngineAway):
        image_jobs.build_image(job)
    assert image_of(job).status == "queued"
    builder.failure = None
    image_jobs.build_image(job)
    assert image_of(job).status == "ready"


def test_a_base_that_is_not_there_fails_the_build(acme, builder):
    job = ordered(acme)
    builder.missing = ImageMissing("The sandbox image is not on this host.")
    image_jobs.build_image(job)
    assert image_of(job).error_code == "sandbox_image_missing"


def test_a_build_that_was_overtaken_is_dropped_with_its_image(acme, builder):
    job = ordered(acme, pip=["six"])
    builder.during = lambda: ordered(acme, pip=["idna"])
    with pytest.raises(LeaseLost):
        image_jobs.build_image(job)
    assert builder.stored == {}
    assert agents_image(acme) == ""


def test_an_organisation_builds_one_image_at_a_time(acme, builder):
    job = ordered(acme)
    again: list[str] = []

    def meanwhile() -> None:
        with tenant_transaction(acme.organisation.id):
            other = AgentImage.objects.create(
                org_id=job.org_id, agent=acme.agent, number=9, base="b", packages={"apt": ["tree"]}
            )
        with recorded() as seen:
            image_jobs.build_image(BuildImage(org_id=job.org_id, image_id=other.id))
        again.extend(seen.job_types)

    builder.during = meanwhile
    image_jobs.build_image(job)
    assert again == ["image.build"]
    assert len(builder.recipes) == 1


def test_a_host_that_builds_nothing_passes_the_job_on(acme, builder, monkeypatch):
    job = ordered(acme)
    monkeypatch.setattr(environment(), "sandbox_driver", "bubblewrap")
    register_host("other", driver="docker", slots=4)
    register_host("testhost", driver="bubblewrap", slots=4)
    with recorded() as seen:
        image_jobs.build_image(job)
    assert [(row.type, row.queue) for row in seen.jobs] == [("image.build", "host.other")]
    assert builder.recipes == []


def test_a_sandbox_that_lacks_its_image_here_has_it_built_first(acme, builder):
    job = ordered(acme)
    image_jobs.build_image(job)
    tag = image_of(job).tag
    AgentImage.objects.using("operator").update(hosts={"other": {"digest": "d", "base": "sha256:base"}})
    builder.stored.clear()
    assert image_jobs.bring_image(acme.organisation.id, tag)
    assert set(image_of(job).hosts) == {"other", "testhost"}
    assert not image_jobs.bring_image(acme.organisation.id, "slipway-agent:1")
    builder.failure = ImageBuildFailed("It failed.")
    assert not image_jobs.bring_image(acme.organisation.id, tag)
    assert set(image_of(job).hosts) == {"other"}
    assert agents_image(acme) == tag


def test_a_task_waits_while_its_agents_image_is_built_on_the_host_that_lacks_it(acme, engine, builder):
    job = ordered(acme)
    image_jobs.build_image(job)
    AgentImage.objects.using("operator").update(hosts={"other": {"digest": "d", "base": "sha256:base"}})
    engine.failure = ImageMissing("The image is not there.")

    def found_from_now_on() -> None:
        engine.failure = None

    builder.during = found_from_now_on
    _, sandbox = dispatched(acme)
    (spec,) = engine.specs
    assert spec.image == sandbox.image == agents_image(acme)
    assert sandbox.state == SandboxState.CREATING
    assert len(builder.recipes) == 2


def test_the_sweep_orders_what_was_abandoned_what_is_nowhere_and_what_is_on_an_old_base(acme, builder):
    job = ordered(acme)
    with recorded() as seen:
        image_jobs.sweep_images()
    assert seen.jobs == []
    AgentImage.objects.using("operator").update(created_at=now() - OLD)
    with recorded() as seen:
        image_jobs.sweep_images()
    assert [row.queue for row in seen.jobs] == ["host.testhost"]
    image_jobs.build_image(job)
    AgentImage.objects.using("operator").update(hosts={"gone": {"digest": "d", "base": "sha256:base"}})
    with recorded() as seen:
        image_jobs.sweep_images()
    (row,) = seen.jobs
    image_jobs.build_image(BuildImage.model_validate(row.payload))
    assert set(image_of(job).hosts) == {"gone", "testhost"}
    builder.base = "sha256:newer"
    with recorded() as seen:
        image_jobs.sweep_images()
    newer = BuildImage.model_validate(seen.jobs[-1].payload)
    image_jobs.build_image(newer)
    assert agents_image(acme) == image_of(newer).tag != image_of(job).tag


def test_an_image_that_nobody_needs_is_removed_after_a_while_and_not_before(acme, builder):
    old = ordered(acme, pip=["six"])
    image_jobs.build_image(old)
    image_jobs.build_image(ordered(acme, pip=["idna"]))
    tag, kept = image_of(old).tag, agents_image(acme)
    sandbox = Sandbox.objects.create(host_id="testhost", image=tag, state=SandboxState.IDLE)
    builder.stored["slipway-derived:nobodys"] = StoredImage("slipway-derived:nobodys", "d", now() - OLD)
    image_jobs.sweep_images()
    assert set(builder.stored) == {tag, kept}
    Sandbox.objects.filter(id=sandbox.id).update(state=SandboxState.DESTROYED)
    image_jobs.sweep_images()
    assert tag in builder.stored
    AgentImage.objects.using("operator").exclude(unused_at=None).update(unused_at=now() - OLD)
    builder.in_use.add(tag)
    image_jobs.sweep_images()
    assert tag in builder.stored
    builder.in_use.clear()
    image_jobs.sweep_images()
    assert set(builder.stored) == {kept}
    assert image_of(old).hosts == {}
