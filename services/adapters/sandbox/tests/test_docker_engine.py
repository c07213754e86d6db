"""The Docker driver's failures, each mapped to what it means to the platform."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import requests
from docker.errors import APIError

from services.adapters.sandbox.docker_engine import SANDBOX_LABEL, DockerDriver
from services.adapters.sandbox.docker_events import read_ends
from services.adapters.sandbox.docker_facts import read_facts
from services.adapters.sandbox.ended import OwnEnds
from services.adapters.sandbox.engine_failures import ContainerGone, EngineConflict, mapped_failures
from services.adapters.sandbox.hardening import (
    AGENT_UID,
    ALL_PROMISES,
    GVISOR_MIN_PIDS,
    host_options,
    promises_of,
)
from services.adapters.sandbox.tests.conftest import Host
from services.domain.errors import EngineAway, ImageMissing, SandboxRefused
from services.domain.ports.sandbox import Promise, SandboxSpec, SandboxStatus

SPEC = SandboxSpec(uuid.UUID(int=1), "t", "image", Path("/run/x"))


def answer(status: int, words: str) -> APIError:
    response = requests.Response()
    response.status_code = status
    return APIError(words, response=response, explanation=words)


@pytest.mark.parametrize(
    ("failure", "meaning"),
    [
        (answer(404, "No such image: x:1"), ImageMissing),
        (answer(404, "No such container: x"), ContainerGone),
        (answer(409, "The container name is already in use"), EngineConflict),
        (answer(400, "invalid mount config"), SandboxRefused),
        (answer(500, "OCI runtime create failed: …"), SandboxRefused),
        (answer(500, "no space left on device"), EngineAway),
        (answer(503, "overloaded"), EngineAway),
        (requests.ConnectionError("refused"), EngineAway),
        (requests.Timeout("slow"), EngineAway),
    ],
)
def test_each_failure_has_one_meaning(failure: Exception, meaning: type[Exception]) -> None:
    with pytest.raises(meaning), mapped_failures("testing"):
        raise failure


def test_messages_for_people_hold_none_of_the_engines_words() -> None:
    with pytest.raises(SandboxRefused) as caught, mapped_failures("testing"):
        raise answer(400, "bind source path does not exist: /srv/secret/place")
    assert "/srv" not in caught.value.message


def test_an_engine_without_a_limit_does_not_promise_it() -> None:
    able = {"SecurityOptions": ["name=seccomp,profile=default"], "MemoryLimit": True, "PidsLimit": True}
    assert promises_of(able, is_disk_limited=True) == ALL_PROMISES
    lame = {"SecurityOptions": [], "MemoryLimit": True, "PidsLimit": False, "CpuCfsQuota": True}
    lacking = {Promise.SYSCALL_FILTER, Promise.PIDS_LIMIT, Promise.DISK_LIMIT}
    assert ALL_PROMISES - promises_of(lame, is_disk_limited=False) == lacking


def test_user_namespaces_move_the_owner_of_the_files() -> None:
    plain = read_facts({"DockerRootDir": "/var/lib/docker"}, is_disk_limited=True)
    assert (plain.has_user_namespaces, plain.owner) == (False, AGENT_UID)
    moved = read_facts(
        {"SecurityOptions": ["name=userns"], "DockerRootDir": "/var/lib/docker/165536.165536"},
        is_disk_limited=True,
    )
    assert (moved.has_user_namespaces, moved.owner) == (True, 165_536 + AGENT_UID)
    assert "User namespaces are on." in moved.note("")


class Told:
    """An engine that tells of some ends and then hangs up."""

    def __init__(self, *sandboxes: uuid.UUID) -> None:
        self._lines = [json.dumps({"Actor": {"Attributes": {SANDBOX_LABEL: str(one)}}}) for one in sandboxes]

    def __iter__(self) -> Iterator[str]:
        yield from self._lines

    def close(self) -> None:
        """Do nothing: there is no connection."""


def test_an_engine_that_hangs_up_is_away_and_our_own_ends_are_no_news() -> None:
    first, second = uuid.uuid4(), uuid.uuid4()
    own = OwnEnds()
    own.add(first)
    ends = read_ends(Told(first, second, first), threading.Event(), own, sandbox_label=SANDBOX_LABEL)
    assert next(ends) == second
    assert next(ends) == first
    with pytest.raises(EngineAway):
        next(ends)


def test_gvisor_gets_room_for_its_own_threads() -> None:
    assert host_options(replace(SPEC, runtime="runsc"), None)["pids_limit"] == GVISOR_MIN_PIDS
    assert host_options(SPEC, None)["pids_limit"] == SPEC.limits.pids


def test_the_engines_socket_is_never_mounted() -> None:
    mounts = host_options(replace(SPEC, volume="work"), Path("/srv/files"))["mounts"]
    assert [mount["Target"] for mount in mounts] == ["/run/slipway", "/workspace"]
    assert not any("docker" in str(mount["Source"]) for mount in mounts)


def test_an_engine_that_is_away_is_said_to_be_away(tmp_path: Path) -> None:
    driver = DockerDriver("t", data_dir=tmp_path, host=f"unix://{tmp_path}/nobody.sock")
    report = driver.check()
    assert not report.is_up
    assert report.note
    for call in (
        lambda: driver.start(SPEC),
        lambda: driver.inspect(SPEC.sandbox_id),
        lambda: driver.stop(SPEC.sandbox_id),
        lambda: driver.destroy(SPEC.sandbox_id),
        driver.list_sandboxes,
        lambda: driver.remove_volume("work"),
        lambda: driver.read_log(SPEC.sandbox_id),
    ):
        with pytest.raises(EngineAway):
            call()


@pytest.mark.engine
def test_a_missing_image_is_said_to_be_missing(unlinked_docker: DockerDriver, tmp_path: Path) -> None:
    spec = replace(
        SPEC, installation=unlinked_docker._installation, image="slipway-agent:none", socket_dir=tmp_path
    )
    with pytest.raises(ImageMissing):
        unlinked_docker.start(spec)
    assert unlinked_docker.inspect(spec.sandbox_id).status is SandboxStatus.GONE


@pytest.mark.engine
async def test_what_the_engine_refuses_is_not_started_in_a_weaker_form(docker_host: Host) -> None:
    sandbox = await docker_host.make()
    for spec in (
        replace(sandbox.spec, socket_dir=Path("/no/such/folder")),
        replace(sandbox.spec, runtime="no-such-runtime"),
    ):
        with pytest.raises(SandboxRefused):
            docker_host.driver.start(spec)
        docker_host.driver.destroy(spec.sandbox_id)
    assert docker_host.driver.list_sandboxes() == []


@pytest.mark.engine
async def test_a_sandbox_that_was_killed_says_how_it_ended(docker_host: Host) -> None:
    sandbox = await docker_host.make()
    await sandbox.start()
    await sandbox.gateway.send_turn("shell", "kill -9 $PPID $(ps -o ppid= -p $PPID)")
    await sandbox.gateway.wait_until(lambda: sandbox.gateway.socket is None, "end of the runner")
    report = docker_host.driver.inspect(sandbox.id)
    while report.status is SandboxStatus.RUNNING:
        report = docker_host.driver.inspect(sandbox.id)
    assert (report.status, report.exit_code) == (SandboxStatus.STOPPED, 137)
    await sandbox.start()
    assert sandbox.gateway.hellos[-1]["turn"] is None
