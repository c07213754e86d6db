"""Where an authorization may send a person's browser: addresses that the client registered, and no others."""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import SplitResult, urlsplit

from services.domain.oauth.models import MAX_URI_CHARS

LOOPBACKS = frozenset({"127.0.0.1", "::1", "localhost"})
# Schemes of well-known programs that do not have the dot that RFC 8252, section 7.1, asks for.
KNOWN_SCHEMES = frozenset({"cursor", "vscode", "vscode-insiders", "vscodium", "windsurf", "zed", "claude"})
_PRINTABLE = re.compile(r"[\x21\x23-\x3b\x3d\x3f-\x5b\x5d\x5f\x61-\x7a\x7e]+")
_PLACE = re.compile(r"([A-Za-z0-9.-]+|\[[0-9a-f:]+\])(:[0-9]{1,5})?")
_PRIVATE_SCHEME = re.compile(r"[a-z][a-z0-9+-]*(\.[a-z0-9+-]+)+")


def is_usable(uri: str) -> bool:
    """Say whether a client may register an address: https, http on loopback, or a scheme of the program's own."""
    if not uri or len(uri) > MAX_URI_CHARS or not _PRINTABLE.fullmatch(uri):
        return False
    parts = _split(uri)
    if parts is None or parts.fragment or "#" in uri or parts.username is not None:
        return False
    if parts.scheme in ("https", "http"):
        # Nothing that would mean something in the header that names the place: see `form_target`.
        return bool(_PLACE.fullmatch(parts.netloc)) and (
            parts.scheme == "https" or parts.hostname in LOOPBACKS
        )
    return parts.scheme in KNOWN_SCHEMES or bool(_PRIVATE_SCHEME.fullmatch(parts.scheme))


def is_registered(uri: str, registered: Iterable[str]) -> bool:
    """Say whether an address is one of those registered: the same text, but for the port of a loopback address.

    Source: OAuth 2.1, section 4.1.1; RFC 8252, section 7.3.
    """
    if not is_usable(uri):
        return False
    return any(uri == known or _is_same_loopback(uri, known) for known in registered)


def form_target(uri: str) -> str:
    """Return the source by which a page's policy lets its form's answer lead to an address."""
    parts = urlsplit(uri)
    return f"{parts.scheme}://{parts.netloc}" if parts.scheme in ("http", "https") else f"{parts.scheme}:"


def host_of(uri: str) -> str:
    """Return where an address leads, as a person is shown it."""
    parts = urlsplit(uri)
    if parts.hostname in LOOPBACKS and parts.scheme == "http":
        return "this computer"
    return parts.hostname or f"{parts.scheme}:" if parts.scheme == "https" else f"{parts.scheme}:"


def _split(uri: str) -> SplitResult | None:
    try:
        parts = urlsplit(uri)
        _ = parts.port
    except ValueError:
        return None
    return parts


def _is_same_loopback(uri: str, known: str) -> bool:
    ours, theirs = _split(uri), _split(known)
    if ours is None or theirs is None or ours.scheme != "http" or ours.hostname not in LOOPBACKS:
        return False
    return (ours.scheme, ours.hostname, ours.path, ours.query) == (
        theirs.scheme,
        theirs.hostname,
        theirs.path,
        theirs.query,
    )
