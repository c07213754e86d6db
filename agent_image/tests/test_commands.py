"""Durable commands: they outlive turns, end once, and leave nothing running."""

# ruff: noqa: ASYNC110, ASYNC221 (files and processes of others announce nothing)

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from agent_image.runner.commands import TAIL_BYTES
from agent_image.runner.runner import Runner
from tests.fakes.gateway_link import FakeGateway

LAUNCH = Path(__file__).resolve().parents[1] / "launch.py"


async def eventually(condition: Callable[[], bool], what: str) -> None:
    try:
        async with asyncio.timeout(20):
            while not condition():
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(what) from None


async def test_a_command_is_started_shown_and_finished_once(runner: Runner, gateway: FakeGateway) -> None:
    command = await gateway.start_command("echo out; echo err >&2; exit 3")
    finished = await gateway.wait_finished(command)
    assert (finished["status"], finished["exit_code"]) == ("failed", 3)
    assert (finished["output"], finished["output_bytes"]) == ("out\nerr\n", 8)
    assert [e["type"] for e in gateway.of_command(command)] == ["command.started", "command.finished"]
    assert gateway.live_text("command.output") == "out\nerr\n"
    await gateway.send({"op": "command.start", "command": command, "text": "echo again", "timeout_s": 9})
    await gateway.wait_finished(await gateway.start_command("true"))
    assert len(gateway.of_command(command)) == 2


async def test_of_a_long_output_the_end_is_kept(runner: Runner, gateway: FakeGateway) -> None:
    finished = await gateway.wait_finished(await gateway.start_command("seq 1 100000; printf '\\377 end'"))
    assert finished["output_bytes"] == 588_895 + 5
    assert finished["output"].endswith("99999\n100000\n\ufffd end")
    assert TAIL_BYTES - 10 < len(finished["output"]) <= TAIL_BYTES


async def test_a_command_outlives_turns_and_a_cut_link(
    runner: Runner, gateway: FakeGateway, workspace: Path
) -> None:
    command = await gateway.start_command("until [ -e go ]; do sleep 0.01; done; echo made it")
    await gateway.wait_until(lambda: bool(gateway.of_command(command)), "start")
    assert (await gateway.run_turn("shell", "echo a turn"))["status"] == "succeeded"
    await gateway.cut()
    (workspace / "go").touch()
    assert (await gateway.wait_finished(command))["output"] == "made it\n"


async def test_a_command_that_takes_too_long_expires(runner: Runner, gateway: FakeGateway) -> None:
    finished = await gateway.wait_finished(
        await gateway.start_command("echo begun; sleep 600", timeout_s=0.5)
    )
    assert finished["status"] == "expired"


async def test_a_cancelled_command_ends_with_all_that_it_started(
    runner: Runner, gateway: FakeGateway, workspace: Path
) -> None:
    script = "setsid sh -c 'echo $$ > pid; exec sleep 600' & until [ -s pid ]; do sleep 0.01; done; echo ready; wait"
    command = await gateway.start_command(script)
    await gateway.wait_until(lambda: "ready" in gateway.live_text("command.output"), "output")
    await gateway.send({"op": "command.cancel", "command": command})
    assert (await gateway.wait_finished(command))["status"] == "cancelled"
    pid = int((workspace / "pid").read_text())
    await eventually(lambda: not _is_running(pid), "what it left in a session of its own is ended")


async def test_what_a_command_leaves_behind_ends_with_it(
    runner: Runner, gateway: FakeGateway, workspace: Path
) -> None:
    deaf = 'echo $$ > pid; trap "" TERM HUP INT; while :; do sleep 1; done'
    script = f"(setsid sh -c '{deaf}' &) ; until [ -s pid ]; do :; done"
    assert (await gateway.wait_finished(await gateway.start_command(script)))["status"] == "succeeded"
    assert not _is_running(int((workspace / "pid").read_text()))


async def test_a_stopped_runner_says_that_its_commands_are_lost(runner: Runner, gateway: FakeGateway) -> None:
    command = await gateway.start_command("sleep 600")
    await gateway.wait_until(lambda: bool(gateway.of_command(command)), "start")
    await runner.stop()
    assert (await gateway.wait_finished(command))["status"] == "lost"


def _is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


# --- a process space of the runner's own ------------------------------------------------------------------

# Process 1 reaps, as the engine's init does.
OWN_SPACE = [
    "unshare",
    "--pid",
    "--fork",
    "--mount-proc",
    "--kill-child",
    "bash",
    "-c",
    '"$@"; exit $?',
    "init",
]


@contextlib.asynccontextmanager
async def in_own_space(socket_folder: Path, processes: int) -> AsyncIterator[Path]:
    """Run a runner that owns its process space; gives the workspace, which no other test run touches."""
    if os.geteuid() != 0 or subprocess.run([*OWN_SPACE, "true"], check=False).returncode != 0:
        pytest.skip("no process space can be made here")
    workspace = socket_folder / "workspace"
    workspace.mkdir()
    workspace.chmod(0o777)
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(workspace),
        "SLIPWAY_SOCKET": str(socket_folder / "gw.sock"),
        "SLIPWAY_WORKSPACE": str(workspace),
        "SLIPWAY_OWNS_PROCESS_SPACE": "1",
    }
    user = str(60_000 + os.getpid() % 5_000)
    drop = [
        "setpriv",
        f"--reuid={user}",
        f"--regid={user}",
        "--clear-groups",
        "prlimit",
        f"--nproc={processes}",
    ]
    runner = ["/usr/bin/python3", "-I", "-S", str(LAUNCH)]
    process = await asyncio.create_subprocess_exec(*OWN_SPACE, *drop, *runner, env=environment)
    try:
        yield workspace
    finally:
        process.kill()
        await process.wait()


async def test_a_turns_processes_end_with_it_while_commands_and_terminals_live(
    socket_folder: Path, gateway: FakeGateway
) -> None:
    async with in_own_space(socket_folder, 200) as workspace:
        command = await gateway.start_command("until [ -e go ]; do sleep 0.05; done; echo still here")
        await gateway.wait_until(lambda: bool(gateway.of_command(command)), "start")
        terminal = await gateway.open_channel("terminal", cols=80, rows=24)
        assert (await terminal.receive_json())["op"] == "ok"
        left = "setsid sh -c 'echo $$ > pid; exec sleep 600' & (sleep 600 &); until [ -s pid ]; do :; done"
        assert (await gateway.run_turn("shell", left))["status"] == "succeeded"
        looked = await gateway.run_turn(
            "shell", "kill -0 $(cat pid) || echo gone; pgrep -f '^sleep 600' || echo none"
        )
        assert looked["text"].endswith("gone\nnone")
        await terminal.send_bytes(b"echo from the $((40 + 2))nd\n")
        shown = b""
        while b"from the 42nd" not in shown:
            shown += (await terminal.receive())["bytes"]
        (workspace / "go").touch()
        assert (await gateway.wait_finished(command))["output"] == "still here\n"


async def test_a_fork_bomb_is_ended_with_its_turn(socket_folder: Path, gateway: FakeGateway) -> None:
    bomb = """
import os, pathlib
while True:
    try:
        os.fork()
    except OSError:
        pathlib.Path("full").touch()
"""
    async with in_own_space(socket_folder, 60) as workspace:
        command = await gateway.start_command("until [ -e go ]; do :; done; echo done")
        await gateway.wait_until(lambda: bool(gateway.of_command(command)), "start")
        script = f"python3 -c '{bomb}' & until [ -e full ]; do :; done"
        assert (await gateway.run_turn("shell", script))["status"] == "succeeded"
        assert (await gateway.run_turn("shell", "echo usable again"))["text"] == "usable again"
        (workspace / "go").touch()
        assert (await gateway.wait_finished(command))["status"] in ("succeeded", "lost")
        assert (await gateway.run_turn("shell", "pgrep -fc 'os.fork' || true"))["text"] == "0"
