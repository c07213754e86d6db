"""HTTP to servers that tenants name: https, public addresses only, dialled as they were checked."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterable

import httpcore
import httpx

from services.domain.errors import PlatformRefused
from services.kit.addresses import find_address, is_public

_MAX_TRIED = 3


def guarded_client() -> httpx.Client:
    """Return a client that reads no settings of the process. Its calls raise PlatformRefused for other addresses."""
    return httpx.Client(transport=_Guarded(), trust_env=False)


class _Guarded(httpx.HTTPTransport):
    def __init__(self) -> None:
        super().__init__(trust_env=False)
        self._pool = httpcore.ConnectionPool(
            ssl_context=ssl.create_default_context(),
            max_connections=64,
            keepalive_expiry=30.0,
            network_backend=_Dialler(),
        )

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request. Raises: PlatformRefused."""
        if request.url.scheme != "https":
            raise PlatformRefused("The server is at an address without https.")
        return super().handle_request(request)


class _Dialler(httpcore.SyncBackend):
    """Dials the addresses that were checked; the name is not looked up again between the check and the connection."""

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        """Connect to the first address that answers. Raises: PlatformRefused."""
        failure: Exception = httpcore.ConnectError("no address")
        for address in _addresses(host)[:_MAX_TRIED]:
            try:
                return super().connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure


def _addresses(host: str) -> list[str]:
    """Return a host's addresses. One bad address spoils the name: whoever mixes them means no good."""
    found = [host] if find_address(host) else _resolve(host)
    known = [find_address(text) for text in found]
    if not all(address is not None and is_public(address) for address in known):
        raise PlatformRefused("The server has an address that is not on the public internet.")
    return found


def _resolve(host: str) -> list[str]:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise httpcore.ConnectError("the name was not resolved") from error
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))
