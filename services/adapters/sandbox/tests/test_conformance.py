"""What every driver does, whatever the engine: one suite over all of them.

Kubernetes is a local server that speaks that part of the API, with real runners behind it; where a cluster cannot do
what an engine can (pause a sandbox, keep one that was stopped), the suite says what it does instead.
"""

from __future__ import annotations

import asyncio
import io
import tarfile
import threading
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from services.adapters.sandbox.tests.conftest import LIMITS, AgentImages, Host, Sandbox, host_with
from services.domain.errors import (
    PauseUnsupported,
    PromiseBroken,
    RuntimeMissing,
    SandboxRefused,
    StillInUse,
    VolumeFull,
    VolumeMissing,
)
from services.domain.ports.sandbox import Promise, SandboxStatus

ALL = [
    "null",
    pytest.param("bubblewrap", marks=pytest.mark.engine),
    pytest.param("docker", marks=pytest.mark.engine),
    pytest.param("kubernetes", marks=pytest.mark.engine),
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
over_those_that_pause = pytest.mark.parametrize("host", ALL[:-1], indirect=True)
over_those_that_keep = pytest.mark.parametrize("host", WITH_FILES[:-1], indirect=True)


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
    if host.driver.kind == "kubernetes":
        assert report.status is SandboxStatus.GONE
        assert host.driver.list_sandboxes() == []
    else:
        assert (report.status, report.exit_code, report.is_out_of_memory) == (SandboxStatus.STOPPED, 0, False)
        assert host.driver.list_sandboxes() == [report]
    await sandbox.start()
    assert status_of(sandbox) is SandboxStatus.RUNNING
    assert len({hello["journal"] for hello in sandbox.gateway.hellos}) == 2


@over_those_that_pause
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


@over_those_that_pause
async def test_starting_a_paused_sandbox_unpauses_it(host: Host) -> None:
    sandbox = await host.make()
    await sandbox.start()
    await asyncio.to_thread(host.driver.pause, sandbox.id)
    await asyncio.to_thread(host.driver.start, sandbox.spec)
    assert status_of(sandbox) is SandboxStatus.RUNNING
    assert len(sandbox.gateway.hellos) == 1


@pytest.mark.parametrize("host", ["kubernetes"], indirect=True)
@pytest.mark.engine
async def test_what_cannot_be_paused_says_so_and_runs_on(host: Host) -> None:
    sandbox = await host.make()
    await sandbox.start()
    with pytest.raises(PauseUnsupported):
        host.driver.pause(sandbox.id)
    host.driver.unpause(sandbox.id)
    assert (await sandbox.gateway.run_turn("shell", "echo hi"))["status"] == "succeeded"


@over_all
@pytest.mark.parametrize("state", ["running", "paused", "stopped"])
async def test_it_can_be_destroyed_from_every_state(host: Host, state: str) -> None:
    sandbox = await host.make()
    await sandbox.start()
    if state == "paused" and host.driver.kind != "kubernetes":
        await asyncio.to_thread(host.driver.pause, sandbox.id)
    if state == "stopped":
        await sandbox.stop()
    for _ in range(2):
        await sandbox.destroy()
        assert status_of(sandbox) is SandboxStatus.GONE
    assert host.driver.list_sandboxes() == []


@over_those_that_pause
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


@over_those_that_keep
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


@over_all
async def test_it_says_what_the_machine_has(host: Host) -> None:
    resources = host.driver.measure_host()
    assert resources.memory_bytes > resources.memory_free_bytes > 0
    assert host.driver.resolve_image(host.image) in {host.image, *resources.images}


@over_all
async def test_what_nobody_accepted_is_not_broken(host: Host) -> None:
    sandbox = await host.make(volume="work")
    plain = host.again(volume_backend="folder")
    with pytest.raises(PromiseBroken):
        plain.start(replace(sandbox.spec, accepted_gaps=frozenset()))
    assert Promise.DISK_LIMIT not in plain.promises
    assert plain.inspect(sandbox.id).status is SandboxStatus.GONE
    close = getattr(plain, "close", None)
    if close is not None:
        close()


@over_all
async def test_an_unknown_runtime_class_is_refused(host: Host) -> None:
    sandbox = await host.make(runtime="no-such-runtime")
    with pytest.raises(RuntimeMissing):
        host.driver.start(sandbox.spec)
    assert status_of(sandbox) is SandboxStatus.GONE


@over_all
async def test_what_does_not_run_uses_nothing(host: Host) -> None:
    sandbox = await host.make()
    assert host.driver.read_usage(sandbox.id) is None
    await sandbox.start()
    assert host.driver.read_usage(sandbox.id) is not None
    await sandbox.stop()
    assert host.driver.read_usage(sandbox.id) is None


@over_those_with_files
async def test_its_use_is_measured(host: Host) -> None:
    sandbox = await host.make(volume="work")
    await sandbox.start()
    before = host.driver.read_usage(sandbox.id)
    await sandbox.run("head -c 8000000 /dev/urandom > random; sync; head -c 400000000 /dev/zero | sha256sum")
    after = host.driver.read_usage(sandbox.id)
    assert before is not None
    assert after is not None
    assert before.memory_bytes > 1_000_000
    assert after.cpu_ms > before.cpu_ms
    if Promise.DISK_LIMIT in host.driver.promises:
        assert before.disk_bytes + 8_000_000 <= after.disk_bytes < before.disk_bytes + 9_000_000


@over_those_with_files
async def test_an_end_is_told_at_once_but_not_one_that_was_asked_for(host: Host) -> None:
    stopped, killed = await host.make(), await host.make()
    await stopped.start()
    await killed.start()
    over = threading.Event()
    ends = host.driver.watch_ends(over)
    await stopped.stop()
    await killed.gateway.send_turn("shell", "kill -9 $PPID $(ps -o ppid= -p $PPID)")
    assert await asyncio.wait_for(asyncio.to_thread(next, ends), 30) == killed.id
    over.set()
    assert await asyncio.wait_for(asyncio.to_thread(list, ends), 30) == []


def packed(**files: bytes) -> io.BytesIO:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as tar:
        for name, text in files.items():
            header = tarfile.TarInfo(name)
            header.size = len(text)
            tar.addfile(header, io.BytesIO(text))
    content.seek(0)
    return content


@over_all
async def test_volumes_that_are_not_there_are_missing(host: Host) -> None:
    assert host.driver.list_volumes() == frozenset()
    with pytest.raises(VolumeMissing):
        host.driver.save_volume("never-made", io.BytesIO())


@over_those_with_files
async def test_a_volume_is_saved_while_it_is_used_and_loaded_elsewhere(host: Host) -> None:
    sandbox = await host.make(volume="work")
    await sandbox.start()
    await sandbox.run(
        "mkdir -p a/b; echo kept > a/b/note; chmod 750 a; ln -s /etc/passwd link; ln a/b/note twin"
    )
    saved = io.BytesIO()
    await asyncio.to_thread(host.driver.save_volume, "work", saved)
    assert await sandbox.run("cat twin") == "kept"
    assert host.driver.list_volumes() == {"work"}

    saved.seek(0)
    await asyncio.to_thread(host.driver.load_volume, "copy", saved, disk_bytes=LIMITS.disk_bytes)
    other = await host.make(volume="copy")
    await other.start()
    shown = await other.run(
        "stat -c '%n %a %U %h' a a/b/note; readlink link; cat twin; echo more >> a/b/note"
    )
    assert shown == "a 750 agent 2\na/b/note 644 agent 2\n/etc/passwd\nkept".replace(
        "a 750 agent 2", "a 750 agent 3"
    )
    assert host.driver.list_volumes() == {"work", "copy"}


@over_those_with_files
async def test_loading_replaces_what_no_sandbox_uses(host: Host) -> None:
    for text in (b"first", b"second"):
        host.driver.load_volume("work", packed(note=text), disk_bytes=LIMITS.disk_bytes)
    sandbox = await host.make(volume="work")
    await sandbox.start()
    assert await sandbox.run("cat note; echo mine >> note; ls -A") == "secondnote"
    with pytest.raises(StillInUse):
        host.driver.load_volume("work", packed(note=b"third"), disk_bytes=LIMITS.disk_bytes)
    assert "mine" in await sandbox.run("cat note")


@over_all
async def test_what_is_too_large_is_not_loaded(host: Host) -> None:
    with pytest.raises(VolumeFull):
        host.driver.load_volume("work", packed(big=bytes(20 * 1024**2)), disk_bytes=16 * 1024**2)
    assert host.driver.list_volumes() == frozenset()
