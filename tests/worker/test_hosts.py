"""A host's heartbeat, and its return after it was fenced."""

from __future__ import annotations

import uuid

import pytest

from services.domain.plane.actions import change_state, take_sandbox
from services.domain.plane.fencing import fence_host
from services.domain.plane.hosts import choose_host, register_host
from services.domain.plane.models import Host, Sandbox, SandboxState, Volume
from services.domain.ports.sandbox import SandboxStatus
from services.worker.health import check_sandboxes
from services.worker.jobs import hosts
from services.worker.jobs import sandboxes as sandbox_jobs
from services.worker.jobs.archiving import sweep_volumes
from tests.domain.cast import submit
from tests.domain.test_hosts import silence, wish
from tests.fakes.sandbox_driver import FakeDriver

HERE = "testhost"


@pytest.fixture
def engine(database, monkeypatch) -> FakeDriver:
    """Put an engine in memory behind this host's worker."""
    fake = FakeDriver()
    monkeypatch.setattr(sandbox_jobs, "driver", lambda: fake)
    hosts.beat_host()
    return fake


def started(tenant, engine: FakeDriver) -> Sandbox:
    """Give a workspace whose idle sandbox runs on this host, with one file."""
    taken = take_sandbox(HERE, wish(submit(tenant)))
    assert taken is not None
    engine.running[taken.sandbox.id] = SandboxStatus.RUNNING
    engine.used[taken.sandbox.id] = taken.sandbox.volume
    engine.volumes[taken.sandbox.volume] = {"notes": b"here"}
    change_state(taken.sandbox.id, SandboxState.IDLE)
    return Sandbox.objects.get(id=taken.sandbox.id)


def test_a_beat_says_what_the_host_has_and_what_it_cannot_promise(engine):
    host = Host.objects.get(name=HERE)
    assert host.engine_version == "fake 1"
    assert host.missing_promises == ["memory_limit"]
    assert (host.memory_bytes, host.images) == (engine.measure_host().memory_bytes, ["image:1"])
    assert host.gateway_url.startswith("http://")


def test_a_host_whose_engine_is_away_falls_silent(engine):
    silence(HERE)
    before = Host.objects.get(name=HERE).last_beat_at
    engine.is_up = False
    assert hosts.beat_host() is None
    assert Host.objects.get(name=HERE).last_beat_at == before


def test_a_worker_fences_other_hosts_that_fell_silent(engine):
    register_host("other", driver="fake", slots=4)
    silence("other")
    silence(HERE)
    hosts.sweep_hosts()
    assert Host.objects.get(name="other").fenced_at is not None
    assert Host.objects.get(name=HERE).fenced_at is None


def test_a_fenced_host_that_comes_back_ends_what_it_had_and_serves_again(acme, engine):
    sandbox = started(acme, engine)
    fence_host(HERE)
    assert sandbox.id in engine.running
    hosts.beat_host()
    assert engine.running == {}
    host = Host.objects.get(name=HERE)
    assert host.fenced_at is None
    assert host.epoch != sandbox.host_epoch
    assert choose_host(wish(submit(acme))) == HERE


def test_files_that_nobody_restored_meanwhile_are_the_hosts_own_again(acme, engine):
    sandbox = started(acme, engine)
    fence_host(HERE)
    hosts.beat_host()
    volume = Volume.objects.get(workspace_id=sandbox.workspace_id)
    assert (volume.host_id, volume.name) == (HERE, sandbox.volume)
    sweep_volumes()
    assert engine.volumes == {sandbox.volume: {"notes": b"here"}}


def test_files_that_went_on_elsewhere_are_removed_here(acme, engine, monkeypatch):
    monkeypatch.setattr("services.worker.jobs.archiving.STRAY_AGE_S", -1.0)
    sandbox = started(acme, engine)
    register_host("other", driver="fake", slots=4)
    fence_host(HERE)
    Volume.objects.filter(workspace_id=sandbox.workspace_id).update(
        host_id="other", name=uuid.uuid4().hex, lost_host=""
    )
    hosts.beat_host()
    sweep_volumes()
    assert engine.volumes == {}
    assert Volume.objects.get(workspace_id=sandbox.workspace_id).host_id == "other"


def test_what_another_host_has_on_the_same_engine_is_left_alone(acme, engine, monkeypatch):
    monkeypatch.setattr("services.worker.jobs.archiving.STRAY_AGE_S", -1.0)
    monkeypatch.setattr("services.worker.health.driver", lambda: engine)
    sandbox = started(acme, engine)
    register_host("other", driver="fake", slots=4)
    Sandbox.objects.filter(id=sandbox.id).update(host_id="other")
    Volume.objects.filter(workspace_id=sandbox.workspace_id).update(host_id="other")
    fence_host(HERE)
    hosts.beat_host()
    check_sandboxes()
    sweep_volumes()
    assert list(engine.running) == [sandbox.id]
    assert list(engine.volumes) == [sandbox.volume]
