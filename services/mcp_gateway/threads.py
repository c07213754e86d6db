"""Blocking database work off the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

from django.db import connections

from services.kit import tracing

P = ParamSpec("P")
T = TypeVar("T")

_threads = ThreadPoolExecutor(max_workers=16, thread_name_prefix="database")


async def run_in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run blocking code in a thread of its own and give its database connections back to their pools."""
    return await asyncio.get_running_loop().run_in_executor(
        _threads, partial(_run, tracing.carried(partial(function, *args, **kwargs)))
    )


def _run(call: Callable[[], T]) -> T:
    try:
        return call()
    finally:
        connections.close_all()
