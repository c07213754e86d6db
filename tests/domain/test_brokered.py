"""Opening a brokered secret for one request: for whom, whether somebody allowed it, and what the log says."""

from __future__ import annotations

import dataclasses
import importlib
import os
import uuid

import psycopg
import pytest
from django.apps import apps
from django.db.models import BinaryField
from pydantic import SecretStr

from conftest import Tenant
from services.domain.approvals.actions import decide_approval
from services.domain.approvals.models import Approval
from services.domain.egress.policy import all_tenants_find_policy
from services.domain.errors import NotPermitted
from services.domain.tasks.models import Task
from services.domain.tasks.runner import issue_turn
from services.domain.tenancy.transaction import tenant_transaction
from services.domain.vault.actions import delete_secret, put_secret_value, update_secret
from services.domain.vault.bindings import Binding
from services.domain.vault.brokered import CredentialRefused, Use, find_standing, open_for_use
from services.domain.vault.keyring import open_text, seal_text
from services.domain.vault.models import CredentialAccess, Secret
from services.domain.vault.rotation import SEALED
from services.kit.clock import now
from services.kit.ids import uuid7
from tests.domain.cast import Runner, fresh, keep, running

BINDING = {"host": "api.example.com"}


def held(tenant: Tenant, **fields: object) -> Secret:
    """Keep a brokered secret of the organisation."""
    return keep(tenant.owner, **{"mode": "brokered", "bindings": [BINDING], **fields})


def at_work(tenant: Tenant) -> tuple[Task, Runner, dict[str, str]]:
    """Start a task, and return the environment of its turn."""
    task, runner = running(tenant)
    turn = issue_turn(task.org_id, task.id, runner.sandbox_id)
    assert turn is not None
    return fresh(task), runner, turn["env"]


def use_of(secret: Secret, task: Task, path: str = "/x", **fields: object) -> Use:
    made = Use(
        task.org_id, task.id, secret.id, (Binding.model_validate(BINDING),), "api.example.com", "GET", path
    )
    return dataclasses.replace(made, **fields)


def refusal(use: Use) -> str:
    with pytest.raises(CredentialRefused) as refused:
        open_for_use(use)
    return refused.value.reason


def approvals(tenant: Tenant) -> list[Approval]:
    with tenant_transaction(tenant.organisation.id):
        return list(Approval.objects.filter(kind="credential").order_by("id"))


def test_the_proxy_learns_what_a_task_holds_and_opens_it_into_the_log(acme):
    secret = held(acme)
    task, runner, env = at_work(acme)
    policy = all_tenants_find_policy(runner.sandbox_id)
    (credential,) = policy.credentials
    assert (credential.name, credential.placeholder) == ("TOKEN", env["TOKEN"])
    assert "value-of-the-token" not in repr(policy)
    assert policy.is_looked_into("api.example.com", 443)
    assert not policy.is_looked_into("other.example.com", 443)
    opened = open_for_use(use_of(secret, task))
    assert opened.value == "value-of-the-token"
    put_secret_value(acme.owner, secret.id, SecretStr("the-second-value"))
    assert open_for_use(use_of(secret, task)).value == "the-second-value"
    with tenant_transaction(acme.organisation.id):
        logged = list(
            CredentialAccess.objects.order_by("id").values_list("version", "way", "host", "method", "path")
        )
        assert logged == [(n, "egress", "api.example.com", "GET", "/x") for n in (1, 2)]


def test_what_is_taken_away_in_mid_task_opens_no_more(acme):
    changes = {
        "expired": lambda secret: Secret.objects.filter(id=secret.id).update(expires_at=now()),
        "granted to nobody": lambda secret: update_secret(acme.owner, secret.id, {"agent_ids": []}),
        "bound elsewhere": lambda secret: update_secret(
            acme.owner, secret.id, {"bindings": [{"host": "b.example.com"}]}, SecretStr("another-value")
        ),
        "not brokered": lambda secret: update_secret(
            acme.owner, secret.id, {"mode": "env", "bindings": []}, SecretStr("another-value")
        ),
        "deleted": lambda secret: delete_secret(acme.owner, secret.id),
    }
    secrets = {name: held(acme, name=f"S{n}") for n, name in enumerate(changes)}
    task, runner, _ = at_work(acme)
    for name, change in changes.items():
        secret = secrets[name]
        assert open_for_use(use_of(secret, task)).value
        with tenant_transaction(acme.organisation.id):
            change(secret)
        assert refusal(use_of(secret, task)) == "credential_revoked", name
    survivor = held(acme, name="LATE")
    assert refusal(use_of(survivor, task)) == "credential_revoked"  # its turn holds no placeholder of it
    runner.says("turn.done", status="succeeded", text="done")
    assert all_tenants_find_policy(runner.sandbox_id) is None


def test_another_tasks_another_tenants_and_another_bindings_use_is_refused(acme, globex):
    secret = held(acme)
    task, _, _ = at_work(acme)
    theirs, _, _ = at_work(globex)
    assert refusal(use_of(secret, theirs)) == "credential_revoked"
    assert refusal(use_of(secret, task, org_id=globex.organisation.id)) == "credential_revoked"
    assert refusal(use_of(secret, task, task_id=uuid.uuid4())) == "credential_revoked"
    other = (Binding(host="evil.example.com"),)
    assert refusal(use_of(secret, task, bindings=other)) == "credential_revoked"


def test_each_use_needs_a_yes_of_its_own(acme):
    secret = held(acme, approval="each_use")
    task, _, _ = at_work(acme)
    use = use_of(secret, task)
    assert find_standing(use) == find_standing(use) == "asked"
    assert refusal(use) == "credential_approval_pending"
    (approval,) = approvals(acme)
    assert approval.subject["purpose"] == "GET api.example.com/x"
    assert "value" not in str(approval.subject)
    decide_approval(acme.owner, approval.id, "allow")
    assert find_standing(use_of(secret, task, "/another")) == "asked"
    assert find_standing(use) == "allowed"
    assert open_for_use(use).access.approval_id == approval.id
    assert refusal(use) == "credential_approval_pending"
    assert find_standing(use) == "asked"
    decide_approval(acme.owner, approvals(acme)[-1].id, "deny")
    with pytest.raises(CredentialRefused, match="credential_denied"):
        find_standing(use)
    # What was denied can be allowed later, and is good for one use then too.
    decide_approval(acme.owner, approvals(acme)[-1].id, "allow")
    assert open_for_use(use).value
    assert refusal(use) == "credential_approval_pending"


def test_the_first_use_at_a_host_is_asked_about_once_in_a_workspace(acme):
    secret = held(acme, approval="first_use")
    task, _, _ = at_work(acme)
    assert find_standing(use_of(secret, task)) == find_standing(use_of(secret, task, "/another")) == "asked"
    (approval,) = approvals(acme)
    decide_approval(acme.owner, approval.id, "allow")
    for path in ("/x", "/another", "/x"):
        assert find_standing(use_of(secret, task, path)) == "allowed"
        assert open_for_use(use_of(secret, task, path)).value
    decide_approval(acme.owner, approval.id, "deny")  # taken back
    assert refusal(use_of(secret, task)) == "credential_approval_pending"
    with pytest.raises(CredentialRefused, match="credential_denied"):
        find_standing(use_of(secret, task))


def test_a_lasting_yes_trusts_the_agent_and_is_given_by_who_may_change_the_secret(acme):
    secret = held(acme, approval="each_use")
    task, _, _ = at_work(acme)
    find_standing(use_of(secret, task))
    (approval,) = approvals(acme)
    with pytest.raises(NotPermitted):
        decide_approval(acme.people["bob"], approval.id, "allow", "always")
    with pytest.raises(NotPermitted):
        decide_approval(acme.people["bob"], approval.id, "allow")
    decide_approval(acme.owner, approval.id, "allow", "always")
    for _ in range(2):
        assert find_standing(use_of(secret, task)) == "allowed"
        assert open_for_use(use_of(secret, task)).value
    with tenant_transaction(acme.organisation.id):
        assert Secret.objects.get(id=secret.id).trusted_agent_ids == [acme.agent.id]


def test_a_personal_secret_is_decided_about_by_its_owner(acme):
    secret = held(acme, approval="first_use", is_personal=True)
    task, _, _ = at_work(acme)
    find_standing(use_of(secret, task))
    (approval,) = approvals(acme)
    assert approval.decider_ids == [acme.owner.user_id]


def test_secrets_from_before_versions_become_first_versions(acme):
    """Plays the migration over a secret as it was kept before, in a transaction that is rolled back."""
    migration = importlib.import_module("services.domain.vault.migrations.0003_first_versions")
    secret_id = uuid7()
    sealed = seal_text("kept before", secret_id)
    with psycopg.connect(os.environ["SLIPWAY_OWNER_DATABASE_URL"]) as connection:
        connection.execute(
            "ALTER TABLE secret ADD sealed bytea, ADD key_id text, NO FORCE ROW LEVEL SECURITY"
        )
        connection.execute(
            "INSERT INTO secret (id, org_id, created_at, updated_at, name, description, mode, bindings, approval, "
            "trusted_agent_ids, version, last_version, sealed, key_id) "
            "VALUES (%s, %s, now(), now(), 'OLD', '', 'env', '[]', 'never', '{}', 1, 1, %s, %s)",
            (secret_id, acme.organisation.id, sealed.blob, sealed.key_id),
        )
        connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
        for statement in migration.BACKFILL.sql:
            connection.execute(statement)
        connection.execute("ALTER TABLE secret_version NO FORCE ROW LEVEL SECURITY")
        row = connection.execute("SELECT id, number, sealed, key_id FROM secret_version").fetchone()
        assert row is not None
        connection.rollback()
    assert (row[1], open_text(row[2], row[3], row[0])) == (1, "kept before")


def test_all_that_is_sealed_moves_with_the_key():
    sealed = {
        (model, field.name)
        for model in apps.get_models()
        for field in model._meta.concrete_fields
        if isinstance(field, BinaryField) and "sealed" in field.name
    }
    assert sealed == {(model, column) for model, column, _ in SEALED}
