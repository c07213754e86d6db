"""Signing keys: what a signature is checked with, and which requests were taken already."""

from __future__ import annotations

import hashlib
import uuid
from datetime import timedelta

from django.db import connections

from services.domain.identity.models import ApiToken, SignedNonce
from services.domain.vault.keyring import open_text
from services.kit.clock import now

SKEW = timedelta(seconds=60)
"""How far a request's own time may be from ours, in either direction."""


def all_tenants_list_keys(token_id: uuid.UUID) -> list[bytes]:
    """Return the live texts of a signing key, the newest first: one, or two while a rotation is under way."""
    row = ApiToken.objects.using("operator").filter(id=token_id).first()
    if row is None or row.sealed is None:
        return []
    live = [(row.sealed, row.key_id)]
    if row.previous_sealed is not None and row.previous_until is not None and row.previous_until > now():
        live.append((row.previous_sealed, row.previous_key_id))
    return [open_text(bytes(sealed), key_id, row.id).encode() for sealed, key_id in live]


def all_tenants_use_nonce(token_id: uuid.UUID, nonce: str) -> bool:
    """Say whether a key's nonce is new, and remember it for as long as its request could be sent again.

    In PostgreSQL, as Redis may forget at any moment, and one key's repeats must be refused by every node.
    """
    digest = hashlib.sha256(f"{token_id}:{nonce}".encode()).hexdigest()
    with connections["operator"].cursor() as cursor:
        cursor.execute(
            "INSERT INTO signed_nonce (digest, expires_at) VALUES (%s, %s) ON CONFLICT DO NOTHING",
            [digest, now() + 3 * SKEW],
        )
        return bool(cursor.rowcount == 1)


def all_tenants_forget_nonces() -> int:
    """Forget the requests that would be too old by now in any case."""
    return SignedNonce.objects.using("operator").filter(expires_at__lt=now()).delete()[0]
