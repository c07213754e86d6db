"""Terminals: a shell on a PTY of its own, its bytes in both directions, its end."""

# ruff: noqa: ASYNC110, PTH123 (files and processes of others announce nothing)

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from starlette.websockets import WebSocket

from agent_image.runner import terminal as terminal_module
from tests.fakes.gateway_link import FakeGateway

pytestmark = pytest.mark.usefixtures("runner")


async def open_terminal(gateway: FakeGateway, cols: int = 80, rows: int = 24) -> WebSocket:
    channel = await gateway.open_channel("terminal", cols=cols, rows=rows)
    assert await channel.receive_json() == {"op": "ok"}
    return channel


async def see(channel: WebSocket, what: bytes) -> bytes:
    shown = b""
    async with asyncio.timeout(20):
        while what not in shown:
            shown += (await channel.receive())["bytes"]
    return shown


async def ending(channel: WebSocket) -> dict[str, Any]:
    async with asyncio.timeout(20):
        while "text" not in (message := await channel.receive()):
            pass
    found: dict[str, Any] = json.loads(message["text"])
    return found


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


async def test_what_is_typed_is_run_on_a_terminal_of_the_size_asked_for(gateway: FakeGateway) -> None:
    channel = await open_terminal(gateway, cols=91, rows=33)
    await channel.send_bytes(b"tty; stty size; echo $TERM\n")
    shown = await see(channel, b"33 91")
    assert b"/dev/pts/" in shown or b"/dev/pts/" in await see(channel, b"xterm-256color")
    await channel.send_text('{"op": "resize", "cols": 120, "rows": 40}')
    await channel.send_bytes(b"stty size\n")
    await see(channel, b"40 120")
    await channel.send_bytes(b"exit 7\n")
    assert await ending(channel) == {"op": "exited", "exit_code": 7}


async def test_control_c_interrupts_what_runs(gateway: FakeGateway) -> None:
    channel = await open_terminal(gateway)
    await channel.send_bytes(b"PS1='rea''dy> '\n")
    await see(channel, b"ready> ")
    await channel.send_bytes(
        b'python3 -c \'import time; print("be" + "gun", flush=True); time.sleep(600)\'\n'
    )
    await see(channel, b"begun")
    await channel.send_bytes(b"\x03")
    await see(channel, b"ready> ")
    await channel.send_bytes(b"echo co''de $?\n")
    await see(channel, b"code 130")


async def test_a_closed_channel_ends_everything_in_the_terminal(gateway: FakeGateway, workspace: Any) -> None:
    channel = await open_terminal(gateway)
    await channel.send_bytes(b"trap '' HUP; setsid sh -c 'echo $$ > pid; sleep 600' & sleep 600\n")
    await until(lambda: (workspace / "pid").exists() and (workspace / "pid").read_text().strip() != "")
    pid = int((workspace / "pid").read_text())
    await channel.close()

    def is_over() -> bool:
        try:
            with open(f"/proc/{pid}/stat") as file:
                return file.read().rpartition(")")[2].split()[0] in "ZX"
        except OSError:
            return True

    await until(is_over)


async def test_a_flood_waits_for_its_reader(gateway: FakeGateway) -> None:
    channel = await open_terminal(gateway)
    await channel.send_bytes(b"stty -echo; yes | head -c 3000000; echo; echo fin''ished\n")
    assert len(await see(channel, b"finished")) > 3_000_000


async def test_one_terminal_too_many_is_refused(
    gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(terminal_module, "MAX_TERMINALS", 2)
    channels = [await open_terminal(gateway) for _ in range(2)]
    refused = await gateway.open_channel("terminal", cols=80, rows=24)
    assert (await refused.receive_json())["code"] == "too_many_terminals"
    await channels[0].send_bytes(b"exit\n")
    assert (await ending(channels[0]))["op"] == "exited"
    await until(lambda: len(terminal_module._open) < 2)
    await open_terminal(gateway)


async def test_an_idle_terminal_is_ended(gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terminal_module, "IDLE_S", 0.5)
    assert (await ending(await open_terminal(gateway)))["op"] == "exited"
