"""The container engine: found, started, stopped by the stack that started it. Scripts play the engine."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.local import engine, images
from deploy.local.console import Console
from deploy.local.control import wait_until
from deploy.local.failures import EngineMissing, StartFailed
from deploy.local.layout import Layout

DOCKER = """\
#!/bin/sh
echo "$@" >>{folder}/calls
case $1 in
    version) [ -e {folder}/up ] && echo 20.10 ;;
    ps) cat {folder}/containers 2>/dev/null || true ;;
    image) [ -e {folder}/has-image ] ;;
esac
"""
DOCKERD = """\
#!/bin/sh
trap 'rm -f {folder}/up; exit 0' TERM
touch {folder}/up
while :; do sleep 0.05; done
"""
QUIET = Console(is_quiet=True)


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    made = Layout.at(tmp_path / "stack")
    made.make_folders()
    return made


@pytest.fixture
def tools(tmp_path: Path, layout: Layout, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = tmp_path / "tools"
    folder.mkdir()
    for name, text in (("docker", DOCKER), ("dockerd", DOCKERD)):
        (folder / name).write_text(text.format(folder=folder))
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setattr(engine, "_RUNTIME_FOLDERS", tmp_path / "run")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    yield folder
    (folder / "containers").unlink(missing_ok=True)
    engine.stop_own_engine(layout)


def test_an_engine_that_answers_is_used_and_not_ours_to_stop(layout: Layout, tools: Path) -> None:
    (tools / "up").touch()
    assert engine.ensure_engine(layout, os.environ) == "20.10"
    assert not layout.engine_pid.exists()
    assert not engine.stop_own_engine(layout)
    assert (tools / "up").exists()


def test_an_engine_is_started_when_none_answers_and_stopped_again(layout: Layout, tools: Path) -> None:
    assert engine.ensure_engine(layout, os.environ) == "20.10"
    assert layout.engine_pid.exists()
    assert engine.stop_own_engine(layout)
    assert not (tools / "up").exists()
    assert not layout.engine_pid.exists()


def test_an_engine_that_others_use_goes_on(layout: Layout, tools: Path, tmp_path: Path) -> None:
    engine.ensure_engine(layout, os.environ)
    (tools / "containers").write_text("abc\n")
    assert not engine.stop_own_engine(layout)
    (tools / "containers").unlink()
    other = tmp_path / "run" / "slipway-other"
    other.mkdir(parents=True)
    (other / "supervisor.sock").touch()
    assert not engine.stop_own_engine(layout, tmp_path / "run" / "slipway-mine")
    assert (tools / "up").exists()


def test_a_plain_user_without_an_engine_is_told_why(
    layout: Layout, tools: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(EngineMissing, match="only root can start one"):
        engine.ensure_engine(layout, os.environ)


def test_an_engine_that_does_not_come_up_is_told_with_its_log(layout: Layout, tools: Path) -> None:
    (tools / "dockerd").write_text("#!/bin/sh\necho no cgroups\nexit 1\n")
    with pytest.raises(EngineMissing, match=r"dockerd\.log"):
        engine.ensure_engine(layout, os.environ)
    assert "no cgroups" in (layout.logs / "dockerd.log").read_text()


def test_pid_files_of_a_killed_engine_do_not_stop_the_next(
    layout: Layout, tools: Path, tmp_path: Path
) -> None:
    stale = tmp_path / "run" / "docker.pid"
    stale.parent.mkdir()
    stale.write_text(str(os.getpid()))  # reused by a process that is no engine
    engine.ensure_engine(layout, os.environ)
    assert not stale.exists()


def test_only_containers_with_this_installation_s_label_are_removed(layout: Layout, tools: Path) -> None:
    (tools / "containers").write_text("abc\ndef\n")
    assert engine.remove_sandboxes("k3v9") == 2
    calls = (tools / "calls").read_text()
    assert "ps --all --quiet --filter label=slipway.installation=k3v9" in calls
    assert "rm --force abc def" in calls


def test_bubblewrap_sandboxes_of_this_stack_are_ended_and_others_left(tmp_path: Path) -> None:
    fake = tmp_path / "bwrap"
    fake.symlink_to(sys.executable)
    code = "import time; time.sleep(60)"
    mine = subprocess.Popen([fake, "-c", code, f"{tmp_path}/run/slipway-mine/sandbox-1"])
    other = subprocess.Popen([fake, "-c", code, f"{tmp_path}/run/slipway-other/sandbox-1"])
    try:
        # A process that was just made has no command line for a moment.
        ours = tmp_path / "run" / "slipway-mine"
        assert wait_until(lambda: engine.end_bubblewrap_sandboxes(ours) == 1, within_s=60)
        assert wait_until(lambda: mine.poll() is not None, within_s=60)
        assert other.poll() is None
    finally:
        other.kill()
        mine.wait()
        other.wait()


def test_without_an_engine_bubblewrap_serves_and_says_what_it_does_not_protect(
    layout: Layout, tools: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tools / "dockerd").write_text("#!/bin/sh\nexit 1\n")
    (tools / "bwrap").symlink_to("/bin/true")
    chosen = images.choose_sandboxing(layout, None, os.environ, Console())
    assert chosen.driver == "bubblewrap"
    said = capsys.readouterr().out
    assert "NOT" in said
    assert "/usr" in said


def test_demanding_docker_where_it_cannot_be_had_fails(layout: Layout, tools: Path) -> None:
    (tools / "dockerd").write_text("#!/bin/sh\nexit 1\n")
    with pytest.raises(EngineMissing):
        images.choose_sandboxing(layout, "docker", os.environ, QUIET)


def test_the_tags_come_from_the_build_and_a_failing_build_shows_its_end(
    layout: Layout, tools: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("up", "has-image"):
        (tools / name).touch()
    build = tmp_path / "build.sh"
    build.touch(mode=0o755)
    monkeypatch.setattr(images, "_BUILD", build)
    build.write_text('#!/bin/sh\necho "$@" >&2\necho image=a:1\necho image_claude=b:2\n')
    chosen = images.choose_sandboxing(layout, None, os.environ, QUIET)
    assert (chosen.driver, chosen.image, chosen.image_claude) == ("docker", "a:1", "b:2")
    assert "--base slipway-base:bookworm --engine docker" in (layout.logs / "agent_image.log").read_text()
    build.write_text("#!/bin/sh\necho the disk is full >&2\nexit 1\n")
    with pytest.raises(StartFailed, match="the disk is full"):
        images.choose_sandboxing(layout, None, os.environ, QUIET)


def test_a_stack_starts_without_the_images_that_are_only_welcome(
    layout: Layout, tools: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("up", "has-image"):
        (tools / name).touch()
    build = tmp_path / "build.sh"
    build.touch(mode=0o755)
    monkeypatch.setattr(images, "_BUILD", build)
    build.write_text(
        '#!/bin/sh\ncase "$*" in\n*codex*) echo image_codex=c:3; exit 1 ;;\nesac\n'
        "echo image=a:1\necho image_claude=b:2\n"
    )
    settings = images.choose_sandboxing(layout, None, os.environ, QUIET).settings()
    assert settings["SLIPWAY_AGENT_IMAGE_CODEX"] == "c:3"
    assert "SLIPWAY_AGENT_IMAGE_OPENCODE" not in settings


def test_a_missing_docker_client_is_no_engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    started = time.monotonic()
    assert engine.find_version() is None
    assert time.monotonic() - started < 5
