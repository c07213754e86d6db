"""The page about models: budgets, keys and rules, for admins to change and for members to read."""

from __future__ import annotations

import pytest
from pydantic import SecretStr

from services.domain.llm.keys import NewKey, create_key
from services.domain.llm.models import Budget, KeyStatus, LlmKey, LlmPolicy, LlmVendor
from services.domain.tenancy.transaction import tenant_transaction
from tests.dashboard.conftest import assert_clean

RULES = {
    "form": "rules", "allowed": "claude-*\ngpt-5*", "key_source": "own", "default_anthropic": "claude-sonnet-5",
    "retries": "2", "fallbacks": "claude-opus-* claude-sonnet-5", "log_keep_days": "3",
}  # fmt: skip


def test_rules_are_set_and_shown(alice, acme):
    assert alice.post("/settings/models", RULES).status_code == 302
    with tenant_transaction(acme.organisation.id):
        policy = LlmPolicy.objects.get()
    assert (policy.allowed, policy.key_source, policy.retries) == (["claude-*", "gpt-5*"], "own", 2)
    assert policy.fallbacks == [{"model": "claude-opus-*", "use": "claude-sonnet-5"}]
    assert not policy.logs_calls
    page = alice.get("/settings/models").content.decode()
    assert "claude-opus-* claude-sonnet-5" in page
    assert_clean(page)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"default_anthropic": "llama"}, "The model llama is not allowed."),
        ({"fallbacks": "one"}, "Two names a line"),
        ({"allowed": "a b"}, "String should match pattern"),
    ],
)
def test_what_is_wrong_stands_in_the_form(alice, changes, said):
    answer = alice.post("/settings/models", RULES | changes)
    assert answer.status_code == 400
    assert said in answer.content.decode()


def test_a_budget_is_set_shown_and_removed(alice, acme):
    fields = {"form": "budget", "whose": f"agent:{acme.agent.id}", "period": "month", "limit_usd": "2.5"}
    assert alice.post("/settings/models", fields).status_code == 302
    with tenant_transaction(acme.organisation.id):
        budget = Budget.objects.get()
    assert budget.limit_microusd == 2_500_000
    page = alice.get("/settings/models").content.decode()
    assert "Agent Shell" in page
    assert "$0.0000 of $2.5000" in page
    assert alice.post(f"/settings/models/budgets/{budget.id}/delete").status_code == 302
    assert "No budget is set" in alice.get("/settings/models").content.decode()
    assert alice.post("/settings/models", fields | {"period": "run"}).status_code == 400


def test_a_key_is_switched_checked_and_deleted(alice, acme):
    fields = NewKey(name="main", vendor=LlmVendor.ANTHROPIC, key=SecretStr("sk-ant-key-for-the-page"))
    key = create_key(acme.owner, fields, KeyStatus.OK)
    page = alice.get("/settings/models").content.decode()
    assert "sk-ant-key" not in page
    assert alice.post(f"/settings/models/keys/{key.id}/switch", {"is_enabled": "no"}).status_code == 302
    with tenant_transaction(acme.organisation.id):
        assert not LlmKey.objects.get().is_enabled
    assert alice.post(f"/settings/models/keys/{key.id}/delete").status_code == 302
    assert "There is no key of our own" in alice.get("/settings/models").content.decode()


def test_members_read_and_strangers_find_nothing(bob, mallory, acme):
    page = bob.get("/settings/models").content.decode()
    assert "Save rules" not in page
    assert bob.post("/settings/models", RULES).status_code == 400
    fields = NewKey(name="main", vendor=LlmVendor.ANTHROPIC, key=SecretStr("sk-ant-key-for-the-page"))
    key = create_key(acme.owner, fields, KeyStatus.OK)
    for button in ("check", "switch", "delete"):
        assert mallory.post(f"/settings/models/keys/{key.id}/{button}").status_code == 404
    assert "main" not in [row.name for row in LlmKey.objects.all()]
