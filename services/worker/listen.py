"""Runs the listening process: connections of ours to platforms that do not call us, each held by one process at a time.

Any number of them may run, on any machine. What one that died held, another takes within seconds.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading

import django
from prometheus_client import start_http_server

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "services.worker.settings")
django.setup()

from django.db import DatabaseError, connections  # noqa: E402

from services.adapters.chat.registry import build_adapters  # noqa: E402
from services.kit.environment import environment  # noqa: E402
from services.worker.listeners import Listeners  # noqa: E402

log = logging.getLogger(__name__)

ROUND_S = 1.5
DRAIN_S = 8.0


def main() -> None:
    """Listen until told to stop; then hand over."""
    env = environment()
    env.run_dir.mkdir(parents=True, exist_ok=True)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    if env.listen_port is not None:
        start_http_server(env.listen_port, addr=env.bind_host)
    listeners = Listeners(build_adapters(env.platform_endpoints()), f"{env.host_name}:{os.getpid()}")
    while not stop.is_set():
        try:
            listeners.round()
            with contextlib.suppress(OSError):
                (env.run_dir / "listen.beat").touch()
        except DatabaseError as error:
            log.warning("who listens is not known: %s", error)
        except Exception:
            log.exception("a round of listening failed")
        finally:
            connections.close_all()
        stop.wait(ROUND_S)
    listeners.drain(DRAIN_S)


if __name__ == "__main__":
    main()
