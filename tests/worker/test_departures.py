"""Exports and deletions: what an archive holds and withholds, and what is gone after the grace."""

from __future__ import annotations

import io
import json
import zipfile
from datetime import timedelta

import pytest
from pydantic import SecretStr

from conftest import PASSWORD, recorded
from services.domain.audit.models import AuditRecord
from services.domain.errors import Conflict, LastOwner, RoleMissing
from services.domain.identity.deletion import (
    all_tenants_delete_due_accounts,
    all_tenants_delete_due_organisations,
    all_tenants_plan_account_deletion,
    cancel_deletion,
    plan_deletion,
)
from services.domain.identity.exports import order_export, tenant_models
from services.domain.identity.models import ApiToken, Membership, Organisation, OrganisationExport, User
from services.domain.outbox.jobs import MakeExport
from services.domain.tasks.submit import TaskOrder, submit_task
from services.domain.vault.actions import create_secret
from services.domain.vault.fields import NewSecret
from services.kit.clock import now
from services.worker.jobs import exporting
from services.worker.jobs.volumes import storage
from tests.api.client import Api


def overdue(model, pk) -> None:
    model.objects.using("operator").filter(pk=pk).update(deletion_due_at=now() - timedelta(seconds=1))


def test_an_export_holds_the_organisations_rows_and_nothing_that_opens_something(acme, globex):
    create_secret(acme.owner, NewSecret(name="API_KEY", value=SecretStr("hush-hush")))
    submit_task(acme.owner, TaskOrder(agent_id=acme.agent.id, prompt="echo of-acme"), source="api")
    submit_task(globex.owner, TaskOrder(agent_id=globex.agent.id, prompt="echo of-globex"), source="api")
    with recorded() as seen:
        row = order_export(acme.owner)
    assert seen.job_types == ["export.make"]
    with pytest.raises(Conflict):
        order_export(acme.owner)
    with pytest.raises(RoleMissing):
        order_export(acme.people["bob"])
    assert Api(acme.token).get(f"/v1/exports/{row.id}/content").code == "conflict"
    for _ in range(2):
        exporting.make_export(MakeExport(org_id=row.org_id, export_id=row.id))
    alice = Api(acme.token)
    (listed,) = alice.get("/v1/exports").body["items"]
    assert (listed["status"], listed["size_bytes"] > 0) == ("ready", True)
    answer = alice.client.get(
        f"/v1/exports/{row.id}/content", headers={"Authorization": f"Bearer {acme.token}"}
    )
    archive = zipfile.ZipFile(io.BytesIO(b"".join(answer.streaming_content)))
    text = "".join(archive.read(name).decode() for name in archive.namelist())
    assert "of-acme" in text
    assert "API_KEY" in text
    assert "alice@acme.example" in text
    for foreign in ("of-globex", "mallory", "hush-hush", acme.token, "token_hash", "sealed"):
        assert foreign not in text, foreign
    (task,) = [json.loads(line) for line in archive.read("tables/task.jsonl").decode().splitlines()]
    assert task["prompt"] == "echo of-acme"
    OrganisationExport.objects.using("operator").update(expires_at=now())
    key = OrganisationExport.objects.using("operator").get().key
    exporting.sweep_departures()
    assert not storage().exists(key)


def test_an_organisation_goes_for_good_after_its_grace_and_not_before(acme, globex):
    submit_task(acme.owner, TaskOrder(agent_id=acme.agent.id, prompt="true"), source="api")
    org_id = acme.organisation.id
    plan_deletion(acme.owner)
    assert all_tenants_delete_due_organisations() == 0
    cancel_deletion(acme.owner)
    assert Organisation.objects.using("operator").get(id=org_id).deletion_due_at is None
    plan_deletion(acme.owner)
    overdue(Organisation, org_id)
    assert all_tenants_delete_due_organisations() == 1
    for model in tenant_models():
        assert not model.objects.using("operator").filter(org_id=org_id).exists(), model
    assert not Organisation.objects.using("operator").filter(id=org_id).exists()
    assert Api(acme.token).get("/v1/me").code == "token_invalid"
    assert Api(globex.token).get("/v1/agents").body["items"]
    assert AuditRecord.objects.using("operator").filter(org_id=globex.organisation.id).exists()


def test_an_account_goes_with_its_places_tokens_and_name_but_not_as_the_last_owner(acme):
    bob = acme.users["bob"]
    with pytest.raises(LastOwner):
        all_tenants_plan_account_deletion(acme.users["alice"])
    all_tenants_plan_account_deletion(bob)
    assert all_tenants_delete_due_accounts() == 0
    overdue(User, bob.pk)
    assert all_tenants_delete_due_accounts() == 1
    gone = User.objects.get(pk=bob.pk)
    assert (gone.is_active, gone.display_name, "bob@acme" in gone.email) == (False, "", False)
    assert not gone.check_password(PASSWORD)
    assert not Membership.objects.using("operator").filter(user=bob).exists()
    assert not ApiToken.objects.using("operator").filter(user=bob, revoked_at=None).exists()
    assert Api(acme.tokens["bob"]).get("/v1/me").code == "token_invalid"
