"""Where a request came from: the address, the device and the id that records of it carry."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Origin:
    """One request's own words about itself, but for the address. Empty outside of any request."""

    address: str = ""
    device: str = ""
    request_id: str = ""


_NOWHERE = Origin()
current_origin: ContextVar[Origin] = ContextVar("current_origin", default=_NOWHERE)


def caller_address(meta: Mapping[str, object], *, proxies: int) -> str:
    """Return a request's address; `proxies` is how many of our own stand in front, each of which adds one name.

    What a stranger wrote into `X-Forwarded-For` stands further left than what our proxies added, and is not read.
    """
    if proxies:
        names = [
            name.strip() for name in str(meta.get("HTTP_X_FORWARDED_FOR", "")).split(",") if name.strip()
        ]
        if len(names) >= proxies:
            return names[-proxies][:45]
    return str(meta.get("REMOTE_ADDR", ""))[:45]
