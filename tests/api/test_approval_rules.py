"""Rules about tool calls over REST, and what an approval shows of its deciding."""

from __future__ import annotations

import pytest

from tests.api.client import Api
from tests.api.conftest import World

RULE = {
    "effect": "hold",
    "tool": "gmail.gmail_send",
    "arguments": [{"path": "to.*", "test": "glob", "value": "*@acme.example"}],
    "people": 2,
    "decider_role": "admin",
    "lifetime_s": 600,
}


def test_a_rule_is_made_shown_changed_and_removed(world: World, alice: Api) -> None:
    made = alice.post("/v1/approval_rules", RULE)
    assert made.status == 201
    path = f"/v1/approval_rules/{made.body['id']}"
    assert {name: made.body[name] for name in RULE} == RULE
    assert alice.get(path).body == made.body
    assert alice.get("/v1/approval_rules?effect=hold").body["items"][0] == made.body
    assert alice.get(f"/v1/approval_rules?agent_id={world['agent_id']}").body["items"] == []
    changed = alice.patch(path, {"effect": "deny", "agent_id": world["agent_id"]}).body
    assert (changed["effect"], changed["agent_id"], changed["people"]) == ("deny", world["agent_id"], 2)
    assert alice.delete(path).status == 204
    assert (alice.get(path).status, alice.get(path).code) == (404, "approval_rule_not_found")


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"tool": "gmail send"}, "pattern_invalid"),
        ({"arguments": [{"path": "a", "test": "regex", "value": "("}]}, "pattern_invalid"),
        ({"arguments": [{"path": "a", "test": "regex", "value": "a{9999}"}]}, "pattern_too_costly"),
        ({"arguments": [{"path": "a..b", "test": "present"}]}, "argument_path_invalid"),
        ({"arguments": [{"path": "a", "test": "like", "value": "x"}]}, "invalid"),
        ({"arguments": [{"path": "a", "test": "present"}] * 21}, "invalid"),
        ({"effect": "maybe"}, "invalid"),
        ({"people": 3}, "invalid"),
        ({"lifetime_s": 1}, "invalid"),
        ({"decider_role": "viewer"}, "invalid"),
        ({"decider_ids": ["00000000-0000-0000-0000-000000000001"]}, "invalid"),
        ({"agent_id": "00000000-0000-0000-0000-000000000001"}, "agent_not_found"),
        ({"chat_id": "00000000-0000-0000-0000-000000000001"}, "chat_not_found"),
        ({"who": "me"}, "unknown_field"),
    ],
)
def test_a_rule_that_means_nothing_is_refused_by_a_stable_code(
    world: World, alice: Api, change, code
) -> None:
    assert alice.post("/v1/approval_rules", RULE | change).code == code
    assert alice.patch(f"/v1/approval_rules/{world['rule_id']}", change).code == code


def test_members_read_rules_and_do_not_make_them(acme, world: World) -> None:
    bob = Api(acme.tokens["bob"])
    assert bob.get("/v1/approval_rules").body["items"]
    assert bob.post("/v1/approval_rules", RULE).code == "role_missing"
    assert bob.delete(f"/v1/approval_rules/{world['rule_id']}").code == "role_missing"


def test_an_approval_says_how_it_is_decided(world: World, alice: Api) -> None:
    shown = alice.get(f"/v1/approvals/{world['approval_id']}").body
    assert shown["title"] == "acme-only.example"
    told = ("people", "agreed", "decider_role", "decider_ids", "may_decide_own", "call", "rule_id")
    assert [shown[name] for name in told] == [1, [], "member", [], True, None, None]
    for query, found in ((f"task_id={world['task_id']}", 1), (f"agent_id={world['rule_id']}", 0)):
        assert len(alice.get(f"/v1/approvals?{query}").body["items"]) == found
