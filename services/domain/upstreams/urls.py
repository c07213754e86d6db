"""Which addresses a server may be registered at."""

from __future__ import annotations

from collections.abc import Collection
from urllib.parse import urlsplit

from services.domain.errors import Invalid
from services.kit.addresses import HostInvalid, find_address, is_public, normalise_host

MAX_URL_CHARS = 500


def check_url(text: str, internal_hosts: Collection[str]) -> str:
    """Return a server's URL in its one form. Raises: Invalid.

    What a name resolves to is checked when it is dialled, and not here: it may be another address by then.
    """
    if (
        len(text) > MAX_URL_CHARS
        or not text.isprintable()
        or not text.isascii()
        or " " in text
        or "\\" in text
    ):
        raise _invalid(f"at most {MAX_URL_CHARS} characters, without spaces; other alphabets percent-encoded")
    try:
        parts = urlsplit(text)
        port = parts.port
        host = normalise_host(parts.hostname or "")
    except (HostInvalid, ValueError) as error:
        raise _invalid("the host or the port is wrong") from error
    if parts.username is not None or parts.password is not None:
        raise _invalid("a credential does not belong into the address; give it as the credential")
    if parts.fragment:
        raise _invalid("no fragment (#…)")
    is_internal = host in internal_hosts
    if parts.scheme != "https" and not (parts.scheme == "http" and is_internal):
        raise _invalid("https is required")
    address = find_address(host)
    if address is not None and not is_public(address) and not is_internal:
        raise _invalid("the address is not on the public internet")
    netloc = f"[{host}]" if ":" in host else host
    return parts._replace(netloc=f"{netloc}:{port}" if port else netloc, path=parts.path or "/").geturl()


def _invalid(reason: str) -> Invalid:
    return Invalid("The address is not usable.", fields={"url": reason})
