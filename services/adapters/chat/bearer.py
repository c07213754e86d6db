"""Calls that carry a signed token (JWT, RS256) instead of a signature over their body, and the keys to check them by.

Source: RFC 7519, RFC 8725.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from services.domain.errors import HookUnverified, PlatformAway, PlatformRefused, PlatformThrottled
from services.domain.ports.chat import HookRequest

LEEWAY_S = 300
# Issuers ask that their keys be looked up once a day; one that is not known is looked for at once, but not more
# often than this, so that invented key ids cost nobody anything.
_FRESH_S = 86_400.0
_ASK_AGAIN_S = 60.0


@dataclass(frozen=True, slots=True)
class IssuerKey:
    """A public key, and for whom its issuer vouches with it (the Bot Framework's `endorsements`)."""

    key: RSAPublicKey
    endorsements: frozenset[str] = frozenset()


class IssuerKeys:
    """The keys of one issuer, by their ids. Fetched when first needed, and when one is asked for that is not there."""

    def __init__(self, fetch: Callable[[], Mapping[str, IssuerKey]]) -> None:
        self._fetch = fetch
        self._lock = threading.Lock()
        self._keys: Mapping[str, IssuerKey] = {}
        self._asked_at = self._fetched_at = float("-inf")

    def find(self, key_id: str) -> IssuerKey | None:
        """Return a key, or None. An issuer that is away leaves the keys as they were.

        Raises: PlatformAway when nothing was ever fetched and the issuer is away.
        """
        moment = time.monotonic()
        if key_id in self._keys and moment - self._fetched_at < _FRESH_S:
            return self._keys[key_id]
        with self._lock:
            if moment - self._asked_at >= _ASK_AGAIN_S or not self._keys:
                self._refresh()
        return self._keys.get(key_id)

    def _refresh(self) -> None:
        try:
            self._keys = self._fetch()
            self._fetched_at = time.monotonic()
        except (PlatformAway, PlatformThrottled, PlatformRefused) as error:
            if not self._keys:
                raise PlatformAway("The issuer's keys cannot be had.", retry_after_s=5.0) from error
        finally:
            self._asked_at = time.monotonic()


def read_bearer(request: HookRequest) -> str:
    """Return the token of a call. Raises: HookUnverified."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token.isascii() or not token.strip():
        raise HookUnverified("The request has no token.")
    return token.strip()


def read_unverified_issuer(token: str) -> str:
    """Return the issuer that a token names, to choose the keys by; nothing else of it is believed.

    Raises: HookUnverified.
    """
    try:
        issuer = jwt.decode(token, options={"verify_signature": False}).get("iss")
    except (jwt.PyJWTError, ValueError, RecursionError) as error:
        raise HookUnverified("The request's token is malformed.") from error
    return issuer if isinstance(issuer, str) else ""


def check_bearer(
    token: str,
    keys: IssuerKeys,
    *,
    issuers: Collection[str],
    audiences: Collection[str],
    received_at: datetime,
    endorsed_for: str = "",
) -> dict[str, Any]:
    """Return a token's claims: signed by a key of the issuer, for us, and within its time give or take five minutes.

    Raises: HookUnverified, PlatformAway while the issuer's keys cannot be had.
    """
    try:
        key_id = jwt.get_unverified_header(token).get("kid")
        found = keys.find(key_id) if isinstance(key_id, str) else None
        if found is None or (endorsed_for and endorsed_for not in found.endorsements):
            raise HookUnverified("The request's token is signed by nobody we know.")
        claims = jwt.decode(
            token,
            found.key,
            algorithms=["RS256"],
            audience=list(audiences),
            issuer=list(issuers),
            options={
                "require": ["exp", "iss", "aud"],
                # Judged below by the time at which the call came.
                "verify_exp": False,
                "verify_nbf": False,
                "verify_iat": False,
            },
        )
    except (jwt.PyJWTError, ValueError, TypeError, RecursionError) as error:
        raise HookUnverified("The request's token is not valid.") from error
    _check_time(claims, received_at.timestamp())
    return claims


def _check_time(claims: Mapping[str, Any], moment: float) -> None:
    ends, begins = claims["exp"], claims.get("nbf", claims.get("iat", 0))
    for value in (ends, begins):
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise HookUnverified("The request's token has no time.")
    if not begins - LEEWAY_S <= moment <= ends + LEEWAY_S:
        raise HookUnverified("The request's token has expired, or is not valid yet.")
