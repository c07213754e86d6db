"""Runs the api service: one gunicorn worker process with threads, on SLIPWAY_BIND_HOST:SLIPWAY_API_PORT."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from gunicorn.app.base import BaseApplication  # type: ignore[import-untyped]  # gunicorn has no types

from services.kit.environment import environment

THREADS = 16
# The heartbeat file is touched all the time; a disk that stalls must not look like a worker that hangs.
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108


class ApiServer(BaseApplication):  # type: ignore[misc]  # the base is untyped
    """Gunicorn configured from here and from nowhere else: no file, no command line, no GUNICORN_CMD_ARGS."""

    def load_config(self) -> None:
        """Set what differs from gunicorn's defaults."""
        env = environment()
        settings: dict[str, Any] = {
            "bind": f"{env.bind_host}:{env.api_port}",
            "worker_class": "gthread",
            "workers": 1,
            "threads": THREADS,
            # After a kill -9 of the master its worker still listens for a moment; the next start must not wait for it.
            "reuse_port": True,
            "timeout": 60,
            "graceful_timeout": 10,
            "keepalive": 15,
            "limit_request_line": 8_190,
            "limit_request_fields": 60,
            "limit_request_field_size": 8_190,
            "loglevel": "warning",
            "accesslog": None,
            "control_socket_disable": True,
            "worker_tmp_dir": str(_SHARED_MEMORY) if _SHARED_MEMORY.is_dir() else None,
        }
        for name, value in settings.items():
            self.cfg.set(name, value)

    def load(self) -> Any:
        """Return the WSGI application, in the worker."""
        from services.api.wsgi import application

        return application


def main() -> None:
    """Serve until stopped."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "services.api.settings")
    environment()
    ApiServer().run()


if __name__ == "__main__":
    main()
