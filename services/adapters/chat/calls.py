"""HTTP calls to platforms that are spoken to without a client library: one pool for each process, and our errors."""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from services.adapters.chat.guarded import guarded_client
from services.domain.errors import FileTooLarge, PlatformAway, SlipwayError

DEFAULT_RETRY_S = 5.0
_CONNECT_S, _ANSWER_S = 5.0, 20.0
_POOL_SIZE = 64
# The connection failed, or there was none to be had: nothing was sent.
_UNSENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol)

_clients: dict[tuple[int, bool], httpx.Client] = {}
_lock = threading.Lock()
os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release)


def request(
    label: str,
    method: str,
    url: str,
    *,
    answer_s: float = _ANSWER_S,
    is_guarded: bool = False,
    **fields: Any,
) -> httpx.Response:
    """Make one call and return its answer, whatever it says. `fields` are httpx's. Redirects are answers.

    `is_guarded` is for an address that a tenant named: only the public internet is reached.
    Raises: PlatformAway when none came; `may_have_arrived` says that the platform may have taken the request.
    PlatformRefused for an address that is not to be reached.
    """
    with _transport_errors(label):
        timeout = httpx.Timeout(answer_s, connect=_CONNECT_S)
        return _client(is_guarded).request(method, url, timeout=timeout, **fields)


def download(
    label: str,
    url: str,
    *,
    max_bytes: int,
    translate: Callable[[httpx.Response], SlipwayError],
    headers: dict[str, str] | None = None,
    is_guarded: bool = False,
) -> bytes:
    """Return a file's bytes; `translate` makes an error of an answer other than 200.

    Raises: FileTooLarge before more than `max_bytes` are read, PlatformAway, and what `translate` makes.
    """
    with _transport_errors(label), _client(is_guarded).stream("GET", url, headers=headers) as answer:
        if answer.status_code != 200:
            answer.read()
            raise translate(answer)
        parts, size = [], 0
        for part in answer.iter_bytes():
            size += len(part)
            if size > max_bytes:
                raise FileTooLarge("The file is too large.", max_bytes=max_bytes)
            parts.append(part)
        return b"".join(parts)


def retry_after_s(answer: httpx.Response, default: float = DEFAULT_RETRY_S) -> float:
    """Read when to come back, in seconds: `Retry-After` as a number or as a date."""
    given = answer.headers.get("retry-after", "")
    try:
        return max(float(given), 0.0)
    except ValueError:
        pass
    try:
        moment = parsedate_to_datetime(given)
        return max((moment.astimezone(UTC) - datetime.now(UTC)).total_seconds(), 0.0)
    except (ValueError, TypeError):
        return default


def read_json(answer: httpx.Response) -> dict[str, Any]:
    """Return an answer's JSON object; an empty one for whatever else it is."""
    try:
        value = answer.json()
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def away(label: str, *, may_have_arrived: bool, after_s: float = DEFAULT_RETRY_S) -> PlatformAway:
    """Make the error of a platform that did not answer, or not well."""
    return PlatformAway(f"{label} does not answer.", retry_after_s=after_s, may_have_arrived=may_have_arrived)


@contextmanager
def _transport_errors(label: str) -> Iterator[None]:
    try:
        yield
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        # The error's own words may have the address, and an address may have a secret.
        raise away(label, may_have_arrived=not isinstance(error, _UNSENT)) from None


def _client(is_guarded: bool) -> httpx.Client:
    """Return a client of this process: a forked child must not talk over its parent's connections."""
    key = (os.getpid(), is_guarded)
    with _lock:
        if key not in _clients:
            limits = httpx.Limits(max_connections=_POOL_SIZE, keepalive_expiry=30.0)
            _clients[key] = guarded_client() if is_guarded else httpx.Client(limits=limits)
        return _clients[key]


@atexit.register
def _close() -> None:
    for is_guarded in (False, True):
        client = _clients.pop((os.getpid(), is_guarded), None)
        if client is not None:
            client.close()
