"""Calls to the Bot API from any thread: one private event loop and one connection pool per process."""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import logging
import os
import re
import threading
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

from telegram import Bot
from telegram.error import TelegramError, TimedOut
from telegram.request import HTTPXRequest

from services.adapters.chat.telegram.failures import translate

# The library's switch to time periods as `timedelta`; without it each 429 raises a deprecation warning.
os.environ.setdefault("PTB_TIMEDELTA", "1")

T = TypeVar("T")

_CONNECT_TIMEOUT_S = 5.0
_READ_TIMEOUT_S = 20.0
# More than the timeouts of a message and its plain repeat together: reached only if the loop itself is stuck.
_CALL_TIMEOUT_S = 70.0
_POOL_SIZE = 64
_TOKEN_IN_PATH = re.compile(r"/bot\d+:[A-Za-z0-9_-]+")


class _TokenRedaction(logging.Filter):
    """Hides bot tokens: the Bot API has them in its paths, and the HTTP library logs each address."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = _TOKEN_IN_PATH.sub("/bot<token>", record.getMessage()), ()
        return True


logging.getLogger("httpx").addFilter(_TokenRedaction())


@dataclass(frozen=True, slots=True)
class _Runtime:
    """The loop's thread and the pool that lives on it, of the process `pid`."""

    pid: int
    loop: asyncio.AbstractEventLoop
    thread: threading.Thread
    request: HTTPXRequest


class _RuntimeHolder:
    """Makes the runtime when it is first needed, and anew in a forked child, which has no such thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._runtime: _Runtime | None = None
        os.register_at_fork(after_in_child=self._forget)

    def get(self) -> _Runtime:
        with self._lock:
            if self._runtime is None:
                self._runtime = _start_runtime()
            return self._runtime

    def stop(self) -> None:
        with self._lock:
            runtime, self._runtime = self._runtime, None
        if runtime is not None and runtime.pid == os.getpid():
            _stop_runtime(runtime)

    def _forget(self) -> None:
        self._lock = threading.Lock()
        self._runtime = None


def _start_runtime() -> _Runtime:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="telegram-client", daemon=True)
    thread.start()
    request = HTTPXRequest(
        connection_pool_size=_POOL_SIZE,
        connect_timeout=_CONNECT_TIMEOUT_S,
        read_timeout=_READ_TIMEOUT_S,
        write_timeout=_READ_TIMEOUT_S,
        pool_timeout=_CONNECT_TIMEOUT_S,
    )
    return _Runtime(os.getpid(), loop, thread, request)


def _stop_runtime(runtime: _Runtime) -> None:
    asyncio.run_coroutine_threadsafe(runtime.request.shutdown(), runtime.loop).result(_CONNECT_TIMEOUT_S)
    runtime.loop.call_soon_threadsafe(runtime.loop.stop)
    runtime.thread.join(_CONNECT_TIMEOUT_S)
    runtime.loop.close()


_holder = _RuntimeHolder()
atexit.register(_holder.stop)


def call(base_url: str, token: str, make: Callable[[Bot], Coroutine[Any, Any, T]]) -> T:
    """Run calls of one bot on the private loop and wait for them.

    Raises: PlatformThrottled, PlatformAway, PlatformRefused.
    """
    runtime = _holder.get()
    bot = Bot(
        token,
        base_url=f"{base_url.rstrip('/')}/bot",
        base_file_url=f"{base_url.rstrip('/')}/file/bot",
        request=runtime.request,
        get_updates_request=runtime.request,
    )
    future = asyncio.run_coroutine_threadsafe(make(bot), runtime.loop)
    try:
        return future.result(_CALL_TIMEOUT_S)
    except concurrent.futures.TimeoutError as error:
        future.cancel()
        raise translate(TimedOut()) from error
    except TelegramError as error:
        raise translate(error) from error
