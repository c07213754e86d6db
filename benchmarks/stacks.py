"""Stacks of the benchmarks' own."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator, Mapping

from deploy.local.infra import Infra
from deploy.local.stack import Stack
from tests.stack.running import RunningStack


@contextlib.contextmanager
def running_stack(
    *, driver: str, slots: int, others: Mapping[str, str] | None = None, **settings: object
) -> Iterator[RunningStack]:
    """Run a stack in a folder of its own, with one sandbox driver and so many slots.

    `settings` are further ones, by their names in lower case without the prefix, `others` those by their whole names.
    """
    folder = tempfile.mkdtemp(prefix="slipway-bench-")
    environ = {
        name: value for name, value in os.environ.items() if not name.startswith(("SLIPWAY_", "DJANGO_"))
    }
    environ |= {name: os.environ[name] for name in ("SLIPWAY_BASE_IMAGE",) if name in os.environ}
    extra = {f"SLIPWAY_{name.upper()}": str(value) for name, value in settings.items()}
    extra |= others or {}
    extra["SLIPWAY_SANDBOX_SLOTS"] = str(slots)
    stack = RunningStack(Stack(folder, environ=environ, extra=extra, driver=driver, is_bound=True))
    stack.start()
    try:
        yield stack
    finally:
        stack.stop()


@contextlib.contextmanager
def bare_servers(name: str) -> Iterator[None]:
    """Run servers in a folder of their own, with Django set up and the databases made: once in a process."""
    with tempfile.TemporaryDirectory(prefix=f"slipway-{name}-") as folder, contextlib.ExitStack() as stack:
        infra = Infra(folder)
        stack.callback(infra.purge)
        infra.start()
        os.environ |= infra.env
        os.environ["DJANGO_SETTINGS_MODULE"] = "services.api.settings"
        import django

        django.setup()
        from django.core.management import call_command

        call_command("provision", verbosity=0)
        yield
