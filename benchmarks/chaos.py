"""A thousand tasks while workers, runners and the engine are killed: what is lost, and what is left over."""

from __future__ import annotations

import contextlib
import os
import random
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from benchmarks.plane import Leftovers, find_leftovers
from benchmarks.rows import Row, row
from benchmarks.saboteur import Saboteur
from benchmarks.stacks import running_stack
from deploy.local.images import BASE_TAG
from tests.stack.own_engine import OwnEngine
from tests.stack.running import RunningStack, until

TASKS = int(os.environ.get("BENCH_CHAOS_TASKS", "1000"))
WARM = 2
KILL_EVERY_S = 4.0
ENGINE_AWAY_S = 1.5
VICTIMS = ("worker", "gateway", "relay", "runner", "runner", "engine")
SEED = 20_261_121
EXPLAINED = frozenset(
    {"sandbox_lost", "sandbox_killed", "sandbox_silent", "engine_unavailable", "sandbox_stopped"}
)


@contextlib.contextmanager
def engine_to_kill() -> Iterator[OwnEngine]:
    """Run an engine that only this benchmark uses, with the shell agent's image under every name that is looked for."""
    engine = OwnEngine()
    try:
        engine.create()
        image = os.environ["SLIPWAY_AGENT_IMAGE"]
        engine.bring_image(image, image)
        for name, tag in os.environ.items():
            if name.startswith("SLIPWAY_AGENT_IMAGE_"):
                engine.docker("tag", image, tag)
        # The agent images' tags depend on it.
        engine.copy_image(os.environ.get("SLIPWAY_BASE_IMAGE", BASE_TAG))
        before = os.environ.get("DOCKER_HOST")
        os.environ["DOCKER_HOST"] = engine.url
        try:
            yield engine
        finally:
            del os.environ["DOCKER_HOST"]
            if before is not None:
                os.environ["DOCKER_HOST"] = before
    finally:
        engine.remove()


class _Victims:
    """Kills by name; the engine comes back a moment later."""

    def __init__(self, stack: RunningStack, engine: OwnEngine) -> None:
        self._stack, self._engine = stack, engine
        self._random = random.Random(SEED)

    def kill(self, victim: str) -> None:
        if victim == "engine":
            self._engine.kill()
            time.sleep(ENGINE_AWAY_S)
            self._engine.start()
        elif victim == "runner":
            self._kill_runner()
        else:
            self._stack.kill(victim)

    def _kill_runner(self) -> None:
        label = f"label=slipway.installation={self._stack.env['SLIPWAY_INSTALLATION']}"
        ids = subprocess.run(
            ["docker", "ps", "-q", "--filter", label], capture_output=True, text=True, check=True
        ).stdout.split()
        if ids:
            subprocess.run(["docker", "kill", self._random.choice(ids)], capture_output=True, check=False)


def _submit_all(stack: RunningStack) -> list[str]:
    agent = stack.agents["shell"]

    def submit(number: int) -> str:
        return str(stack.submit(f"echo {number}; sleep 0.2", agent=agent, key=f"chaos-{number}")["id"])

    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(submit, range(TASKS)))


def run() -> list[Row]:
    """Submit all, kill meanwhile, wait for all ends, delete all workspaces, and count what is still there."""
    with (
        engine_to_kill() as engine,
        running_stack(driver="docker", slots=8, warm_min=1, warm_max=WARM) as stack,
    ):
        stack.run("true")
        kill = _Victims(stack, engine).kill
        saboteur, started = Saboteur(kill, VICTIMS, every_s=KILL_EVERY_S, seed=SEED), time.perf_counter()
        ids = _submit_all(stack)
        ended = [stack.wait(task_id, within_s=1_800) for task_id in ids]
        saboteur.stop()
        elapsed = time.perf_counter() - started
        succeeded = sum(task["status"] == "succeeded" for task in ended)
        codes = {task["error"]["code"] for task in ended if task["error"]}
        assert codes <= EXPLAINED, codes
        for workspace_id in {task["workspace_id"] for task in ended}:
            stack.http.delete(f"/v1/workspaces/{workspace_id}")
        left = _wait_for_few(stack)
    detail = f"{TASKS} tasks in {elapsed:.0f} s; killed: {saboteur.summary()}; every other task ended with its reason"
    return [
        row("succeeded under kills", succeeded, "tasks", "submitted", TASKS, detail),
        row(
            "left over: containers, networks, volumes, mounts, sockets",
            left.total,
            "",
            "kept warm, at most",
            4 * WARM,
            str(left),
        ),
    ]


def _wait_for_few(stack: RunningStack) -> Leftovers:
    """Wait until only the warm pool is left: each warm sandbox has a container, a volume, a mount and a socket."""

    def settled() -> Leftovers | None:
        left = find_leftovers(stack)
        is_few = max(left.containers, left.volumes, left.mounts, left.sockets) <= WARM and left.networks == 0
        return left if is_few else None

    found: Leftovers = until(settled, within_s=240, what="what is left is the warm pool")
    return found
