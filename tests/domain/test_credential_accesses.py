"""The log of all credentials: one row for each use, and the one place that says when each was used last."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import connections

from conftest import Tenant
from services.domain.errors import IntegrationMissing, LlmKeyMissing, UpstreamMissing
from services.domain.integrations.queries import list_account_accesses
from services.domain.llm.keys import delete_key, list_key_accesses
from services.domain.tenancy.transaction import tenant_transaction
from services.domain.upstreams.queries import list_upstream_accesses
from services.domain.vault.accesses import Keeper, record_accesses
from services.domain.vault.keeping import all_tenants_forget_old_versions
from services.domain.vault.models import CredentialAccess
from services.domain.vault.queries import list_secret_accesses
from services.kit.clock import now
from tests.domain.cast import keep_one_of_each, running, use_of


def logged(tenant: Tenant) -> list[CredentialAccess]:
    with tenant_transaction(tenant.organisation.id):
        return list(CredentialAccess.objects.order_by("id"))


def last_used(row: Keeper) -> Any:
    with tenant_transaction(row.org_id):
        return type(row)._default_manager.get(id=row.id).last_used_at


@pytest.mark.parametrize("kind", ["secret", "account", "mcp_server", "model_key"])
def test_a_use_says_whose_credential_it_was_for_whom_and_when_it_was_used_last(acme, kind):
    row = keep_one_of_each(acme)[kind]
    task, _ = running(acme)
    assert last_used(row) is None
    first, last = now() - timedelta(minutes=2), now() - timedelta(minutes=1)
    record_accesses(acme.organisation.id, [use_of(task, row, count=3, first_at=first, last_at=last)])
    (access,) = logged(acme)
    assert (access.credential_kind, access.credential_id, access.credential_name) == (kind, row.id, row.name)
    assert access.version == (1 if kind == "secret" else None)
    assert (access.task_id, access.agent_id, access.workspace_id, access.user_id) == (
        task.id, acme.agent.id, task.workspace_id, acme.owner.user_id,
    )  # fmt: skip
    assert (access.host, access.count, access.first_at, access.last_at) == ("api.example.com", 3, first, last)
    assert last_used(row) == last
    # What another gateway writes late moves nothing back.
    record_accesses(acme.organisation.id, [use_of(task, row, first_at=first, last_at=first)])
    assert (last_used(row), len(logged(acme))) == (last, 2)


def test_each_kind_lists_its_own_uses_and_another_tenant_finds_nothing(acme, globex):
    rows = keep_one_of_each(acme)
    task, _ = running(acme)
    record_accesses(acme.organisation.id, [use_of(task, row) for row in rows.values()])
    listings = {
        "account": (list_account_accesses, IntegrationMissing),
        "mcp_server": (list_upstream_accesses, UpstreamMissing),
        "model_key": (list_key_accesses, LlmKeyMissing),
    }
    with tenant_transaction(acme.organisation.id):
        assert list_secret_accesses(acme.owner, rows["secret"].id).count() == 1
        for kind, (listing, _) in listings.items():
            assert [access.credential_kind for access in listing(acme.owner, rows[kind].id)] == [kind]
    with tenant_transaction(globex.organisation.id):
        assert not CredentialAccess.objects.exists()
        for kind, (listing, missing) in listings.items():
            with pytest.raises(missing):
                listing(globex.owner, rows[kind].id)
    # Nor does a use that is claimed elsewhere touch the row.
    record_accesses(
        globex.organisation.id, [use_of(task, rows["account"], last_at=now() + timedelta(days=1))]
    )
    assert last_used(rows["account"]) <= now()


def test_the_log_cannot_be_changed_outlives_the_key_and_is_forgotten_in_the_end(acme):
    row = keep_one_of_each(acme)["model_key"]
    task, _ = running(acme)
    record_accesses(acme.organisation.id, [use_of(task, row)])
    for change in ("update", "delete"):
        with pytest.raises(Exception, match="permission denied"), tenant_transaction(acme.organisation.id):
            found = CredentialAccess.objects.all()
            found.update(count=9) if change == "update" else found._raw_delete("default")
    delete_key(acme.owner, row.id)
    all_tenants_forget_old_versions()
    assert [access.credential_name for access in logged(acme)] == ["ours"]
    with connections["operator"].cursor() as cursor:
        cursor.execute("UPDATE credential_access SET created_at = %s", [now() - timedelta(days=401)])
    all_tenants_forget_old_versions()
    assert logged(acme) == []
