"""Counting what sandboxes use: exact, once, hour by hour, and nobody's before it is somebody's."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connections

from conftest import Tenant
from services.domain.actors import Actor
from services.domain.errors import ScopeMissing, WorkspaceMissing
from services.domain.metering import actions
from services.domain.metering.actions import Reading, count_disk_at_rest, count_usage, note_network
from services.domain.metering.models import Meter, SandboxUsageRecord
from services.domain.metering.queries import Used, get_usage
from services.domain.plane.models import Sandbox
from services.domain.ports.sandbox import SandboxUsage
from services.domain.tasks.models import Task, UsageRecord
from services.domain.tenancy.transaction import tenant_transaction
from services.domain.workspaces.actions import delete_workspace
from services.domain.workspaces.models import Workspace
from services.kit.ids import uuid7
from tests.domain.cast import submit

NOON = datetime(2026, 3, 2, 12, 0, 0, 400_000, tzinfo=UTC)
MIB = 1024**2


def claimed(task: Task, *, since: datetime = NOON, warm_cpu_ms: int = 0) -> Sandbox:
    """Return a workspace's sandbox as the plane has it; the counting reads nothing else of it."""
    return Sandbox(
        id=uuid7(),
        host_id="testhost",
        org_id=task.org_id,
        workspace_id=task.workspace_id,
        claimed_at=since,
        metered_cpu_ms=warm_cpu_ms,
    )


def reading(cpu_ms: int, at: datetime, *, memory: int = MIB, disk: int = 2 * MIB) -> Reading:
    return Reading(SandboxUsage(cpu_ms, memory, disk), at - timedelta(milliseconds=20), at)


def records(tenant: Tenant) -> list[SandboxUsageRecord]:
    with tenant_transaction(tenant.organisation.id):
        return list(SandboxUsageRecord.objects.order_by("bucket", "id"))


def total(tenant: Tenant, **which) -> Used:
    with tenant_transaction(tenant.organisation.id):
        stretch = {"since": NOON - timedelta(days=2), "until": NOON + timedelta(days=2)}
        return get_usage(tenant.owner, **stretch, **which).total


def test_a_reading_counts_what_was_used_since_the_last_one(acme):
    sandbox = claimed(submit(acme))
    count_usage(sandbox, reading(150, NOON + timedelta(seconds=15)))
    count_usage(sandbox, reading(400, NOON + timedelta(seconds=30, milliseconds=700), memory=3 * MIB))
    (row,) = records(acme)
    assert row.cpu_ms == 400
    assert row.memory_byte_seconds == 15 * MIB + 16 * 3 * MIB
    assert row.disk_byte_seconds == 31 * 2 * MIB
    assert (row.agent_id, row.sandbox_id) == (acme.agent.id, sandbox.id)


def test_the_same_reading_twice_counts_once(acme):
    sandbox = claimed(submit(acme))
    once = reading(150, NOON + timedelta(seconds=15))
    for _ in range(3):
        count_usage(sandbox, once)
    assert total(acme) == Used(cpu_ms=150, memory_byte_seconds=15 * MIB, disk_byte_seconds=30 * MIB)


def test_an_older_reading_that_comes_late_counts_nothing(acme):
    sandbox = claimed(submit(acme))
    count_usage(sandbox, reading(500, NOON + timedelta(seconds=30)))
    before = total(acme)
    count_usage(sandbox, reading(150, NOON + timedelta(seconds=15)))
    assert total(acme) == before


def test_readings_at_once_count_each_unit_once(acme):
    sandbox = claimed(submit(acme))

    def run(index: int) -> None:
        try:
            count_usage(sandbox, reading(100 * index, NOON + timedelta(seconds=index)))
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run, args=(index,)) for index in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert total(acme) == Used(cpu_ms=800, memory_byte_seconds=8 * MIB, disk_byte_seconds=16 * MIB)


def test_a_counter_that_begins_anew_goes_on_being_counted(acme):
    sandbox = claimed(submit(acme))
    count_usage(sandbox, reading(500, NOON + timedelta(seconds=15)))
    count_usage(sandbox, reading(40, NOON + timedelta(seconds=30)))
    assert total(acme).cpu_ms == 540


def test_time_is_split_at_the_full_hour(acme):
    late = NOON.replace(minute=59, second=50)
    sandbox = claimed(submit(acme), since=late)
    count_usage(sandbox, reading(10, late + timedelta(seconds=25)))
    first, second = records(acme)
    assert (first.bucket.hour, first.memory_byte_seconds) == (12, 10 * MIB)
    assert (second.bucket.hour, second.memory_byte_seconds, second.cpu_ms) == (13, 15 * MIB, 10)


def test_what_a_sandbox_used_while_it_was_warm_is_nobodys(acme):
    sandbox = claimed(submit(acme), since=NOON, warm_cpu_ms=900)
    count_usage(sandbox, reading(950, NOON + timedelta(seconds=10)))
    assert total(acme) == Used(cpu_ms=50, memory_byte_seconds=10 * MIB, disk_byte_seconds=20 * MIB)


def test_the_disk_of_a_workspace_at_rest_counts_on(acme, monkeypatch):
    task = submit(acme)
    count_usage(claimed(task), reading(1, NOON + timedelta(seconds=10), disk=5 * MIB))
    monkeypatch.setattr(actions, "now", lambda: NOON + timedelta(seconds=70))
    for _ in range(2):
        count_disk_at_rest(task.org_id, task.workspace_id)
    assert total(acme).disk_byte_seconds == 70 * 5 * MIB
    assert {row.sandbox_id for row in records(acme)} >= {None}


def test_files_that_lay_in_a_snapshot_took_no_disk_meanwhile(acme):
    task = submit(acme)
    count_usage(claimed(task), reading(1, NOON + timedelta(seconds=10)))
    woken = NOON + timedelta(hours=5)
    count_usage(claimed(task, since=woken), reading(1, woken + timedelta(seconds=10)))
    assert total(acme).disk_byte_seconds == 20 * 2 * MIB


def test_network_bytes_add_up(acme):
    task = submit(acme)
    note_network(task.org_id, task.workspace_id, 10, 200)
    note_network(task.org_id, task.workspace_id, 5, 0)
    note_network(task.org_id, task.workspace_id, 0, 0)
    note_network(task.org_id, uuid7(), 5, 5)
    (row,) = records(acme)
    assert (row.network_up_bytes, row.network_down_bytes) == (15, 200)


def test_usage_outlives_its_workspace(acme):
    task = submit(acme)
    sandbox = claimed(task)
    count_usage(sandbox, reading(10, NOON + timedelta(seconds=10)))
    with tenant_transaction(task.org_id):
        Task.objects.all().delete()
    delete_workspace(acme.owner, task.workspace_id)
    count_usage(sandbox, reading(30, NOON + timedelta(seconds=20)))
    assert total(acme).cpu_ms == 30


def test_usage_of_a_workspace_that_nobody_knows_is_not_counted(acme):
    sandbox = claimed(submit(acme))
    sandbox.workspace_id = uuid7()
    count_usage(sandbox, reading(30, NOON + timedelta(seconds=20)))
    assert records(acme) == []


def test_another_tenants_workspace_cannot_be_charged_or_seen(acme, globex):
    theirs = submit(acme)
    sandbox = claimed(theirs)
    sandbox.org_id = globex.organisation.id
    count_usage(sandbox, reading(30, NOON + timedelta(seconds=20)))
    note_network(globex.organisation.id, theirs.workspace_id, 5, 5)
    count_disk_at_rest(globex.organisation.id, theirs.workspace_id)
    assert records(acme) == records(globex) == []
    count_usage(claimed(theirs), reading(30, NOON + timedelta(seconds=20)))
    assert total(globex) == Used()
    with pytest.raises(WorkspaceMissing):
        total(globex, workspace_id=theirs.workspace_id)


def test_sums_go_by_workspace_agent_or_day_and_join_sandboxes_with_models(acme):
    tasks = [submit(acme) for _ in range(3)]
    with tenant_transaction(acme.organisation.id):
        for index, task in enumerate(tasks):
            UsageRecord.objects.create(
                org_id=task.org_id, task=task, kind="llm", input_tokens=2**40, output_tokens=index,
                cost_microusd=index or None, created_at=NOON,
            )  # fmt: skip
    count_usage(claimed(tasks[0]), reading(7, NOON + timedelta(seconds=1), memory=2**62))
    count_usage(
        claimed(tasks[1], since=NOON + timedelta(days=1)), reading(7, NOON + timedelta(days=1, seconds=1))
    )
    with tenant_transaction(acme.organisation.id):
        stretch = {"since": NOON - timedelta(hours=1), "until": NOON + timedelta(days=3)}
        by_agent = get_usage(acme.owner, **stretch, group_by="agent")
        by_day = get_usage(acme.owner, **stretch, group_by="day")
        pages, after = [], None
        while True:
            page = get_usage(acme.owner, **stretch, group_by="workspace", limit=2, after=after)
            pages.append([key for key, _ in page.groups])
            if (after := page.next_key) is None:
                break
    ((key, used),) = by_agent.groups
    assert key == str(acme.agent.id)
    assert used == by_agent.total
    assert used.input_tokens == 3 * 2**40
    assert used.cost_microusd == 3
    assert used.memory_byte_seconds == 2**62 + MIB
    assert [(day, sums.cpu_ms, sums.output_tokens) for day, sums in by_day.groups] == [
        ("2026-03-02", 7, 3),
        ("2026-03-03", 7, 0),
    ]
    assert [len(page) for page in pages] == [2, 1]
    assert [key for page in pages for key in page] == sorted(str(task.workspace_id) for task in tasks)


def test_usage_needs_its_scope(acme):
    narrow = Actor(org_id=acme.organisation.id, kind="token", role="owner", scopes=frozenset({"tasks:read"}))
    with tenant_transaction(acme.organisation.id), pytest.raises(ScopeMissing):
        get_usage(narrow, since=NOON, until=NOON + timedelta(days=1))


def test_meters_of_what_is_long_gone_are_forgotten(acme):
    task = submit(acme)
    count_usage(claimed(task), reading(1, NOON + timedelta(seconds=10)))
    actions.all_tenants_forget_meters()
    with tenant_transaction(task.org_id):
        assert not Meter.objects.exists()
        assert Workspace.objects.filter(id=task.workspace_id).exists()
