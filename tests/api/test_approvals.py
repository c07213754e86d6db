"""Approvals over REST: found, filtered, decided; and the allowlist of an agent."""

from __future__ import annotations

import pytest

from tests.api.client import Api
from tests.api.conftest import World


def test_what_waits_is_found_and_decided(world: World, alice: Api) -> None:
    (waiting,) = alice.get("/v1/approvals?status=pending&kind=egress").body["items"]
    assert waiting["subject"] == {"host": "acme-only.example", "port": 443, "methods": None}
    assert waiting["workspace_id"] == world["workspace_id"]
    assert alice.get(f"/v1/approvals/{waiting['id']}").body == waiting
    decided = alice.post(
        f"/v1/approvals/{waiting['id']}/decide", {"decision": "allow", "scope": "always"}
    ).body
    assert (decided["status"], decided["scope"], decided["decided_at"] is None) == (
        "allowed",
        "always",
        False,
    )
    assert alice.get("/v1/approvals?status=pending").body["items"] == []
    assert alice.get(f"/v1/approvals?workspace_id={world['workspace_id']}").body["items"] == [decided]
    agent = alice.get(f"/v1/agents/{world['agent_id']}").body
    assert agent["egress"] == [{"host": "acme-only.example", "port": 443, "methods": None}]
    again = alice.post(f"/v1/approvals/{waiting['id']}/decide", {"decision": "deny"})
    assert (again.status, again.code) == (409, "approval_closed")


def test_a_wrong_decision_or_filter_is_refused(world: World, alice: Api) -> None:
    path = f"/v1/approvals/{world['approval_id']}/decide"
    for body in ({}, {"decision": "perhaps"}, {"decision": "allow", "scope": "forever"}):
        assert alice.post(path, body).status == 400
    assert alice.get("/v1/approvals?status=lost").status == 400
    assert alice.get("/v1/approvals?kind=%00").status == 400


@pytest.mark.parametrize(
    "entry",
    [
        {"host": "*"}, {"host": "*.com"}, {"host": "a.*.com"}, {"host": "10.0.0.1"}, {"host": "127.1"},
        {"host": "169.254.169.254"}, {"host": "[::1]"}, {"host": "::ffff:8.8.8.8"}, {"host": "a b"}, {"host": ""},
        {"host": "a.test", "port": 0}, {"host": "a.test", "methods": []}, {"host": "a.test", "methods": ["FROB"]},
        {"host": "a.test", "path": "/"}, "a.test",
    ],
)  # fmt: skip
def test_an_entry_that_is_too_wide_or_leads_inside_is_refused(alice: Api, acme, entry) -> None:
    answer = alice.patch(f"/v1/agents/{acme.agent.id}", {"egress": [entry]})
    assert (answer.status, answer.code in ("invalid", "unknown_field")) == (400, True)


def test_entries_are_kept_in_their_one_form(alice: Api, acme) -> None:
    given = [{"host": "Bücher.Example."}, {"host": "*.B.test", "port": None, "methods": ["head", "GET"]}]
    answer = alice.patch(f"/v1/agents/{acme.agent.id}", {"egress": given})
    assert answer.body["egress"] == [
        {"host": "xn--bcher-kva.example", "port": 443, "methods": None},
        {"host": "*.b.test", "port": None, "methods": ["GET", "HEAD"]},
    ]
    too_many = [{"host": f"h{number}.test"} for number in range(201)]
    assert alice.patch(f"/v1/agents/{acme.agent.id}", {"egress": too_many}).status == 400
