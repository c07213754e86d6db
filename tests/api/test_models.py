"""Models and budgets over REST: rules, keys that their vendor was asked about, prices, logs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from services.domain.llm.models import BudgetSpent, LlmKey
from services.domain.llm.rates import Tokens
from services.domain.llm.spending import reserve
from services.domain.tenancy.transaction import tenant_transaction
from services.kit.environment import environment
from tests.api.client import Api
from tests.domain.cast import submit
from tests.fakes.anthropic_server import AnthropicServer
from tests.fakes.serving import LocalServer

KEY = "sk-ant-a-good-key-of-acme"


@pytest.fixture
def vendor(monkeypatch) -> Iterator[AnthropicServer]:
    """Run a model server that takes one key only, as the installation's vendor."""
    fake = AnthropicServer(key=KEY)
    with LocalServer(fake.app) as server:
        fake.url = server.url
        monkeypatch.setattr(environment(), "anthropic_base_url", server.url)
        yield fake


def add(api: Api, **changes):
    return api.post("/v1/llm/keys", {"vendor": "anthropic", "name": "main", "key": KEY, **changes})


def test_the_rules_begin_open_and_are_changed_field_by_field(alice):
    assert alice.get("/v1/llm/policy").body["allowed"] == ["*"]
    changed = alice.patch("/v1/llm/policy", {"allowed": ["claude-*"], "default_anthropic": "claude-sonnet-5"})
    assert (changed.status, changed.body["default_anthropic"]) == (200, "claude-sonnet-5")
    again = alice.patch("/v1/llm/policy", {"retries": 2}).body
    assert (again["allowed"], again["retries"], again["logs_calls"]) == (["claude-*"], 2, False)
    cleared = alice.patch("/v1/llm/policy", {"default_anthropic": None}).body
    assert cleared["default_anthropic"] is None


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"allowed": ["claude-*"], "default_openai": "gpt-5"}, "model_not_allowed"),
        ({"allowed": ["x*"], "fallbacks": [{"model": "*", "use": "claude-opus-5"}]}, "model_not_allowed"),
        ({"log_keep_days": 60}, "invalid"),
        ({"retries": 50}, "invalid"),
        ({"allowed": ["a b"]}, "invalid"),
    ],
)
def test_rules_that_contradict_themselves_are_refused(alice, body, code):
    answer = alice.patch("/v1/llm/policy", body)
    assert (answer.status, answer.code) == (400, code)


def test_only_admins_change_rules_keys_and_budgets_and_read_logs(acme, vendor):
    bob = Api(acme.tokens["bob"])
    budget = {"level": "organisation", "period": "day", "limit_microusd": 1}
    assert bob.get("/v1/llm/policy").status == 200
    assert bob.get("/v1/budgets").status == 200
    for answer in (
        bob.patch("/v1/llm/policy", {"retries": 1}), add(bob), bob.call("PUT", "/v1/budgets", budget),
        bob.get("/v1/llm/logs"), bob.delete("/v1/llm/logs"),
    ):  # fmt: skip
        assert (answer.status, answer.code) == (403, "role_missing")
    assert vendor.requests == []


def test_a_key_is_tried_at_its_vendor_and_never_shown_again(alice, acme, vendor):
    made = add(alice)
    assert (made.status, made.body["status"], made.body["hint"]) == (201, "ok", "sk-a…acme")
    path = f"/v1/llm/keys/{made.body['id']}"
    for answer in (made, alice.get("/v1/llm/keys"), alice.get(path), alice.post(f"{path}/check")):
        assert KEY.encode() not in answer.raw
    with tenant_transaction(acme.organisation.id):
        assert KEY.encode() not in bytes(LlmKey.objects.get().sealed)
    assert add(alice).code == "name_taken"


def test_a_check_is_a_use_of_the_key(alice, acme, vendor):
    path = f"/v1/llm/keys/{add(alice).body['id']}"
    # What was tried before it was kept was nobody's yet.
    assert alice.get(f"{path}/accesses").body["items"] == []
    checked = alice.post(f"{path}/check").body
    (tried,) = alice.get(f"{path}/accesses").body["items"]
    assert (tried["way"], tried["user_id"], tried["host"]) == ("check", str(acme.owner.user_id), "127.0.0.1")
    assert checked["last_used_at"] == tried["last_at"]


def test_a_key_that_its_vendor_refuses_is_not_kept(alice, vendor):
    answer = add(alice, key="sk-ant-a-wrong-key-of-acme")
    assert (answer.status, answer.code) == (400, "llm_key_refused")
    assert alice.get("/v1/llm/keys").body["items"] == []


def test_a_key_whose_vendor_is_away_is_kept_and_checked_later(alice, vendor, monkeypatch):
    url = vendor.url
    monkeypatch.setattr(environment(), "anthropic_base_url", "http://127.0.0.1:9")
    made = add(alice).body
    assert made["status"] == "unreachable"
    monkeypatch.setattr(environment(), "anthropic_base_url", url)
    path = f"/v1/llm/keys/{made['id']}"
    assert alice.post(f"{path}/check").body["status"] == "ok"
    vendor.key = "sk-another"
    checked = alice.post(f"{path}/check").body
    assert (checked["status"], checked["last_error"]) == ("refused", "The vendor does not take the key.")
    assert alice.patch(path, {"priority": 3, "is_enabled": False}).body["priority"] == 3
    assert alice.delete(path).status == 204
    assert alice.get(path).code == "llm_key_not_found"


@pytest.mark.parametrize(
    "url", ["http://models.example", "https://10.0.0.1/v1", "https://127.0.0.1:1", "ftp://x"]
)
def test_an_address_inside_is_refused(alice, vendor, url):
    answer = add(alice, base_url=url)
    assert (answer.status, answer.code) == (400, "invalid")
    assert vendor.requests == []


def test_usable_models_are_listed_with_their_prices(alice):
    alice.patch("/v1/llm/policy", {"allowed": ["claude-haiku-*"], "default_anthropic": "claude-haiku-4-5"})
    items = {item["model"]: item for item in alice.get("/v1/llm/models").body["items"]}
    assert set(items) == {"claude-haiku-4-5", "claude-haiku-5-5"}
    assert items["claude-haiku-4-5"]["is_default"]
    assert items["claude-haiku-4-5"]["prices"] == {
        "input": 1_000_000, "output": 5_000_000, "cache_read": 100_000, "cache_write_5m": 1_250_000,
        "cache_write_1h": 2_000_000,
    }  # fmt: skip
    assert [tier["after"] for tier in items["claude-haiku-5-5"]["long_prompts"]] == [100_000]


def test_an_agents_model_is_checked_when_it_is_saved_and_when_work_is_submitted(alice):
    alice.patch("/v1/llm/policy", {"allowed": ["claude-haiku-*"], "default_anthropic": "claude-haiku-4-5"})
    fields = {"name": "Writer", "provider": "claude"}
    refused = alice.post("/v1/agents", {**fields, "model": "claude-opus-5"})
    assert (refused.status, refused.code) == (400, "model_not_allowed")
    agent = alice.post("/v1/agents", fields).body
    task = alice.post("/v1/tasks", {"agent_id": agent["id"], "prompt": "x"}).body
    assert task["model"] == "claude-haiku-4-5"
    other = alice.post("/v1/tasks", {"agent_id": agent["id"], "prompt": "x", "model": "claude-opus-5"})
    assert (other.status, other.code) == (400, "model_not_allowed")


def test_budgets_are_set_shown_with_what_is_spent_and_removed(alice, acme):
    wanted = {
        "level": "agent",
        "period": "month",
        "subject_id": str(acme.agent.id),
        "limit_microusd": 2_000_000,
    }
    made = alice.call("PUT", "/v1/budgets", wanted)
    assert (made.status, made.body["limit_usd"], made.body["remaining_microusd"]) == (
        200,
        "2.000000",
        2_000_000,
    )
    task = submit(acme)
    reserve(task.org_id, task.id, kind="llm", model="claude-sonnet-4-6", most=Tokens(output=1_000))
    path = f"/v1/budgets/{made.body['id']}"
    shown = alice.get(path).body
    assert (shown["spent_microusd"], shown["reserved_microusd"]) == (0, 15_000)
    assert shown["remaining_microusd"] == 1_985_000
    raised = alice.call("PUT", "/v1/budgets", {**wanted, "limit_microusd": 3_000_000}).body
    assert (raised["id"], raised["limit_microusd"]) == (made.body["id"], 3_000_000)
    assert len(alice.get("/v1/budgets").body["items"]) == 1
    assert alice.delete(path).status == 204
    assert alice.get(path).code == "budget_not_found"
    assert BudgetSpent.objects.using("operator").count() == 0


def test_a_persons_budget_is_seen_by_that_person_and_by_admins(alice, acme):
    for name in ("alice", "bob"):
        person = str(acme.people[name].user_id)
        body = {"level": "person", "period": "day", "subject_id": person, "limit_microusd": 1}
        assert alice.call("PUT", "/v1/budgets", body).status == 200
    assert len(alice.get("/v1/budgets").body["items"]) == 2
    seen = Api(acme.tokens["bob"]).get("/v1/budgets").body["items"]
    assert [budget["subject_id"] for budget in seen] == [str(acme.people["bob"].user_id)]


def test_logs_are_read_and_forgotten_by_admins(alice, world):
    (row,) = alice.get(f"/v1/llm/logs?task_id={world['task_id']}").body["items"]
    assert alice.get(f"/v1/llm/logs/{row['id']}").body["prompt"] == "acme-only"
    assert alice.delete("/v1/llm/logs").status == 204
    assert alice.get("/v1/llm/logs").body["items"] == []
