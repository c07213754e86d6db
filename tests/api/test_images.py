"""An agent's packages and their builds over REST."""

from __future__ import annotations

import pytest

from services.domain.images.models import AgentImage
from services.domain.images.packages import MAX_PACKAGES


def test_packages_are_set_and_their_build_is_shown(alice, acme):
    path = f"/v1/agents/{acme.agent.id}"
    assert alice.get(path).body["packages"] == {"apt": [], "pip": [], "npm": []}
    body = alice.patch(path, {"packages": {"apt": ["tree"], "pip": ["six==1.16.0"]}}).body
    assert body["packages"] == {"apt": ["tree"], "pip": ["six==1.16.0"], "npm": []}
    assert body["image"] == ""
    (build,) = alice.get(f"{path}/images").body["items"]
    assert (build["number"], build["status"], build["packages"]) == (1, "queued", body["packages"])
    AgentImage.objects.using("operator").update(log="E: Unable to locate package\n", status="failed")
    shown = alice.get(f"/v1/images/{build['id']}").body
    assert (shown["status"], shown["log"]) == ("failed", "E: Unable to locate package\n")
    again = alice.post(f"{path}/images")
    assert (again.status, again.body["number"]) == (202, 2)
    assert [item["number"] for item in alice.get(f"{path}/images").body["items"]] == [2, 1]


@pytest.mark.parametrize(
    "packages",
    [
        {"apt": ["tree; id"]}, {"apt": ["--allow-unauthenticated"]}, {"pip": ["six @ http://x/six.whl"]},
        {"npm": ["x/y"]}, {"pip": ["six\nRUN id"]}, {"gem": ["rake"]}, {"apt": "tree"}, {"apt": [1]}, [], None,
        {"apt": [f"p{index}" for index in range(MAX_PACKAGES + 1)]},
    ],
)  # fmt: skip
def test_what_could_be_more_than_a_package_is_refused(alice, acme, packages):
    answer = alice.patch(f"/v1/agents/{acme.agent.id}", {"packages": packages})
    assert answer.status == 400
    created = alice.post("/v1/agents", {"name": "Packed", "packages": packages})
    assert created.status == 400
    assert alice.get(f"/v1/agents/{acme.agent.id}/images").body["items"] == []


def test_an_agent_without_packages_has_nothing_to_build(alice, acme):
    answer = alice.post(f"/v1/agents/{acme.agent.id}/images")
    assert (answer.status, answer.code) == (400, "invalid")
