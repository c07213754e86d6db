"""Starts the runner: `python3 -I -S launch.py`. The container's entry point, and the host drivers'."""

from __future__ import annotations

import gc
import os
import signal
import sys
from types import ModuleType

# What asyncio, dataclasses, traceback and urllib name at their heads and use in a few functions only: a sixth of the
# time of loading them. `importlib.util.LazyLoader` is no help: the next `import` of the name loads the module.
_LATER = ("inspect", "ipaddress", "textwrap", "tokenize")


class _Later(ModuleType):
    """A module that is loaded when something in it is asked for."""

    def __getattr__(self, name: str) -> object:
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(__import__(self.__name__), name)


def _put_off_imports() -> None:
    for name in _LATER:
        sys.modules[name] = _Later(name)


def _import_without_tls() -> None:
    """Import asyncio without OpenSSL, which would cost 4 MB in every idle sandbox.

    The link is a Unix socket and never TLS. The name is freed again, for providers that need it.
    """
    sys.modules["ssl"] = None  # type: ignore[assignment]
    import asyncio  # noqa: F401

    del sys.modules["ssl"]


def _end(*_: object) -> None:
    """End at once: as long as this is loaded, there is nothing to end in order."""
    os._exit(0)


def launch() -> None:
    """Put the folder that holds `agent_image` on the path, which `-I -S` leaves empty, and run."""
    gc.disable()  # until all is loaded: none of it is garbage
    _put_off_imports()
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.realpath(__file__))))  # noqa: PTH120  # pathlib is slow
    from agent_image.runner.greeting import DEFAULT_SOCKET, Greeting

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end)
    greeting = Greeting(os.environ.get("SLIPWAY_SOCKET", DEFAULT_SOCKET))
    _import_without_tls()
    from agent_image.runner.main import main

    main(greeting)


if __name__ == "__main__":
    launch()
