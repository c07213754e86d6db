"""The way to allowed hosts outside: a loopback port to the egress proxy, and the variables that name it to tools."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import replace

from agent_image.runner.forwarder import Forwarder
from agent_image.runner.turn import Turn

DEFAULT_EGRESS_PORT = 8801
_SOCKET_NAME = "egress.sock"
_BUNDLE_NAME = "slipway-authorities.pem"
_SYSTEM_BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
_NOT_THROUGH_IT = "127.0.0.1,localhost"
_PROXY_NAMES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
_AUTHORITY_NAMES = (
    "SSL_CERT_FILE",
    "NODE_EXTRA_CA_CERTS",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "GIT_SSL_CAINFO",
    "PIP_CERT",
    "CARGO_HTTP_CAINFO",
)
VARIABLES = frozenset({*_AUTHORITY_NAMES, *_PROXY_NAMES, "NO_PROXY"})
"""Those that name the way outside; the proxy's also in small letters."""


class Egress:
    """The door to the proxy, opened when something is first started that may want it."""

    def __init__(self, link_socket: str, port: int = DEFAULT_EGRESS_PORT) -> None:
        self._socket_path = os.path.join(os.path.dirname(link_socket), _SOCKET_NAME)  # noqa: PTH118, PTH120 (memory)
        self._forwarder = Forwarder(self._socket_path, port)
        self._authority = ""

    async def environment(self) -> Mapping[str, str]:
        """Return the variables for a process; none where the gateway has no proxy for this sandbox."""
        if not os.path.exists(self._socket_path):  # noqa: PTH110, ASYNC240 (a moment, and pathlib costs memory)
            return {}
        try:
            proxy = await self._forwarder.open()
        except OSError as exc:
            print(f"egress: {exc}", file=sys.stderr, flush=True)
            return {}
        found = dict.fromkeys(_PROXY_NAMES, proxy) | {"NO_PROXY": _NOT_THROUGH_IT}
        found |= {name.lower(): value for name, value in found.items()}
        if self._authority:
            found |= dict.fromkeys(_AUTHORITY_NAMES, _write_bundle(self._authority))
        return found

    async def equip(self, turn: Turn) -> Turn:
        """Return the turn with the variables in its environment; a secret of such a name would lead nowhere."""
        wanted = turn.options.get("egress")
        authority = wanted.get("ca_pem") if isinstance(wanted, dict) else None
        self._authority = authority if isinstance(authority, str) else ""
        return replace(turn, env={**turn.env, **await self.environment()})

    async def close(self) -> None:
        await self._forwarder.close()


def _write_bundle(authority: str) -> str:
    """Write the proxy's authority beside those that the image trusts, and return the path."""
    path = os.path.join(os.environ.get("TMPDIR", "/tmp"), _BUNDLE_NAME)  # noqa: PTH118, S108 (the sandbox's own)
    bundle = os.environ.get("SSL_CERT_FILE", _SYSTEM_BUNDLE)
    try:
        with open(bundle, encoding="ascii", errors="replace") as file:  # noqa: PTH123 (memory)
            known = file.read()
    except OSError:
        known = ""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o644)
    with os.fdopen(handle, "w") as file:
        file.write(f"{known.rstrip()}\n{authority}")
    return path
