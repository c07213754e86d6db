"""Whether a mail is from whom it says: what the receiving server found out, and nobody else.

A mail may bear Authentication-Results of anybody's making. Those count that begin with the name of the link's own
server, which takes away forged ones before it adds its own. Pure.

Source: RFC 8601, RFC 7489 (DMARC)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from authres import AuthenticationResultsHeader, AuthResError

_MAX_HEADERS = 20
_MAX_CHARS = 4_000


def reason_to_doubt(headers: Sequence[str], authserv_id: str, address: str) -> str | None:
    """Return why a sender is unverified, or None for one that is verified.

    `headers` are the values of all Authentication-Results of a mail. DMARC decides where the server checked it; else a
    valid DKIM signature of the sender's own domain does.
    """
    if not authserv_id:
        return "this link trusts no server's checks"
    domain = address.rpartition("@")[2].lower()
    results = list(_results(headers, authserv_id))
    dmarc = [(result, _property(result, "header", "from")) for result in results if result.method == "dmarc"]
    if dmarc:
        # A forged pass beside the server's own verdict must not win.
        bad = [result.result for result, _ in dmarc if result.result != "pass"]
        if bad:
            return f"dmarc={bad[0]}"
        if any(checked and checked != domain for _, checked in dmarc):
            return "dmarc is of another domain"
        return None
    dkim = [result for result in results if result.method == "dkim"]
    if any(result.result == "pass" and _is_of(domain, result) for result in dkim):
        return None
    if not dkim:
        return "no check of its sender"
    return f"dkim={dkim[0].result}" if dkim[0].result != "pass" else "dkim is of another domain"


def _results(headers: Sequence[str], authserv_id: str) -> Iterator[Any]:
    for value in headers[:_MAX_HEADERS]:
        try:
            header = AuthenticationResultsHeader.parse_value(" ".join(value[:_MAX_CHARS].split()))
        except AuthResError:
            continue
        if str(header.authserv_id).lower() == authserv_id.lower():
            yield from header.results


def _is_of(domain: str, result: Any) -> bool:
    """Say whether a signature is of the sender's domain, or of the one above it."""
    signed = _property(result, "header", "d") or _property(result, "header", "i").rpartition("@")[2]
    return signed == domain or ("." in signed and domain.endswith(f".{signed}"))


def _property(result: Any, kind: str, name: str) -> str:
    for found in result.properties:
        if (found.type, found.name) == (kind, name):
            return str(found.value).strip().lower().rstrip(".")
    return ""
