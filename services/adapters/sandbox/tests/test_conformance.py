"""What every driver does, whatever the engine: one suite over docker, bubblewrap and null."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from services.adapters.sandbox.tests.conftest import AgentImages, Host, Sandbox, host_with
from services.domain.errors import SandboxRefused, StillInUse
from services.domain.ports.sandbox import SandboxStatus

ALL = [
    "null",
    pytest.param("bubblewrap", marks=pytest.mark.engine),
    pytest.param("docker", marks=pytest.mark.engine),
]
WITH_FILES = ALL[1:]


@pytest.fixture
def images(request: pytest.FixtureRequest) -> AgentImages:
    """The images, asked for only by the kind that needs them."""
    if request.node.callspec.params["host"] == "docker":
        found: AgentImages = request.getfixturevalue("agent_images")
        return found
    return AgentImages("host", "host")


@pytest.fixture
async def host(request: pytest.FixtureRequest, images: AgentImages, run_dir: Path) -> AsyncIterator[Host]:
    async with host_with(request.param, images, run_dir) as made:
        yield made


over_all = pytest.mark.parametrize("host", ALL, indirect=True)
over_those_with_files = pytest.mark.parametrize("host", WITH_FILES, indirect=True)


def status_of(sandbox: Sandbox) -> SandboxStatus:
    return sandbox.driver.inspect(sandbox.id).status


@over_all
async def test_a_started_sandbox_runs_and_works(host: Host) -> None:
    sandbox = await host.make()
    assert status_of(sandbox) is SandboxStatus.GONE
    await sandbox.start()
    assert status_of(sandbox) is SandboxStatus.RUNNING
    assert [report.sandbox_id for report in host.driver.list_sandboxes()] == [sandbox.id]
    assert (await sandbox.gateway.run_turn("shell", "echo hi"))["status"] == "succeeded"


@over_all
async def test_starting_twice_and_at_once_makes_one(host: Host) -> None:
    sandbox = await host.make()
    await asyncio.gather(*(asyncio.to_thread(host.driver.start, sandbox.spec) for _ in range(6)))
    await sandbox.gateway.wait_until(lambda: sandbox.gateway.socket is not None, "runner")
    await asyncio.to_thread(host.driver.start, sandbox.spec)
    assert (await sandbox.gateway.run_turn("shell", "echo hi"))["status"] == "succeeded"
    assert len({hello["journal"] for hello in sandbox.gateway.hellos}) == 1
    assert len(host.driver.list_sandboxes()) == 1


@over_all
async def test_a_stopped_sandbox_starts_again(host: Host) -> None:
    sandbox = await host.make()
    await sandbox.start()
    await sandbox.stop()
    await sandbox.stop()
    report = host.driver.inspect(sandbox.id)
    assert (report.status, report.exit_code, report.is_out_of_memory) == (SandboxStatus.STOPPED, 0, False)
    assert host.driver.list_sandboxes() == [report]
    await sandbox.start()
    assert status_of(sandbox) is SandboxStatus.RUNNING
    assert len({hello["journal"] for hello in sandbox.gateway.hellos}) == 2


@over_all
async def test_a_paused_sandbox_goes_on_where_it_was(host: Host) -> None:
    sandbox = await host.make()
    await sandbox.start()
    for _ in range(2):
        await asyncio.to_thread(host.driver.pause, sandbox.id)
        assert status_of(sandbox) is SandboxStatus.PAUSED
    for _ in range(2):
        await asyncio.to_thread(host.driver.unpause, sandbox.id)
        assert status_of(sandbox) is SandboxStatus.RUNNING
    assert (await sandbox.gateway.run_turn("shell", "echo hi"))["status"] == "succeeded"
    assert len(sandbox.gateway.hellos) == 1


@over_all
async def test_starting_a_paused_sandbox_unpauses_it(host: Host) -> None:
    sandbox = await host.make()
    await sandbox.start()
    await asyncio.to_thread(host.driver.pause, sandbox.id)
    await asyncio.to_thread(host.driver.start, sandbox.spec)
    assert status_of(sandbox) is SandboxStatus.RUNNING
    assert len(sandbox.gateway.hellos) == 1


@over_all
@pytest.mark.parametrize("state", ["running", "paused", "stopped"])
async def test_it_can_be_destroyed_from_every_state(host: Host, state: str) -> None:
    sandbox = await host.make()
    await sandbox.start()
    if state == "paused":
        await asyncio.to_thread(host.driver.pause, sandbox.id)
    if state == "stopped":
        await sandbox.stop()
    for _ in range(2):
        await sandbox.destroy()
        assert status_of(sandbox) is SandboxStatus.GONE
    assert host.driver.list_sandboxes() == []


@over_all
async def test_a_paused_sandbox_can_be_stopped(host: Host) -> None:
    sandbox = await host.make()
    await sandbox.start()
    await asyncio.to_thread(host.driver.pause, sandbox.id)
    await sandbox.stop()
    assert status_of(sandbox) is SandboxStatus.STOPPED


@over_all
async def test_one_that_never_was_is_gone_and_nothing_fails(host: Host) -> None:
    nobody = uuid.uuid4()
    host.driver.pause(nobody)
    host.driver.unpause(nobody)
    host.driver.stop(nobody)
    host.driver.destroy(nobody)
    host.driver.remove_volume("never-made")
    assert host.driver.inspect(nobody).status is SandboxStatus.GONE
    assert host.driver.read_log(nobody) == ""


@over_all
async def test_sandboxes_of_another_installation_are_not_ours(
    host: Host, images: AgentImages, run_dir: Path
) -> None:
    async with host_with(host.driver.kind, images, run_dir) as other:
        sandbox = await other.make()
        await sandbox.start()
        assert host.driver.list_sandboxes() == []
        assert host.driver.inspect(sandbox.id).status is SandboxStatus.GONE
        host.driver.destroy(sandbox.id)
        assert status_of(sandbox) is SandboxStatus.RUNNING
        with pytest.raises(SandboxRefused):
            host.driver.start(replace(sandbox.spec, sandbox_id=uuid.uuid4()))


@over_all
async def test_the_engine_reports_itself(host: Host) -> None:
    report = host.driver.check()
    assert report.is_up
    assert report.version
    assert report.note


@over_those_with_files
async def test_a_restarted_worker_finds_its_sandboxes(host: Host) -> None:
    sandbox = await host.make()
    await sandbox.start()
    again = host.again()
    assert again.inspect(sandbox.id).status is SandboxStatus.RUNNING
    assert [report.sandbox_id for report in again.list_sandboxes()] == [sandbox.id]
    assert "link" not in again.read_log(uuid.uuid4())
    await asyncio.to_thread(again.destroy, sandbox.id)
    assert status_of(sandbox) is SandboxStatus.GONE
    close = getattr(again, "close", None)
    if close is not None:
        close()


@over_those_with_files
async def test_stopping_ends_the_turn_in_order(host: Host) -> None:
    sandbox = await host.make()
    await sandbox.start()
    turn = await sandbox.gateway.send_turn("shell", "echo begun; sleep 60")
    await sandbox.gateway.wait_for("tool.output")
    await sandbox.stop()
    done = await sandbox.gateway.wait_done(turn)
    assert (done["status"], done["error"]["code"], done["text"]) == ("failed", "sandbox_stopped", "begun")


@over_those_with_files
async def test_files_of_a_volume_outlive_the_sandbox(host: Host) -> None:
    first = await host.make(volume="work")
    await first.start()
    await first.run("echo kept > note; mkdir -p deep/er; touch deep/er/file")
    await first.destroy()
    second = await host.make(volume="work")
    await second.start()
    assert await second.run("cat note; find . -type f | sort") == "kept\n./deep/er/file\n./note"


@over_those_with_files
async def test_a_volume_in_use_is_not_removed(host: Host) -> None:
    sandbox = await host.make(volume="work")
    await sandbox.start()
    with pytest.raises(StillInUse):
        host.driver.remove_volume("work")
    await sandbox.destroy()
    host.driver.remove_volume("work")
    again = await host.make(volume="work")
    await again.start()
    assert await again.run("ls -A") == ""


@over_those_with_files
async def test_files_without_a_volume_die_with_the_sandbox(host: Host) -> None:
    sandbox = await host.make()
    await sandbox.start()
    assert await sandbox.run("touch note; ls") == "note"
    await sandbox.stop()
    await sandbox.start()
    assert await sandbox.run("ls") == ""


@over_those_with_files
async def test_its_log_can_be_read_in_every_state(host: Host) -> None:
    sandbox = await host.make()
    await sandbox.start()
    await sandbox.run("true")
    await sandbox.stop()
    log = host.driver.read_log(sandbox.id)
    assert "turn" in log
    assert host.driver.read_log(sandbox.id, max_bytes=10) == log[-10:]


@over_those_with_files
async def test_eight_sandboxes_start_at_once(host: Host) -> None:
    sandboxes = [await host.make() for _ in range(8)]
    await asyncio.gather(*(sandbox.start() for sandbox in sandboxes))
    answers = await asyncio.gather(*(s.run(f"echo {s.id}") for s in sandboxes))
    assert answers == [str(sandbox.id) for sandbox in sandboxes]
    assert len(host.driver.list_sandboxes()) == 8
