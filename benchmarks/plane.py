"""What a stack's sandbox plane and its engine hold, asked directly: for figures and for leaks."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

import psycopg

from tests.stack.running import RunningStack, until

USUAL_MEMORY_BYTES = 1024**3  # of an agent whose owner has set nothing else


def count_sandboxes(stack: RunningStack, state: str) -> int:
    """Count the plane's rows in a state."""
    with psycopg.connect(stack.env["SLIPWAY_PLANE_DATABASE_URL"]) as connection:
        found = connection.execute("SELECT count(*) FROM sandbox WHERE state = %s", [state]).fetchone()
    return int(found[0]) if found else 0


def wait_for_warm(stack: RunningStack, count: int = 1) -> None:
    """Wait until so many warm sandboxes that fit the shell agent have said hello; others may wait beside them."""
    until(lambda: _count_fitting(stack) >= count, within_s=180, what=f"{count} warm sandboxes wait")


def _count_fitting(stack: RunningStack) -> int:
    with psycopg.connect(stack.env["SLIPWAY_PLANE_DATABASE_URL"]) as connection:
        found = connection.execute(
            "SELECT count(*) FROM sandbox WHERE state = 'warm' AND link_until > now() AND memory_bytes = %s",
            [USUAL_MEMORY_BYTES],
        ).fetchone()
    return int(found[0]) if found else 0


def wait_for_state(stack: RunningStack, workspace_id: str, state: str) -> None:
    """Wait until a workspace's sandbox is in a state."""

    def is_there() -> bool:
        found = stack.http.get(f"/v1/workspaces/{workspace_id}").json()
        return bool(found["sandbox_state"] == state)

    until(is_there, within_s=60, what=f"the sandbox is {state}")


@dataclass(frozen=True, slots=True)
class Leftovers:
    """What an installation has on its machine: each is 0 after all its work is over and its sandboxes are removed."""

    containers: int
    networks: int
    volumes: int
    mounts: int
    sockets: int

    @property
    def total(self) -> int:
        return self.containers + self.networks + self.volumes + self.mounts + self.sockets


def find_leftovers(stack: RunningStack) -> Leftovers:
    """Count what of this installation the engine and the host hold at this moment."""
    label = f"label=slipway.installation={stack.env['SLIPWAY_INSTALLATION']}"
    data_dir, run_dir = Path(stack.env["SLIPWAY_DATA_DIR"]), Path(stack.env["SLIPWAY_RUN_DIR"])
    volumes = data_dir / "volumes"
    mounts = [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(data_dir) in line]
    return Leftovers(
        containers=_count("docker", "ps", "-aq", "--filter", label),
        networks=_count("docker", "network", "ls", "-q", "--filter", label),
        volumes=_count("docker", "volume", "ls", "-q", "--filter", label)
        + (len(list(volumes.iterdir())) if volumes.is_dir() else 0),
        mounts=len(mounts),
        sockets=len(list((run_dir / "s").iterdir())),
    )


def memory_of_containers(stack: RunningStack) -> list[int]:
    """Return what each running container of the installation holds, in bytes, as its cgroup counts it."""
    label = f"label=slipway.installation={stack.env['SLIPWAY_INSTALLATION']}"
    ids = _lines("docker", "ps", "-q", "--no-trunc", "--filter", label)
    return [memory for container in ids if (memory := _cgroup_memory(container))]


def resident_bytes(pid: int) -> int:
    """Return the memory of a process and its threads, in bytes; 0 when it is gone."""
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


def _cgroup_memory(container: str) -> int:
    for path in (
        f"/sys/fs/cgroup/memory/docker/{container}/memory.usage_in_bytes",
        f"/sys/fs/cgroup/docker/{container}/memory.current",
        f"/sys/fs/cgroup/system.slice/docker-{container}.scope/memory.current",
    ):
        if Path(path).exists():
            return int(Path(path).read_text())
    return 0


def _count(*command: str) -> int:
    return len(_lines(*command))


def _lines(*command: str) -> list[str]:
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout.split()
