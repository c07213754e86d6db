"""Runs this host's worker: its own queue and the common one, in threads that wait and do not compute."""

from __future__ import annotations

import contextlib
import logging
import threading
import time

from services.kit.environment import Environment, environment
from services.worker.app import app
from services.worker.jobs.sandboxes import driver
from services.worker.sweeps import sweep_sandboxes
from services.worker.topology import declare_topology

log = logging.getLogger(__name__)

THREADS = 24
BEAT_S = 5.0


def main() -> None:
    """Declare the topology, make the host known, then work until told to stop."""
    env = environment()
    env.run_dir.mkdir(parents=True, exist_ok=True)
    (env.run_dir / "s").mkdir(exist_ok=True, mode=0o755)
    declare_topology(env.broker_url.get_secret_value(), env.host_name)
    log.info("sandbox driver %s: %s", env.sandbox_driver, driver().check())
    sweep_sandboxes()
    threading.Thread(target=_beat, args=(env,), daemon=True, name="heartbeat").start()
    app.worker_main(
        [
            "worker",
            "--pool=threads",
            f"--concurrency={THREADS}",
            "--loglevel=WARNING",
            "--without-gossip",
            "--without-mingle",
            "--without-heartbeat",
            f"--hostname={env.host_name}@%h",
        ]
    )


def _beat(env: Environment) -> None:
    while True:
        with contextlib.suppress(OSError):
            (env.run_dir / "worker.beat").touch()
        time.sleep(BEAT_S)


if __name__ == "__main__":
    main()
