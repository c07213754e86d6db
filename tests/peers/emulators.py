"""Emulators of platforms that others wrote (npm `emulate`), as one process of the Node that they need."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.fakes import npm_packages

_PROGRAM = Path(__file__).with_name("emulate.mjs")
_END_WITHIN_S = 10


@contextmanager
def emulated(
    seeds: dict[str, dict[str, Any]], *, slack_events: str = "", ports: Mapping[str, int] | None = None
) -> Iterator[dict[str, str]]:
    """Run the emulators with their seeds, on these ports of loopback or on free ones; gives their addresses."""
    packages = npm_packages.install("peers")
    # The program finds the package beside itself.
    program = packages.folder / _PROGRAM.name
    shutil.copy(_PROGRAM, program)
    given = ports or {}
    services = {name: {"port": given.get(name) or free_port(), "seed": seed} for name, seed in seeds.items()}
    process = subprocess.Popen(
        [str(packages.node), str(program)],
        cwd=packages.folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps({"services": services, "slackEvents": slack_events}))
        process.stdin.close()
        addresses: dict[str, str] = json.loads(process.stdout.readline() or "{}")
        assert set(addresses) == set(seeds), "the emulators did not start"
        # They call themselves `localhost`, which may be another address than the one they listen at.
        yield {name: url.replace("localhost", "127.0.0.1") for name, url in addresses.items()}
    finally:
        process.terminate()
        process.wait(_END_WITHIN_S)
        if process.stdout is not None:
            process.stdout.close()


def free_port() -> int:
    """Return a port of loopback at which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])
