"""An agent's packages on its page: typed, built, and what came of it."""

from __future__ import annotations

from services.domain.agents.models import Agent
from services.domain.images.models import AgentImage
from services.domain.tenancy.transaction import tenant_transaction
from tests.dashboard.conftest import assert_clean
from tests.dashboard.test_forms import AGENT


def agent_of(tenant, name: str = AGENT["name"]) -> Agent:
    with tenant_transaction(tenant.organisation.id):
        return Agent.objects.get(name=name)


def test_packages_are_typed_a_line_each_and_shown_again(alice, acme):
    alice.post("/agents/new", {**AGENT, "apt_packages": "tree\nffmpeg\n", "npm_packages": "typescript@5"})
    agent = agent_of(acme)
    assert agent.packages == {"apt": ["ffmpeg", "tree"], "pip": [], "npm": ["typescript@5"]}
    assert "ffmpeg\ntree</textarea>" in alice.get(f"/agents/{agent.id}").content.decode()


def test_a_line_that_is_no_package_is_named(alice, acme):
    answer = alice.post("/agents/new", {**AGENT, "pip_packages": "six\n--index-url=http://x"})
    assert answer.status_code == 400
    assert "--index-url=http://x: a name and a version, and nothing else." in answer.content.decode()


def test_a_failed_build_is_shown_with_its_log_and_can_be_tried_again(alice, acme):
    alice.post("/agents/new", {**AGENT, "apt_packages": "tree"})
    agent = agent_of(acme)
    AgentImage.objects.using("operator").update(
        status="failed", error_code="image_build_failed", error_message="It failed.", log="E: <b>no</b> tree"
    )
    page = alice.get(f"/agents/{agent.id}").content.decode()
    assert_clean(page)
    assert "It failed. <code>image_build_failed</code>" in page
    assert "E: &lt;b&gt;no&lt;/b&gt; tree" in page
    assert alice.post(f"/agents/{agent.id}/build").headers["Location"] == f"/agents/{agent.id}"
    with tenant_transaction(acme.organisation.id):
        assert AgentImage.objects.filter(agent=agent).count() == 2


def test_another_tenants_agent_is_not_built(alice, mallory, acme):
    assert mallory.post(f"/agents/{acme.agent.id}/build").status_code == 404
