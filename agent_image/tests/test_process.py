"""The runner as a process of its own, started as the image starts it."""

from __future__ import annotations

import asyncio
import contextlib
import re
import signal
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.fakes.gateway_link import FakeGateway, serve_gateway

LAUNCH = Path(__file__).resolve().parents[1] / "launch.py"
# Measured: 9.5 MB of memory of its own. A module more than needed shows here.
IDLE_KB = 11_500


@contextlib.asynccontextmanager
async def launched(socket_folder: Path, workspace: Path) -> AsyncIterator[Process]:
    environment = {
        "PATH": "/usr/bin:/bin",
        "SLIPWAY_SOCKET": str(socket_folder / "gw.sock"),
        "SLIPWAY_WORKSPACE": str(workspace),
    }
    process = await asyncio.create_subprocess_exec(
        "/usr/bin/python3", "-I", "-S", str(LAUNCH), env=environment, stderr=PIPE
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_it_needs_nothing_but_the_standard_library_and_stays_small(
    socket_folder: Path, workspace: Path, gateway: FakeGateway
) -> None:
    async with launched(socket_folder, workspace) as process:
        await gateway.wait_until(lambda: gateway.socket is not None, "connection")
        memory = Path(f"/proc/{process.pid}/smaps_rollup").read_text()  # noqa: ASYNC240
        maps = Path(f"/proc/{process.pid}/maps").read_text()  # noqa: ASYNC240
    own_kb = re.search(r"^Anonymous:\s+(\d+) kB$", memory, re.MULTILINE)
    assert own_kb is not None
    assert int(own_kb[1]) < IDLE_KB
    assert "libssl" not in maps
    assert "site-packages" not in maps


async def test_it_says_hello_once_before_it_is_loaded_and_goes_on_with_that_connection(
    socket_folder: Path, workspace: Path, gateway: FakeGateway
) -> None:
    async with launched(socket_folder, workspace):
        done = await gateway.run_turn("shell", "echo heard")
    assert (done["status"], done["text"]) == ("succeeded", "heard")
    (hello,) = gateway.hellos
    assert (hello["oldest"], hello["turn"], hello["finished"]) == (1, None, [])


async def test_a_gateway_that_comes_later_is_found(socket_folder: Path, workspace: Path) -> None:
    async with launched(socket_folder, workspace):
        await asyncio.sleep(0.3)
        async with serve_gateway(socket_folder / "gw.sock", FakeGateway()) as gateway:
            done = await gateway.run_turn("shell", "echo heard")
    assert (done["status"], done["text"]) == ("succeeded", "heard")
    assert len(gateway.hellos) == 1


async def test_a_gateway_that_turns_the_first_hello_away_is_asked_again(
    socket_folder: Path, workspace: Path
) -> None:
    turned_away = asyncio.Event()

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 503 Service Unavailable\r\n\r\n")
        writer.close()
        turned_away.set()

    path = socket_folder / "gw.sock"
    async with launched(socket_folder, workspace):
        async with await asyncio.start_unix_server(refuse, path):
            path.chmod(0o666)
            await asyncio.wait_for(turned_away.wait(), 10)
        path.unlink(missing_ok=True)
        async with serve_gateway(path, FakeGateway()) as gateway:
            done = await gateway.run_turn("shell", "echo heard")
    assert done["text"] == "heard"


async def test_a_termination_ends_its_turn_and_its_life_in_order(
    socket_folder: Path, workspace: Path, gateway: FakeGateway
) -> None:
    async with launched(socket_folder, workspace) as process:
        turn = await gateway.send_turn("shell", "echo begun; sleep 60")
        await gateway.wait_for("tool.output")
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 2) == 0
        done = await gateway.wait_done(turn)
    assert (done["status"], done["error"]["code"], done["text"]) == ("failed", "sandbox_stopped", "begun")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_it_ends_at_once_when_it_has_nothing_to_do(
    socket_folder: Path, workspace: Path, gateway: FakeGateway, number: signal.Signals
) -> None:
    async with launched(socket_folder, workspace) as process:
        await gateway.wait_until(lambda: gateway.socket is not None, "connection")
        process.send_signal(number)
        assert await asyncio.wait_for(process.wait(), 2) == 0


async def test_its_log_holds_no_prompt_and_no_secret(
    socket_folder: Path, workspace: Path, gateway: FakeGateway
) -> None:
    async with launched(socket_folder, workspace) as process:
        await gateway.run_turn("shell", "echo $GRANTED pr0mpt", env={"GRANTED": "s3cret"})
        process.terminate()
        _, log = await process.communicate()
    assert b"turn" in log
    assert b"s3cret" not in log
    assert b"pr0mpt" not in log


async def test_time_that_was_waited_is_added_to_a_turns_time(
    socket_folder: Path, workspace: Path, gateway: FakeGateway
) -> None:
    async with launched(socket_folder, workspace):
        turn = await gateway.send_turn("shell", "sleep 3; echo late", timeout_s=2)
        await gateway.wait_for("turn.started", turn=turn)
        await gateway.send({"op": "extend", "turn": turn, "timeout_s": 60})
        done = await gateway.wait_done(turn)
    assert (done["status"], done["text"].strip()) == ("succeeded", "late")
