"""Keeps `pids` in stack.json true: the supervisor tells it of every change of a program's state."""

from __future__ import annotations

import sys
from pathlib import Path

from supervisor import childutils

from deploy.local import stack_file
from deploy.local.control import Supervisor
from deploy.local.layout import Layout


def main(root: str, runtime: str) -> None:
    """Answer the supervisor's events for ever, after bringing the file up to date."""
    layout = Layout.at(root)
    supervisor = Supervisor(layout, Path(runtime))
    while True:
        childutils.listener.wait(sys.stdin, sys.stdout)
        # Answered first: the supervisor serves our question only when it is not waiting for us.
        childutils.listener.ok(sys.stdout)
        if layout.stack_json.exists():
            stack_file.refresh_pids(layout.stack_json, supervisor.pids)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
