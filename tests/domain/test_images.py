"""Derived images: ordering them, who builds them, and when an agent moves to one."""

from __future__ import annotations

import uuid
from datetime import timedelta

import pytest
from pydantic import ValidationError

from conftest import Tenant, recorded
from services.domain.actors import Actor
from services.domain.agents.actions import AgentFields, archive_agent, create_agent, update_agent
from services.domain.agents.models import Agent
from services.domain.errors import AgentArchived, AgentMissing, Invalid, LeaseLost, RoleMissing, ScopeMissing
from services.domain.images import actions, queries
from services.domain.images.actions import Lease
from services.domain.images.models import AgentImage, ImageStatus
from services.domain.images.packages import MAX_PACKAGES, Packages
from services.domain.plane.hosts import register_host
from services.domain.ports.images import BuiltImage
from services.domain.tenancy.transaction import tenant_transaction
from services.kit.clock import now

SIX = {"pip": ["six==1.16.0"]}
TREE = {"apt": ["tree"]}


def set_packages(tenant: Tenant, packages: dict[str, list[str]]) -> AgentImage | None:
    update_agent(tenant.owner, tenant.agent.id, {"packages": packages})
    return newest(tenant)


def newest(tenant: Tenant) -> AgentImage | None:
    with tenant_transaction(tenant.organisation.id):
        return AgentImage.objects.filter(agent=tenant.agent).order_by("-number").first()


def agent_of(tenant: Tenant) -> Agent:
    with tenant_transaction(tenant.organisation.id):
        return Agent.objects.get(id=tenant.agent.id)


def fresh(image: AgentImage) -> AgentImage:
    with tenant_transaction(image.org_id):
        return AgentImage.objects.get(id=image.id)


def lease(image: AgentImage, host: str = "one", base: str = "sha256:base") -> Lease | None:
    return actions.lease_image(
        image.org_id, image.id, host, base="agent:1", base_digest=base, tag_prefix="derived"
    )


def built(image: AgentImage, **where: str) -> AgentImage:
    taken = lease(image, **where)
    assert taken is not None
    actions.finish_image(taken, BuiltImage("sha256:made", 7), "installed\n")
    return fresh(image)


@pytest.mark.parametrize(
    ("kind", "entry"),
    [
        ("apt", "tree; rm -rf /"), ("apt", "-oDebug=1"), ("apt", "tree-"), ("apt", "tree=1 2"), ("apt", "./a.deb"),
        ("apt", "tree\n"), ("apt", "Tree"), ("apt", "$(id)"), ("apt", "tree/unstable"), ("apt", "~i"),
        ("pip", "--index-url=x"), ("pip", "six @ https://x.example/s.whl"), ("pip", "git+https://x.example/s"),
        ("pip", "six;python_version>'3'"), ("pip", "six==1\n-r x"), ("pip", "../six"), ("pip", "six==`id`"),
        ("pip", "six=="), ("npm", "user/repository"), ("npm", "git+ssh://x.example/y"), ("npm", "file:../x"),
        ("npm", "left-pad@npm:other"), ("npm", "left-pad@../x"), ("npm", "--global"), ("npm", "a b"), ("npm", ""),
    ],
)  # fmt: skip
def test_what_is_no_plain_name_is_no_package(kind, entry):
    with pytest.raises(ValidationError):
        Packages.model_validate({kind: [entry]})


def test_names_with_versions_are_packages_in_one_order():
    given = Packages(
        apt=["g++", "libstdc++6=12.2.0-14+deb12u1", "7zip"],
        pip=["requests[socks,security]>=2.31,<3", "six==1.16.0", "Django~=5.0", "six==1.16.0"],
        npm=["@types/node@22.1.0", "typescript@^5.4", "prettier@latest"],
    )
    assert given.apt == ["7zip", "g++", "libstdc++6=12.2.0-14+deb12u1"]
    assert given.pip == ["Django~=5.0", "requests[socks,security]>=2.31,<3", "six==1.16.0"]
    assert given.npm == ["@types/node@22.1.0", "prettier@latest", "typescript@^5.4"]


def test_there_are_at_most_a_hundred_packages():
    names = [f"package{index}" for index in range(MAX_PACKAGES)]
    assert Packages(apt=names[:50], pip=names[50:])
    with pytest.raises(ValidationError):
        Packages(apt=names[:50], pip=names[50:], npm=["one-more"])


def test_changing_packages_orders_a_build_and_says_so(acme):
    with recorded() as seen:
        image = set_packages(acme, SIX)
    assert image is not None
    assert image.status == ImageStatus.QUEUED
    assert seen.event_types == ["image.changed"]
    assert seen.job_types == ["image.build"]
    assert seen.jobs[0].payload["image_id"] == str(image.id)
    assert agent_of(acme).image == ""
    with recorded() as seen:
        update_agent(acme.owner, acme.agent.id, {"packages": SIX, "name": "Renamed"})
    assert seen.job_types == []


def test_an_agent_made_with_packages_gets_its_image(acme):
    with recorded() as seen:
        create_agent(acme.owner, AgentFields(name="Packed", packages=Packages(**SIX)))
        create_agent(acme.owner, AgentFields(name="Plain"))
    assert seen.job_types == ["image.build"]


def test_an_agent_moves_to_its_image_when_that_is_ready(acme):
    image = set_packages(acme, SIX)
    assert image is not None
    taken = lease(image)
    assert taken is not None
    assert taken.recipe.base == "sha256:base"
    assert taken.recipe.pip == ("six==1.16.0",)
    with recorded() as seen:
        actions.finish_image(taken, BuiltImage("sha256:made", 7), "installed\n")
    ready = fresh(image)
    assert (ready.status, ready.digest, ready.size_bytes, ready.log) == (
        "ready",
        "sha256:made",
        7,
        "installed\n",
    )
    assert agent_of(acme).image == ready.tag == taken.recipe.tag
    assert [event.data["status"] for event in seen.events] == ["ready"]
    assert seen.events[0].stream == f"org:{acme.organisation.id}"


def test_a_failed_build_leaves_the_agent_on_its_old_image(acme):
    first = set_packages(acme, SIX)
    assert first is not None
    old = built(first).tag
    second = set_packages(acme, TREE)
    assert second is not None
    taken = lease(second)
    assert taken is not None
    with recorded() as seen:
        actions.fail_image(taken, "image_build_failed", "It failed.", "no such package\n")
    failed = fresh(second)
    assert (failed.status, failed.error_code, failed.log) == (
        "failed",
        "image_build_failed",
        "no such package\n",
    )
    assert agent_of(acme).image == old
    assert seen.events[-1].data["error"] == "image_build_failed"


def test_a_build_is_taken_once_and_again_only_after_its_lease(acme):
    image = set_packages(acme, SIX)
    assert image is not None
    first = lease(image)
    assert first is not None
    assert lease(image) is None
    AgentImage.objects.using("operator").update(lease_until=now() - timedelta(seconds=1))
    assert [ref.image_id for ref in queries.all_tenants_abandoned_images()] == [image.id]
    second = lease(image)
    assert second is not None
    with pytest.raises(LeaseLost):
        actions.finish_image(first, BuiltImage("sha256:late", 1), "")
    with pytest.raises(LeaseLost):
        actions.renew_lease(first, "")
    actions.finish_image(second, BuiltImage("sha256:made", 1), "")
    assert fresh(image).digest == "sha256:made"


def test_a_build_that_takes_its_worker_down_again_and_again_fails(acme):
    image = set_packages(acme, SIX)
    assert image is not None
    for _ in range(actions.MAX_ATTEMPTS):
        assert lease(image) is not None
        AgentImage.objects.using("operator").update(lease_until=now() - timedelta(seconds=1))
    assert lease(image) is None
    assert fresh(image).error_code == "image_build_failed"


def test_a_late_success_of_older_packages_changes_nothing(acme):
    older = set_packages(acme, SIX)
    assert older is not None
    taken = lease(older)
    assert taken is not None
    newer = set_packages(acme, TREE)
    assert newer is not None
    assert fresh(older).error_code == "image_overtaken"
    tag = built(newer).tag
    with pytest.raises(LeaseLost):
        actions.finish_image(taken, BuiltImage("sha256:late", 1), "")
    assert agent_of(acme).image == tag


def test_without_packages_the_agent_uses_its_providers_image(acme):
    image = set_packages(acme, SIX)
    assert image is not None
    built(image)
    with recorded() as seen:
        set_packages(acme, {})
    assert agent_of(acme).image == ""
    assert seen.job_types == []


def test_another_provider_gets_an_image_of_its_own(acme):
    image = set_packages(acme, SIX)
    assert image is not None
    built(image)
    update_agent(acme.owner, acme.agent.id, {"provider": "claude"})
    assert agent_of(acme).image == ""
    again = newest(acme)
    assert again is not None
    assert again.number == 2
    assert built(again, base="sha256:claude").tag == agent_of(acme).image


def test_what_was_built_before_is_used_again_within_the_organisation(acme, globex):
    image = set_packages(acme, SIX)
    assert image is not None
    tag = built(image).tag
    set_packages(acme, TREE)
    again = set_packages(acme, SIX)
    assert again is not None
    assert lease(again) is None
    assert fresh(again).status == ImageStatus.READY
    assert agent_of(acme).image == tag
    theirs = set_packages(globex, SIX)
    assert theirs is not None
    assert lease(theirs) is not None


def test_rebuilding_builds_anew_and_one_build_at_a_time(acme):
    image = set_packages(acme, SIX)
    assert image is not None
    assert actions.rebuild_image(acme.owner, acme.agent.id).id == image.id
    built(image)
    with recorded() as seen:
        again = actions.rebuild_image(acme.owner, acme.agent.id)
    assert seen.event_types == ["image.changed"]
    assert seen.job_types == ["image.build"]
    taken = lease(again)
    assert taken is not None
    assert taken.recipe.tag != fresh(image).tag


def test_rebuilding_is_refused_without_packages_right_or_agent(acme, globex):
    with pytest.raises(Invalid):
        actions.rebuild_image(acme.owner, acme.agent.id)
    set_packages(acme, SIX)
    with pytest.raises(AgentMissing):
        actions.rebuild_image(globex.owner, acme.agent.id)
    viewer = Actor(org_id=acme.organisation.id, kind="user", role="viewer", user_id=None)
    with pytest.raises((ScopeMissing, RoleMissing)):
        actions.rebuild_image(viewer, acme.agent.id)
    archive_agent(acme.owner, acme.agent.id)
    with pytest.raises(AgentArchived):
        actions.rebuild_image(acme.owner, acme.agent.id)


def test_another_tenant_can_neither_read_nor_lease_an_image(acme, globex):
    image = set_packages(acme, SIX)
    assert image is not None
    assert (
        actions.lease_image(
            globex.organisation.id, image.id, "one", base="b", base_digest="d", tag_prefix="derived"
        )
        is None
    )
    with tenant_transaction(globex.organisation.id):
        assert not AgentImage.objects.exists()
    assert fresh(image).status == ImageStatus.QUEUED


def test_a_ready_image_is_built_on_a_second_host_without_changing_anything(acme):
    image = set_packages(acme, SIX)
    assert image is not None
    tag = built(image).tag
    taken = lease(image, host="two")
    assert taken is not None
    assert fresh(image).status == ImageStatus.READY
    with recorded() as seen:
        actions.finish_image(taken, BuiltImage("sha256:other", 7), "")
    assert set(fresh(image).hosts) == {"one", "two"}
    assert agent_of(acme).image == tag
    assert seen.events == []
    assert lease(image, host="two") is None


def test_an_image_that_no_living_host_has_is_homeless(acme):
    image = set_packages(acme, SIX)
    assert image is not None
    tag = built(image, host="one").tag
    register_host("one", driver="docker", slots=1)
    assert queries.all_tenants_homeless_images() == []
    assert actions.find_copy_to_make(acme.organisation.id, tag, "one") == image.id
    assert actions.find_copy_to_make(acme.organisation.id, "slipway-agent:1", "one") is None
    with recorded() as seen:
        actions.order_copy(acme.organisation.id, image.id, "one")
    assert seen.jobs[0].queue == "host.one"
    assert [ref.image_id for ref in queries.all_tenants_homeless_images()] == [image.id]


def test_an_image_on_another_base_is_ordered_anew_once(acme):
    image = set_packages(acme, SIX)
    assert image is not None
    built(image)
    assert queries.all_tenants_outdated_images("one", "shell", "sha256:base") == []
    assert queries.all_tenants_outdated_images("two", "shell", "sha256:newer") == []
    (ref,) = queries.all_tenants_outdated_images("one", "shell", "sha256:newer")
    for _ in range(2):
        actions.order_rebuild(ref.org_id, ref.agent_id, ref.image_id)
    again = newest(acme)
    assert again is not None
    assert again.number == 2
    assert queries.all_tenants_outdated_images("one", "shell", "sha256:newer") == []


def test_the_log_keeps_its_end(acme):
    image = set_packages(acme, SIX)
    assert image is not None
    taken = lease(image)
    assert taken is not None
    actions.renew_lease(taken, "ä" * actions.MAX_LOG_BYTES + "the end")
    log = fresh(image).log
    assert log.endswith("the end")
    assert len(log.encode()) <= actions.MAX_LOG_BYTES


def test_an_unknown_image_is_nobodys_work(acme):
    assert queries.find_provider(acme.organisation.id, uuid.uuid4()) is None
    actions.refuse_image(acme.organisation.id, uuid.uuid4(), "images_unsupported", "No.")
