"""Start a program with the settings of a file, or bound to the life of its starter; then become it.

Run as a script (`python -I -S launch.py …`), so that it costs a few milliseconds and needs no import path. It
ends in `exec`: the process that the supervisor sees, and a test kills, is the program itself.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import shlex
import signal
import sys
from collections.abc import Sequence

_PR_SET_PDEATHSIG = 1


def _settings(path: str) -> dict[str, str]:
    values: dict[str, str] = {}
    with open(path, encoding="utf-8") as stream:  # noqa: PTH123  # pathlib would double the start time
        for line in stream:
            key, separator, value = line.partition("=")
            if separator:
                values[key] = "".join(shlex.split(value))
    return values


def _die_with(parent: int) -> None:
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:  # it died before the kernel was asked to tell us
        sys.exit(1)


def main(arguments: Sequence[str]) -> None:
    """Read the options before `--`, then become the command after it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--settings", help="file of KEY=value lines, as written by this package")
    parser.add_argument("--without", action="append", default=[], help="a setting to leave out")
    parser.add_argument("--die-with", type=int, metavar="PID", help="get SIGTERM when this parent dies")
    parser.add_argument("command", nargs="+")
    chosen = parser.parse_args(arguments)
    environ = dict(os.environ)
    if chosen.settings:
        environ.update(_settings(chosen.settings))
    for name in chosen.without:
        environ.pop(name, None)
    if chosen.die_with:
        _die_with(chosen.die_with)
    os.execvpe(chosen.command[0], chosen.command, environ)  # noqa: S606  # becoming the program is the point


if __name__ == "__main__":
    main(sys.argv[1:])
