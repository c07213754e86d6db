"""A tenant that wants out: what it finds from inside of a real sandbox.

Nothing here dials anything but this machine: that there is no way out shows in what the sandbox has.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from services.adapters.sandbox.tests.conftest import AgentImages, Host, Sandbox, host_with
from services.domain.ports.sandbox import Promise, SandboxLimits, SandboxStatus

pytestmark = pytest.mark.engine

MIB = 1024**2


@pytest.fixture(params=["docker", "bubblewrap"])
async def host(
    request: pytest.FixtureRequest, agent_images: AgentImages, run_dir: Path
) -> AsyncIterator[Host]:
    async with host_with(request.param, agent_images, run_dir) as made:
        yield made


@pytest.fixture
async def sandbox(host: Host) -> Sandbox:
    made = await host.make()
    await made.start()
    return made


def needs(host: Host, promise: Promise) -> None:
    """Skip where this machine cannot keep a promise: the driver says so itself, and refuses to start."""
    if promise not in host.driver.promises:
        pytest.skip(f"{host.driver.kind} cannot promise {promise} here")


async def refused(sandbox: Sandbox, command: str, *, code: str = "command_failed") -> None:
    """Say that a command fails."""
    done = await sandbox.gateway.run_turn("shell", command)
    assert done["status"] == "failed", f"{command}: {done}"
    assert done["error"]["code"] == code


async def test_there_is_no_interface_but_loopback_and_no_route(sandbox: Sandbox) -> None:
    interfaces = await sandbox.run("tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' '")
    assert interfaces == "lo"
    assert await sandbox.run("tail -n +2 /proc/net/route") == ""
    addresses = await sandbox.run(
        "grep -oE '([0-9]+[.]){3}[0-9]+' /proc/net/fib_trie | grep -v ^127 | sort -u"
    )
    assert addresses in ("", "0.0.0.0")


async def test_no_name_is_resolved_and_none_is_asked_for(sandbox: Sandbox) -> None:
    script = (
        "import socket, time\nbegun = time.monotonic()\n"
        "try:\n    socket.getaddrinfo('gateway.example', 443)\n    print('resolved')\n"
        "except socket.gaierror:\n    print('no', time.monotonic() - begun < 3)"
    )
    assert await sandbox.run(f'python3 -c "{script}"') == "no True"
    resolvers = await sandbox.run("cat /etc/resolv.conf 2>/dev/null | grep ^nameserver || true")
    assert resolvers in ("", "nameserver 127.0.0.1")


async def test_no_service_of_the_host_is_reached(sandbox: Sandbox) -> None:
    async with await asyncio.start_server(lambda _reader, writer: writer.close(), "0.0.0.0", 0) as server:
        port = server.sockets[0].getsockname()[1]
        for address in ("127.0.0.1", *_addresses_of_host()):
            await refused(sandbox, f"exec 3<>/dev/tcp/{address}/{port}")


def _addresses_of_host() -> list[str]:
    shown = subprocess.run(["hostname", "-I"], capture_output=True, text=True, check=True).stdout
    return [address for address in shown.split() if "." in address]


def _inspected(host: Host, sandbox: Sandbox) -> str:
    """Return what the engine shows of a container to whoever may ask it."""
    name = f"slipway-{host.installation}-{sandbox.id}"
    return subprocess.run(["docker", "inspect", name], capture_output=True, text=True, check=True).stdout


def _command_lines() -> str:
    lines = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                lines.append((entry / "cmdline").read_text(errors="replace"))
    return "\n".join(lines)


async def test_the_only_socket_is_the_gateways(sandbox: Sandbox) -> None:
    assert await sandbox.run("find / -type s 2>/dev/null || true") == "/run/slipway/gw.sock"
    assert await sandbox.run("grep -c @ /proc/net/unix || true") == "0"
    assert await sandbox.run("ls -A /run/slipway") == "gw.sock"


async def test_the_link_folder_cannot_be_changed(sandbox: Sandbox) -> None:
    for command in (
        "touch /run/slipway/x",
        "rm /run/slipway/gw.sock",
        "mv /run/slipway/gw.sock /run/slipway/old",
        "chmod 700 /run/slipway",
        "mkdir /run/slipway/x",
    ):
        await refused(sandbox, command)
    assert await sandbox.run("echo still here") == "still here"


async def test_the_root_is_read_only(sandbox: Sandbox) -> None:
    for folder in (
        "/",
        "/etc",
        "/usr/bin",
        "/opt/slipway",
        "/opt/slipway/agent_image/runner",
        "/run",
        "/home",
    ):
        await refused(sandbox, f"touch {folder}/x")
    await refused(sandbox, "echo 1 > /proc/sys/kernel/hostname")
    await refused(sandbox, "echo b > /proc/sysrq-trigger")


async def test_it_is_nobody_with_no_capability(sandbox: Sandbox) -> None:
    assert await sandbox.run("id -u; id -g; id -G") == "10001\n10001\n10001"
    status = await sandbox.run("cat /proc/self/status")
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(fields[name], 16) == 0, name
    assert fields["NoNewPrivs"] == "1"
    if Promise.SYSCALL_FILTER in sandbox.driver.promises:
        assert fields["Seccomp"] == "2"


async def test_it_gains_no_rights(sandbox: Sandbox) -> None:
    for kind in ("user", "mount", "net", "pid", "uts", "ipc", "cgroup"):
        await refused(sandbox, f"unshare --{kind} true")
    await refused(sandbox, "unshare --user --map-root-user --mount true")
    await refused(sandbox, "mount -t tmpfs none /tmp")
    await refused(sandbox, "mknod /tmp/disk b 254 0")
    await refused(sandbox, "touch /tmp/x; chown 0 /tmp/x")
    await refused(sandbox, "setpriv --reuid=0 true")
    await refused(sandbox, "cat /etc/shadow")


async def test_the_image_holds_no_setuid_program(docker_host: Host) -> None:
    sandbox = await docker_host.make()
    await sandbox.start()
    assert await sandbox.run("find / -xdev -perm /6000 -type f 2>/dev/null || true") == ""


async def test_another_sandbox_is_neither_seen_nor_reached(host: Host, sandbox: Sandbox) -> None:
    other = await host.make()
    await other.start()
    marker = "sleep 33333"
    turn = await other.gateway.send_turn("shell", f"echo ready; exec {marker}")
    await other.gateway.wait_for("tool.output", turn=turn)
    assert marker not in await sandbox.run("ps -eo args || cat /proc/[0-9]*/cmdline | tr '\\0' ' '")
    count = int(await sandbox.run("ls -d /proc/[0-9]* | wc -l"))
    assert count < 12
    await other.gateway.send({"op": "cancel", "turn": turn, "reason": "cancelled"})
    await other.gateway.wait_done(turn)


async def test_secrets_of_a_turn_show_nowhere_outside(host: Host, sandbox: Sandbox) -> None:
    secret = "s3cret-of-this-turn"
    turn = await sandbox.gateway.send_turn(
        "shell",
        "echo ready; sleep 60",
        env={"GRANTED": secret},
        mcp=[{"name": "memory", "path": "/mcp/memory", "token": f"{secret}-mcp"}],
    )
    await sandbox.gateway.wait_for("tool.output", turn=turn)
    if host.driver.kind == "docker":
        shown = _inspected(host, sandbox)
        assert str(sandbox.id) in shown
        assert secret not in shown
    command_lines = _command_lines()
    assert "launch.py" in command_lines
    assert secret not in command_lines
    assert secret not in host.driver.read_log(sandbox.id)
    await sandbox.gateway.send({"op": "cancel", "turn": turn, "reason": "cancelled"})
    await sandbox.gateway.wait_done(turn)
    assert secret not in await sandbox.run("env; cat /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n'")


async def test_nothing_of_a_turn_runs_on_after_it(sandbox: Sandbox) -> None:
    await sandbox.run(
        "setsid sleep 44444 >/dev/null 2>&1 & disown; (nohup sleep 44444 &) >/dev/null 2>&1; true"
    )
    shown = await sandbox.run("cat /proc/[0-9]*/cmdline | tr '\\0' ' ' | grep -c '[s]leep 44444' || true")
    assert shown == "0"


async def test_temporary_folders_have_a_limit(host: Host) -> None:
    sandbox = await host.make(limits=SandboxLimits(memory_bytes=256 * MIB, tmp_bytes=8 * MIB))
    await sandbox.start()
    for folder, code in (("/tmp", "command_failed"), ("/workspace", "disk_full")):
        await refused(sandbox, f"head -c {12 * MIB} /dev/zero > {folder}/big", code=code)
        await sandbox.run(f"rm {folder}/big")


async def test_a_fork_bomb_stops_at_the_limit_and_harms_nobody(host: Host) -> None:
    needs(host, Promise.PIDS_LIMIT)
    sandbox = await host.make(limits=SandboxLimits(memory_bytes=256 * MIB, pids=48))
    await sandbox.start()
    turn = await sandbox.gateway.send_turn("shell", "bomb() { bomb | bomb & }; bomb; sleep 60", timeout_s=2)
    await sandbox.gateway.wait_for("tool.called", turn=turn)
    peak = 0
    while not sandbox.gateway.of_turn(turn, "turn.done"):
        peak = max(peak, len(_processes_of(host, sandbox)))
        await asyncio.sleep(0.1)
    assert (await sandbox.gateway.wait_done(turn))["status"] in ("expired", "failed", "succeeded")
    assert 20 < peak <= 48
    assert await sandbox.run("echo alive") == "alive"
    assert len(_processes_of(host, sandbox)) < 10


def _processes_of(host: Host, sandbox: Sandbox) -> list[str]:
    group = f"slipway/{host.installation}-{sandbox.id}"
    if host.driver.kind == "docker":
        group = f"*{json.loads(_inspected(host, sandbox))[0]['Id']}*"
    for folder in Path("/sys/fs/cgroup").glob(f"**/{group}"):
        with contextlib.suppress(OSError):
            return (folder / "cgroup.procs").read_text().split()
    raise AssertionError("the container has no cgroup")


async def test_a_memory_hog_is_killed_and_the_sandbox_lives(host: Host) -> None:
    needs(host, Promise.MEMORY_LIMIT)
    sandbox = await host.make(limits=SandboxLimits(memory_bytes=128 * MIB, pids=64))
    await sandbox.start()
    hog = 'python3 -c "b = [bytearray(8 << 20) for _ in range(100)]; print(len(b))"'
    done = await sandbox.gateway.run_turn("shell", hog)
    assert done["status"] == "failed"
    assert re.search(r"exit code 137|signal 9", done["error"]["message"])
    assert host.driver.inspect(sandbox.id).status is SandboxStatus.RUNNING
    assert await sandbox.run("echo alive") == "alive"
    await sandbox.stop()
    assert not host.driver.inspect(sandbox.id).is_out_of_memory


async def test_a_runner_that_runs_out_of_memory_says_so(host: Host) -> None:
    needs(host, Promise.MEMORY_LIMIT)
    sandbox = await host.make(limits=SandboxLimits(memory_bytes=64 * MIB, tmp_bytes=512 * MIB))
    await sandbox.start()
    # What lies in a tmpfs is memory that no killing frees: at last the runner itself must go.
    await sandbox.gateway.send_turn("shell", "head -c 256M /dev/zero > /workspace/big; exec sleep 60")
    await sandbox.gateway.wait_until(lambda: sandbox.gateway.socket is None, "end of the runner")
    report = host.driver.inspect(sandbox.id)
    while report.status is SandboxStatus.RUNNING:
        report = host.driver.inspect(sandbox.id)
    assert (report.status, report.is_out_of_memory) == (SandboxStatus.STOPPED, True)


async def test_a_full_disk_is_the_tenants_own(host: Host) -> None:
    needs(host, Promise.DISK_LIMIT)
    size = 32 * MIB
    limits = SandboxLimits(memory_bytes=512 * MIB, disk_bytes=size)
    sandbox, other = (
        await host.make(volume="work", limits=limits),
        await host.make(volume="other", limits=limits),
    )
    await sandbox.start()
    await other.start()
    assert await sandbox.run("ls -A /workspace; stat -c %U:%a /workspace") == "agent:755"
    await refused(sandbox, f"head -c {2 * size} /dev/zero > /workspace/big", code="disk_full")
    assert int(await sandbox.run("stat -c %s /workspace/big")) < size
    used = host.driver.read_usage(sandbox.id)
    assert used is not None
    assert used.disk_bytes >= size
    assert await other.run("echo fine > /workspace/note; cat /workspace/note") == "fine"
    await sandbox.run("rm /workspace/big")
    done = await sandbox.gateway.run_turn("shell", "i=0; while echo > f$i; do i=$((i+1)); done; exit 1")
    assert done["status"] == "failed"
    used = host.driver.read_usage(sandbox.id)
    assert used is not None
    assert used.disk_bytes >= size


async def test_a_workspace_gets_more_room_when_its_limit_grows(host: Host) -> None:
    needs(host, Promise.DISK_LIMIT)
    small, large = (SandboxLimits(memory_bytes=512 * MIB, disk_bytes=size * MIB) for size in (24, 96))
    first = await host.make(volume="work", limits=small)
    await first.start()
    await first.run("echo kept > note")
    await refused(first, f"head -c {48 * MIB} /dev/zero > big", code="disk_full")
    await first.destroy()
    second = await host.make(volume="work", limits=large)
    await second.start()
    assert await second.run(f"head -c {48 * MIB} /dev/zero > big; cat note") == "kept"


async def test_the_engine_was_asked_for_every_restriction(docker_host: Host) -> None:
    sandbox = await docker_host.make(volume="work")
    await sandbox.start()
    container = json.loads(_inspected(docker_host, sandbox))[0]
    options = container["HostConfig"]
    expected = {
        "NetworkMode": "none",
        "ReadonlyRootfs": True,
        "Privileged": False,
        "CapAdd": None,
        "CapDrop": ["ALL"],
        "SecurityOpt": ["no-new-privileges:true"],
        "PidsLimit": 128,
        "Memory": 512 * MIB,
        "MemorySwap": 512 * MIB,
        "NanoCpus": 1_000_000_000,
        "Init": True,
        "Binds": None,
        "Devices": None,
        "PidMode": "",
        "UsernsMode": "",
    }
    assert {name: options[name] for name in expected} == expected
    assert options["RestartPolicy"]["Name"] == "no"
    assert container["Config"]["User"] == "10001:10001"
    mounts = {mount["Destination"]: mount for mount in container["Mounts"]}
    assert set(mounts) == {"/run/slipway", "/workspace"}
    assert mounts["/run/slipway"]["RW"] is False
    assert mounts["/run/slipway"]["Propagation"] == "rprivate"
