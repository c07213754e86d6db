"""Signed requests: HTTP message signatures by HMAC, fresh to a minute, taken once.

Source: RFC 9421 (signatures), RFC 9530 (Content-Digest).
"""

from __future__ import annotations

import re
import uuid
from datetime import timedelta

from django.conf import settings
from django.http import HttpRequest
from http_message_signatures import (
    HTTPMessageVerifier,
    HTTPSignatureKeyResolver,
    InvalidSignature,
    algorithms,
)

from services.api.http.bodies import read_raw
from services.domain.actors import Actor
from services.domain.errors import TokenInvalid
from services.domain.identity.queries import all_tenants_find_signer
from services.domain.identity.signing import SKEW, all_tenants_list_keys, all_tenants_use_nonce

TAG = "slipway"
COVERED = ("@method", "@path", "@query")
MAX_HEADER_CHARS = 2_000
_KEY_ID = re.compile(r';\s*keyid="([0-9a-f-]{36})"')


class _Verifier(HTTPMessageVerifier):
    max_clock_skew = timedelta(0)


class _OneKey(HTTPSignatureKeyResolver):
    def __init__(self, key: bytes) -> None:
        self._key = key

    def resolve_public_key(self, key_id: str) -> bytes:
        return self._key

    resolve_private_key = resolve_public_key


class _Message:
    """A request as the library reads it. The host is not ours to know behind proxies, and is not covered."""

    def __init__(self, request: HttpRequest) -> None:
        self.method = request.method or ""
        self.url = request.build_absolute_uri()
        self.headers = dict(request.headers.items())


def authenticate_signed(request: HttpRequest) -> Actor:
    """Return whose key signed a request. Raises: TokenInvalid, alike for all that can be wrong; BodyTooLarge.

    Covered have to be method, path and query, and the body by its digest; `created` is within a minute, and the
    nonce is new. Either of a key's two live texts will do.
    """
    invalid = TokenInvalid("The signature is wrong, too old, or was used before.")
    shown = request.headers["Signature-Input"]
    found = _KEY_ID.search(shown)
    if found is None or len(shown) > MAX_HEADER_CHARS:
        raise invalid
    try:
        token_id = uuid.UUID(found[1])
    except ValueError as error:
        raise invalid from error
    actor = all_tenants_find_signer(token_id)
    if actor is None:
        raise invalid
    body = read_raw(request, max_bytes=settings.MAX_BODY_BYTES)
    nonce = _verified_nonce(request, token_id, body)
    # Last, so that who has no key fills no table.
    if nonce is None or not all_tenants_use_nonce(token_id, nonce):
        raise invalid
    return actor


def _verified_nonce(request: HttpRequest, token_id: uuid.UUID, body: bytes) -> str | None:
    """Return the nonce of a good signature, None of any other."""
    message = _Message(request)
    for key in all_tenants_list_keys(token_id):
        verifier = _Verifier(signature_algorithm=algorithms.HMAC_SHA256, key_resolver=_OneKey(key))
        # A sender's clock may be ahead as far as it may be behind.
        verifier.max_clock_skew = SKEW
        try:
            (result,) = verifier.verify(
                message,
                max_age=timedelta(0),
                expect_tag=TAG,
                require_components=COVERED,
                body=body,
            )
        except InvalidSignature:
            continue
        if result.parameters.get("keyid") == str(token_id) and result.nonce and len(result.nonce) >= 16:
            return str(result.nonce)
    return None
