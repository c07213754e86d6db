"""Playbooks: due at the right moment in their zone, fired once, never silently lost."""

from __future__ import annotations

import hashlib
import hmac
import threading
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connections

from conftest import recorded
from services.domain.agents.actions import archive_agent
from services.domain.errors import (
    AgentMissing,
    HookReplayed,
    HookUnverified,
    PlaybookMissing,
    ScheduleInvalid,
)
from services.domain.playbooks.actions import (
    PlaybookFields,
    all_tenants_accept_hook,
    all_tenants_claim_due_playbooks,
    create_playbook,
    fire_due_playbook,
    run_playbook,
    update_playbook,
    verify_hook_signature,
)
from services.domain.playbooks.models import Playbook, PlaybookRun
from services.domain.playbooks.schedule import next_run
from services.domain.tasks.models import Task
from services.domain.tenancy.transaction import tenant_transaction
from services.kit.clock import now


def make(tenant, **fields):
    values = {"agent_id": tenant.agent.id, "name": "Daily", "prompt": "true", **fields}
    return create_playbook(tenant.owner, PlaybookFields(**values))


def sign(secret: str, body: bytes, moment: int) -> str:
    mac = hmac.new(secret.encode(), f"{moment}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={moment},v1={mac}"


@pytest.mark.parametrize(
    ("cron", "zone", "after", "expected"),
    [
        ("0 9 * * *", "UTC", "2026-03-01T08:59:00", "2026-03-01T09:00:00"),
        ("0 9 * * *", "Europe/Berlin", "2026-01-15T00:00:00", "2026-01-15T08:00:00"),
        ("0 9 * * *", "Europe/Berlin", "2026-07-15T00:00:00", "2026-07-15T07:00:00"),
        ("*/15 * * * 1-5", "America/New_York", "2026-11-21T12:00:00", "2026-11-23T05:00:00"),
        ("0 0 29 2 *", "UTC", "2026-03-01T00:00:00", "2028-02-29T00:00:00"),
    ],
)
def test_a_schedule_is_read_in_its_zone(cron, zone, after, expected):
    moment = datetime.fromisoformat(after).replace(tzinfo=UTC)
    assert next_run(cron, zone, moment) == datetime.fromisoformat(expected).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("cron", "zone"),
    [
        ("", "UTC"),
        ("* * * *", "UTC"),
        ("61 * * * *", "UTC"),
        ("0 0 30 2 *", "UTC"),
        ("x y z a b", "UTC"),
        ("* * * * * *", "UTC"),
        ("0 9 * * *", "Mars/Olympus"),
        ("0 9 * * *", "../../etc/passwd"),
    ],
)
def test_a_schedule_that_cannot_be_is_refused(acme, cron, zone):
    with pytest.raises(ScheduleInvalid):
        next_run(cron, zone, now())
    if cron:
        with pytest.raises(ScheduleInvalid):
            make(acme, cron=cron, timezone=zone)


def test_a_due_playbook_becomes_one_job_however_many_claim(acme):
    playbook, _ = make(acme, cron="* * * * *")
    Playbook.objects.using("operator").update(next_run_at=now() - timedelta(minutes=10))
    counts = []

    def claim() -> None:
        try:
            counts.append(all_tenants_claim_due_playbooks())
        finally:
            connections.close_all()

    with recorded() as seen:
        threads = [threading.Thread(target=claim) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sum(counts) == 1
    assert seen.job_types == ["playbook.fire"]
    with tenant_transaction(acme.organisation.id):
        assert Playbook.objects.get(id=playbook.id).next_run_at > now()


def test_a_due_time_fires_once(acme):
    playbook, _ = make(acme, cron="* * * * *")
    moment = now()
    for _ in range(3):
        fire_due_playbook(acme.organisation.id, playbook.id, moment)
    with tenant_transaction(acme.organisation.id):
        assert Task.objects.count() == PlaybookRun.objects.count() == 1


def test_a_run_that_cannot_be_submitted_says_why(acme):
    playbook, _ = make(acme)
    archive_agent(acme.owner, acme.agent.id)
    run = run_playbook(acme.owner, playbook.id)
    assert run.task is None
    assert run.error.startswith("agent_archived")


def test_a_playbook_that_keeps_its_workspace_goes_on_in_it(acme):
    playbook, _ = make(acme, keeps_workspace=True)
    first, second = (run_playbook(acme.owner, playbook.id).task for _ in range(2))
    assert first.workspace_id == second.workspace_id
    other, _ = make(acme, name="Fresh")
    third, fourth = (run_playbook(acme.owner, other.id).task for _ in range(2))
    assert third.workspace_id != fourth.workspace_id


def test_a_disabled_playbook_is_not_due(acme):
    playbook, _ = make(acme, cron="* * * * *")
    assert update_playbook(acme.owner, playbook.id, {"is_enabled": False}).next_run_at is None
    assert update_playbook(acme.owner, playbook.id, {"is_enabled": True}).next_run_at is not None


def test_a_signed_hook_fires_once_and_a_bad_one_never(acme):
    playbook, secret = make(acme)
    body, moment = b'{"deploy": 1}', int(now().timestamp())
    signature = sign(secret, body, moment)
    first = all_tenants_accept_hook(playbook.id, signature=signature, body=body, key="d1")
    assert all_tenants_accept_hook(playbook.id, signature=signature, body=body, key="d1").id == first.id
    for key in (None, "d2"):
        with pytest.raises(HookReplayed):
            all_tenants_accept_hook(playbook.id, signature=signature, body=body, key=key)
    for bad in (
        "",
        "t=,v1=",
        "t=abc,v1=00",
        f"t={moment},v1=00",
        sign(secret, b"other", moment),
        sign("wrong", body, moment),
        sign(secret, body, moment - 301),
        sign(secret, body, moment + 302),
        "t=9" * 50,
        f"t={moment},v1=ä",
    ):
        with pytest.raises(HookUnverified):
            all_tenants_accept_hook(playbook.id, signature=bad, body=body, key=None)
    with tenant_transaction(acme.organisation.id):
        assert Task.objects.count() == 1
        assert '{"deploy": 1}' in Task.objects.get().prompt


def test_the_window_of_a_hook_is_300_seconds():
    verify_hook_signature("s", sign("s", b"x", 1_000), b"x", at=1_300)
    with pytest.raises(HookUnverified):
        verify_hook_signature("s", sign("s", b"x", 1_000), b"x", at=1_301)


def test_another_tenants_playbook_does_not_exist(acme, globex):
    playbook, _ = make(acme)
    with pytest.raises(PlaybookMissing):
        run_playbook(globex.owner, playbook.id)
    with pytest.raises(AgentMissing):
        make(globex, agent_id=acme.agent.id)
