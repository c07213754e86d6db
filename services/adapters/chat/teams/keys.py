"""The keys with which the Bot Framework signs its calls.

Source: https://learn.microsoft.com/azure/bot-service/rest-api/bot-framework-rest-connector-authentication
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from jwt.algorithms import RSAAlgorithm

from services.adapters.chat.bearer import IssuerKey
from services.adapters.chat.calls import away, read_json, request

_LABEL = "The Bot Framework"
_METADATA = "/v1/.well-known/openidconfiguration"


def fetch_keys(base_url: str) -> Mapping[str, IssuerKey]:
    """Fetch the keys by the address that the metadata name, which must be below `base_url`. Raises: PlatformAway."""
    base = base_url.rstrip("/")
    address = _get(f"{base}{_METADATA}").get("jwks_uri")
    if not isinstance(address, str) or not address.startswith(f"{base}/"):
        raise away(_LABEL, may_have_arrived=False)
    given = _get(address).get("keys")
    found = (_read(key) for key in given if isinstance(key, dict)) if isinstance(given, list) else ()
    return {name: key for name, key in found if key is not None}


def _get(url: str) -> dict[str, Any]:
    answer = request(_LABEL, "GET", url)
    if answer.status_code != 200:
        raise away(_LABEL, may_have_arrived=False)
    return read_json(answer)


def _read(given: dict[str, Any]) -> tuple[str, IssuerKey | None]:
    try:
        key = RSAAlgorithm.from_jwk(given)
    except (jwt.PyJWTError, ValueError, TypeError):
        return "", None
    endorsements = given.get("endorsements")
    named = frozenset(map(str, endorsements)) if isinstance(endorsements, list) else frozenset()
    return str(given.get("kid", "")), IssuerKey(key, named) if isinstance(key, RSAPublicKey) else None
