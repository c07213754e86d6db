"""Sandboxes on gVisor's kernel, where the engine has a runtime class `runsc`."""

from __future__ import annotations

import io

import pytest

from services.adapters.sandbox.hardening import GVISOR_MIN_PIDS
from services.adapters.sandbox.tests.conftest import Host
from services.domain.ports.sandbox import SandboxStatus

pytestmark = pytest.mark.engine

RUNTIME = "runsc"


@pytest.fixture
def gvisor(docker_host: Host) -> Host:
    if RUNTIME not in docker_host.driver.measure_host().runtimes:
        pytest.skip("this engine has no runtime class runsc")
    return docker_host


async def test_a_sandbox_runs_on_another_kernel_with_its_link_and_its_files(gvisor: Host) -> None:
    sandbox = await gvisor.make(volume="work", runtime=RUNTIME)
    await sandbox.start()
    assert "gVisor" in await sandbox.run("dmesg")
    assert await sandbox.run("echo kept > note; tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' '") == "lo"
    usage = gvisor.driver.read_usage(sandbox.id)
    assert usage is not None
    assert usage.memory_bytes > 0
    saved = io.BytesIO()
    gvisor.driver.save_volume("work", saved)
    assert b"kept" in saved.getvalue()


async def test_it_pauses_stops_and_starts_again(gvisor: Host) -> None:
    sandbox = await gvisor.make(volume="work", runtime=RUNTIME)
    await sandbox.start()
    await sandbox.run("echo kept > note")
    gvisor.driver.pause(sandbox.id)
    assert gvisor.driver.inspect(sandbox.id).status is SandboxStatus.PAUSED
    gvisor.driver.unpause(sandbox.id)
    await sandbox.stop()
    await sandbox.start()
    assert await sandbox.run("cat note") == "kept"


async def test_many_children_do_not_end_the_sandbox(gvisor: Host) -> None:
    sandbox = await gvisor.make(runtime=RUNTIME)
    assert sandbox.spec.limits.pids < GVISOR_MIN_PIDS
    await sandbox.start()
    assert await sandbox.run("for i in $(seq 100); do sleep 1 & done; wait; echo alive") == "alive"
