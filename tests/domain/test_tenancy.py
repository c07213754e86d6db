"""Row-level security: what one organisation has, no other can see, whatever the query forgets."""

from __future__ import annotations

import psycopg
import pytest
from django.apps import apps
from django.db import IntegrityError, connection, connections, transaction

from conftest import recorded
from services.domain.agents.models import Agent
from services.domain.events.log import all_tenants_heads, list_events, record_event
from services.domain.events.types import NotificationCreated
from services.domain.outbox.models import OutboxJob
from services.domain.tasks.models import Task
from services.domain.tasks.submit import TaskOrder, submit_task
from services.domain.tenancy.transaction import tenant_transaction
from services.domain.workspaces.models import Workspace


def test_every_tenant_table_has_row_level_security_enabled_and_forced(database):
    tables = [
        model._meta.db_table
        for model in apps.get_models()
        if model._meta.app_label != "plane" and any(field.name == "org_id" for field in model._meta.fields)
    ]
    assert len(tables) > 15
    with connections["operator"].cursor() as cursor:
        cursor.execute(
            "SELECT relname FROM pg_class WHERE relname = ANY(%s) AND relrowsecurity AND relforcerowsecurity",
            [[*tables, "organisation"]],
        )
        assert {row[0] for row in cursor.fetchall()} == {*tables, "organisation"}


def test_the_runtime_roles_own_nothing_and_bypass_nothing(database):
    with connections["operator"].cursor() as cursor:
        cursor.execute("SELECT rolname, rolsuper, rolbypassrls FROM pg_roles WHERE rolname LIKE 'slipway%'")
        assert all(not is_super and not bypasses for _, is_super, bypasses in cursor.fetchall())
        cursor.execute("SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'public'")
        assert cursor.fetchall() == [("slipway_owner",)]


def test_a_query_without_a_tenant_sees_nothing(acme):
    assert Agent.objects.count() == 0
    with transaction.atomic():
        assert Agent.objects.count() == 0


def test_a_tenant_sees_its_own_rows_and_no_others(acme, globex):
    with tenant_transaction(acme.organisation.id):
        assert [agent.id for agent in Agent.objects.all()] == [acme.agent.id]
        assert not Agent.objects.filter(id=globex.agent.id).exists()


def test_nothing_of_the_tenant_is_left_on_the_connection(acme):
    with tenant_transaction(acme.organisation.id):
        assert Agent.objects.count() == 1
    with connection.cursor() as cursor:
        cursor.execute("SELECT nullif(current_setting('app.org_id', true), '')")
        assert cursor.fetchone() == (None,)
    assert Agent.objects.count() == 0


def test_a_row_of_another_tenant_cannot_be_written(acme, globex):
    with pytest.raises(Exception, match="row-level security"), tenant_transaction(acme.organisation.id):
        Agent.objects.create(org_id=globex.organisation.id, name="spy", slug="spy")


def test_a_reference_to_another_tenants_row_is_refused(acme, globex):
    with pytest.raises(IntegrityError), tenant_transaction(acme.organisation.id):
        Workspace.objects.create(org_id=acme.organisation.id, agent_id=globex.agent.id)


def test_a_transaction_of_another_tenant_cannot_be_nested(acme, globex):
    with (
        tenant_transaction(acme.organisation.id),
        pytest.raises(RuntimeError),
        tenant_transaction(globex.organisation.id),
    ):
        pass


def test_the_tenants_role_writes_to_the_outbox_and_cannot_read_it(acme):
    submit_task(acme.owner, TaskOrder(agent_id=acme.agent.id, prompt="true"), source="api")
    with pytest.raises(Exception, match="permission denied"), tenant_transaction(acme.organisation.id):
        OutboxJob.objects.count()


def test_a_refused_change_leaves_neither_event_nor_job(acme):
    with recorded() as seen, pytest.raises(RuntimeError), tenant_transaction(acme.organisation.id):
        submit_task(acme.owner, TaskOrder(agent_id=acme.agent.id, prompt="true"), source="api")
        raise RuntimeError("the caller failed")
    assert (seen.events, seen.jobs) == ([], [])
    with tenant_transaction(acme.organisation.id):
        assert Task.objects.count() == 0


def test_the_relays_role_reaches_only_the_outbox(acme):
    import os

    with psycopg.connect(os.environ["SLIPWAY_RELAY_DATABASE_URL"]) as relay:
        relay.execute("SELECT count(*) FROM outbox_job")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            relay.execute("SELECT count(*) FROM task")


def test_a_person_in_two_organisations_has_a_stream_in_each(acme, globex):
    stream = f"user:{acme.owner.user_id}"
    for tenant in (acme, globex):
        with tenant_transaction(tenant.organisation.id):
            for number in (1, 2):
                event = record_event(stream, NotificationCreated(message=tenant.organisation.slug))
                assert event.seq == number
    with tenant_transaction(acme.organisation.id):
        assert {event.data["message"] for event in list_events(stream, after=0, limit=10)} == {"acme"}
    assert all_tenants_heads([stream]) == {stream: 2}
