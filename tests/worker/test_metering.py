"""The worker's part in metering: reading the engine's counters in rounds and at the end."""

from __future__ import annotations

import os
import time
import uuid
from datetime import timedelta

import pytest

from services.adapters.sandbox.registry import make_driver
from services.adapters.sandbox.tests.conftest import agent_images
from services.domain.errors import EngineAway
from services.domain.metering.models import Meter, SandboxUsageRecord
from services.domain.plane.hosts import register_host
from services.domain.plane.models import Sandbox, SandboxState, Volume
from services.domain.ports.sandbox import Promise, SandboxLimits, SandboxSpec, SandboxUsage
from services.domain.tenancy.transaction import tenant_transaction
from services.kit.clock import now
from services.worker.jobs.metering import meter_sandbox, sweep_disks, sweep_usage
from tests.domain.cast import submit

__all__ = ["agent_images"]
AGO = timedelta(seconds=100)
MIB = 1024**2


class FakeDriver:
    """The part of an engine that meters read."""

    def __init__(self) -> None:
        self.usages: dict[uuid.UUID, SandboxUsage] = {}
        self.is_up = True

    def read_usage(self, sandbox_id: uuid.UUID) -> SandboxUsage | None:
        if not self.is_up:
            raise EngineAway("away")
        return self.usages.get(sandbox_id)


@pytest.fixture
def engine(database) -> FakeDriver:
    register_host("testhost", driver="fake", slots=4)
    return FakeDriver()


def sandbox_of(task=None, **columns) -> Sandbox:
    owner = (
        {"org_id": task.org_id, "workspace_id": task.workspace_id, "claimed_at": now() - AGO} if task else {}
    )
    return Sandbox.objects.create(
        host_id="testhost", image="i", **{"state": SandboxState.IDLE, **owner, **columns}
    )


def record_of(tenant) -> SandboxUsageRecord:
    """Return the sums of all records as one."""
    with tenant_transaction(tenant.organisation.id):
        rows = list(SandboxUsageRecord.objects.all())
    names = ("cpu_ms", "memory_byte_seconds", "disk_byte_seconds")
    return SandboxUsageRecord(**{name: sum(getattr(row, name) for row in rows) for name in names})


def test_a_round_and_the_last_reading_count_all_that_was_used_once(acme, engine):
    sandbox = sandbox_of(submit(acme))
    engine.usages[sandbox.id] = SandboxUsage(cpu_ms=70, memory_bytes=MIB, disk_bytes=3)
    sweep_usage(engine)
    first = record_of(acme)
    assert first.cpu_ms == 70
    assert first.memory_byte_seconds >= 100 * MIB
    engine.usages[sandbox.id] = SandboxUsage(cpu_ms=90, memory_bytes=MIB, disk_bytes=3)
    for _ in range(2):
        meter_sandbox(sandbox, engine)
    assert record_of(acme).cpu_ms == 90


def test_a_warm_sandboxs_use_before_it_was_claimed_is_nobodys(acme, engine):
    warm = sandbox_of(state=SandboxState.WARM)
    engine.usages[warm.id] = SandboxUsage(cpu_ms=500, memory_bytes=MIB, disk_bytes=0)
    sweep_usage(engine)
    assert record_of(acme).cpu_ms == 0
    task = submit(acme)
    Sandbox.objects.filter(id=warm.id).update(
        org_id=task.org_id, workspace_id=task.workspace_id, claimed_at=now(), state=SandboxState.BUSY
    )
    engine.usages[warm.id] = SandboxUsage(cpu_ms=530, memory_bytes=MIB, disk_bytes=0)
    sweep_usage(engine)
    assert record_of(acme).cpu_ms == 30


def test_an_engine_that_is_away_or_a_sandbox_that_is_gone_stops_nothing(acme, engine):
    gone, here = sandbox_of(submit(acme)), sandbox_of(submit(acme))
    engine.usages[here.id] = SandboxUsage(cpu_ms=10, memory_bytes=MIB, disk_bytes=0)
    sweep_usage(engine)
    assert record_of(acme).cpu_ms == 10
    engine.is_up = False
    sweep_usage(engine)
    meter_sandbox(gone, engine)
    assert record_of(acme).cpu_ms == 10


def test_the_disk_of_a_stopped_workspace_counts_and_that_of_a_live_one_is_left_to_its_sandbox(acme, engine):
    task = submit(acme)
    sandbox = sandbox_of(task)
    Volume.objects.create(
        workspace_id=task.workspace_id, org_id=task.org_id, host_id="testhost", name="v", disk_bytes=9
    )
    engine.usages[sandbox.id] = SandboxUsage(cpu_ms=1, memory_bytes=0, disk_bytes=MIB)
    sweep_usage(engine)
    before = record_of(acme).disk_byte_seconds
    sweep_disks()
    assert record_of(acme).disk_byte_seconds == before
    Sandbox.objects.filter(id=sandbox.id).update(state=SandboxState.STOPPED)
    moved = Meter.objects.using("operator").filter(subject_id=task.workspace_id)
    moved.update(counted_at=moved.get().counted_at - AGO)
    sweep_disks()
    after = record_of(acme).disk_byte_seconds
    assert after - before >= 100 * MIB
    assert (after - before) % MIB == 0


@pytest.mark.engine
def test_a_real_sandboxs_use_is_counted_and_ends_with_it(acme, agent_images, tmp_path):
    driver = make_driver("docker", "metertest", tmp_path, docker_host=os.environ.get("SLIPWAY_DOCKER_HOST"))
    register_host("testhost", driver="docker", slots=4)
    sandbox = sandbox_of(submit(acme))
    folder = tmp_path / "s"
    folder.mkdir()
    try:
        driver.start(
            SandboxSpec(
                sandbox.id,
                "metertest",
                agent_images.shell,
                folder,
                limits=SandboxLimits(memory_bytes=256 * MIB),
                accepted_gaps=frozenset(Promise),
            )
        )
        deadline = time.monotonic() + 30
        while not (used := record_of(acme)).cpu_ms:
            assert time.monotonic() < deadline
            meter_sandbox(sandbox, driver)
        assert 0 < used.memory_byte_seconds < 256 * MIB * 3600
    finally:
        driver.destroy(sandbox.id)
    meter_sandbox(sandbox, driver)
    assert record_of(acme).cpu_ms == used.cpu_ms
