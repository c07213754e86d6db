"""Runs this host's worker: its own queue and the common one, in threads that wait and do not compute."""

from __future__ import annotations

import contextlib
import logging
import threading
import time

from celery.signals import worker_shutdown

from services.kit.environment import Environment, environment
from services.worker.app import app
from services.worker.health import watch_engine
from services.worker.jobs.sandboxes import driver
from services.worker.nudges import listen_forever
from services.worker.shows import ShowsThread
from services.worker.sweeps import SWEEPS, Sweep, sweep_sandboxes
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
    for sweep in SWEEPS:
        if sweep.is_hosts_own:
            threading.Thread(target=_repeat, args=(sweep,), daemon=True, name=sweep.name).start()
    threading.Thread(target=listen_forever, daemon=True, name="nudges").start()
    shows = ShowsThread()
    shows.start()
    threading.Thread(target=watch_engine, args=(threading.Event(),), daemon=True, name="watch").start()
    # Celery ends the process from within when it is told to stop.
    worker_shutdown.connect(lambda **_: shows.stop(), weak=False)
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


def _repeat(sweep: Sweep) -> None:
    """Do one sweep of this host for ever; each begins a while after the last one ended."""
    while True:
        try:
            sweep.run()
        except Exception:
            log.exception("%s failed and is tried again", sweep.name)
        time.sleep(sweep.every_s)


def _beat(env: Environment) -> None:
    while True:
        with contextlib.suppress(OSError):
            (env.run_dir / "worker.beat").touch()
        time.sleep(BEAT_S)


if __name__ == "__main__":
    main()
