"""The supervisor's configuration, the launcher, stack.json, and real programs that are killed."""

from __future__ import annotations

import configparser
import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.local import services, settings_env, stack_file
from deploy.local.control import Supervisor, wait_until
from deploy.local.envfile import render, write_private
from deploy.local.layout import Layout, make_runtime_folder
from deploy.local.program import Program, SupervisorFiles, render_supervisord

LAUNCHER = Path(services.__file__).with_name("launch.py")


def _rendered(tmp_path: Path, *programs: Program) -> configparser.RawConfigParser:
    files = SupervisorFiles(
        socket=tmp_path / "s.sock",
        pid=tmp_path / "pid",
        logs=tmp_path,
        listener=("true",),
        listener_folder=tmp_path,
    )
    config = configparser.RawConfigParser()
    config.read_string(render_supervisord(files, programs))
    return config


def test_every_program_is_restarted_and_has_a_log_of_limited_size(tmp_path: Path) -> None:
    section = _rendered(tmp_path, Program(name="redis", command=("redis-server", "a b")))["program:redis"]
    assert section["autorestart"] == "true"
    assert section["startsecs"] == "1"
    assert section["command"] == "redis-server 'a b'"
    assert section["killasgroup"] == "true"
    assert section["stdout_logfile"] == str(tmp_path / "redis.log")
    assert section["stdout_logfile_maxbytes"] == "10MB"


def test_the_control_socket_is_private(tmp_path: Path) -> None:
    assert _rendered(tmp_path)["unix_http_server"]["chmod"] == "0700"


def test_percent_signs_are_not_expanded_by_the_supervisor(tmp_path: Path) -> None:
    program = Program(name="p", command=("echo", "%m"), environment={"A": "%d"})
    section = _rendered(tmp_path, program)["program:p"]
    assert section["command"] == "echo %%m"
    assert section["environment"] == 'A="%%d"'


def test_values_that_the_supervisor_would_misread_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="A: quotes"):
        _rendered(tmp_path, Program(name="p", command=("true",), environment={"A": 'say "hi"'}))


def test_a_changed_setting_changes_the_services_and_nothing_else_does(tmp_path: Path) -> None:
    layout = Layout.at(tmp_path)
    assert services.programs(layout, {"A": "1"}) == services.programs(layout, {"A": "1"})
    assert services.programs(layout, {"A": "1"}) != services.programs(layout, {"A": "2"})


def test_no_secret_stands_on_a_command_line(tmp_path: Path) -> None:
    layout = Layout.at(tmp_path)
    layout.make_folders()
    settings = settings_env.process_settings(layout, settings_env.keep(layout, {}), {})
    words = " ".join(word for program in services.programs(layout, settings) for word in program.command)
    assert settings["SLIPWAY_SECRET_KEY"] not in words
    assert "postgresql://" not in words


def test_the_launcher_becomes_the_program_with_the_settings_but_the_withheld(tmp_path: Path) -> None:
    settings = tmp_path / "services.env"
    write_private(settings, render({"KEPT": "it's $HOME", "WITHHELD": "secret"}))
    show = "import json, os; print(json.dumps([os.getpid(), *map(os.environ.get, ['KEPT', 'WITHHELD'])]))"
    command = [
        sys.executable,
        "-I",
        "-S",
        str(LAUNCHER),
        "--settings",
        str(settings),
        "--without=WITHHELD",
        "--",
    ]
    with subprocess.Popen([*command, sys.executable, "-c", show], stdout=subprocess.PIPE) as process:
        output, _ = process.communicate(timeout=20)
    assert json.loads(output) == [process.pid, "it's $HOME", None]


def test_stack_json_is_private_and_written_in_one_step(tmp_path: Path) -> None:
    path = tmp_path / "stack.json"
    stack_file.write(path, {"api": "http://127.0.0.1:1"}, lambda: {"api": 1})
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stack_file.read(path) == {"api": "http://127.0.0.1:1", "pids": {"api": 1}}
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["stack.json", "stack.lock"]


def test_pids_are_refreshed_only_in_a_stack_that_is_up(tmp_path: Path) -> None:
    path = tmp_path / "stack.json"
    assert not stack_file.refresh_pids(path, lambda: {"api": 2})
    assert not path.exists()
    stack_file.write(path, {}, lambda: {"api": 1})
    assert stack_file.refresh_pids(path, lambda: {"api": 2})
    assert not stack_file.refresh_pids(path, lambda: {"api": 2})
    assert stack_file.read(path)["pids"] == {"api": 2}


SLEEPER = Program(name="sleeper", command=("sleep", "600"))


@pytest.fixture
def supervised(tmp_path: Path) -> Iterator[tuple[Layout, Supervisor]]:
    layout = Layout.at(tmp_path / "stack")
    layout.make_folders()
    kept = settings_env.keep(layout, {})
    runtime = make_runtime_folder(kept["SLIPWAY_INSTALLATION"])
    supervisor = Supervisor(layout, runtime)
    try:
        supervisor.apply([SLEEPER], os.environ, is_bound=True)
        assert wait_until(lambda: "sleeper" in supervisor.pids(), within_s=60)
        yield layout, supervisor
    finally:
        supervisor.shutdown()
        runtime.rmdir()


@pytest.mark.stack
def test_a_killed_program_comes_back_and_stack_json_knows_its_new_pid(
    supervised: tuple[Layout, Supervisor],
) -> None:
    layout, supervisor = supervised
    stack_file.write(layout.stack_json, {}, supervisor.pids)
    killed = stack_file.read(layout.stack_json)["pids"]["sleeper"]
    os.kill(killed, signal.SIGKILL)
    assert wait_until(
        lambda: stack_file.read(layout.stack_json)["pids"].get("sleeper", killed) != killed, within_s=60
    )
    assert stack_file.read(layout.stack_json)["pids"] == supervisor.pids()


@pytest.mark.stack
def test_applying_the_same_programs_restarts_none_and_a_changed_one_is_replaced(
    supervised: tuple[Layout, Supervisor],
) -> None:
    _, supervisor = supervised
    before = supervisor.pids()
    supervisor.apply([SLEEPER], os.environ)
    assert supervisor.pids() == before
    added = Program(name="added", command=("sleep", "601"), is_started_at_once=False)
    supervisor.apply([SLEEPER, added], os.environ)
    assert supervisor.pids() == before
    supervisor.start("added")
    assert supervisor.pids().keys() == {"sleeper", "added"}
    supervisor.apply([Program(name="sleeper", command=("sleep", "602"))], os.environ)
    assert wait_until(lambda: supervisor.pids().keys() == {"sleeper"}, within_s=60)
    assert supervisor.pids() != before


@pytest.mark.stack
def test_shutting_down_leaves_no_process_and_may_be_done_twice(supervised: tuple[Layout, Supervisor]) -> None:
    layout, supervisor = supervised
    pid = supervisor.pids()["sleeper"]
    supervisor.shutdown()
    assert not Path(f"/proc/{pid}").exists()
    assert not layout.supervisord_pid.exists()
    supervisor.shutdown()
    assert supervisor.states() == {}
