"""Starts the runner: `python3 -I -S launch.py`. The container's entry point, and the host drivers'."""

from __future__ import annotations

import sys
from pathlib import Path


def _import_without_tls() -> None:
    """Import asyncio without OpenSSL, which would cost 4 MB in every idle sandbox.

    The link is a Unix socket and never TLS. The name is freed again, for providers that need it.
    """
    sys.modules["ssl"] = None  # type: ignore[assignment]
    import asyncio  # noqa: F401

    del sys.modules["ssl"]


def launch() -> None:
    """Put the folder that holds `agent_image` on the path, which `-I -S` leaves empty, and run."""
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    _import_without_tls()
    from agent_image.runner.main import main

    main()


if __name__ == "__main__":
    launch()
