"""The installation's VAPID key: made once, sealed, its public half given to browsers.

Source: RFC 8292, section 3.2.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from pydantic import SecretStr

from services.domain.push.models import PushKey
from services.domain.vault.keyring import open_text, seal_text
from services.kit.ids import uuid7


@dataclass(frozen=True, slots=True)
class VapidKey:
    """The private key as PEM, the public one as browsers take it: base64url of the point, without padding."""

    private_pem: SecretStr
    public: str


def ensure_push_key() -> None:
    """Make the key where there is none. Two that do so at once leave one."""
    if PushKey.objects.using("operator").exists():
        return
    private = ec.generate_private_key(ec.SECP256R1())
    point = private.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    row_id = uuid7()
    sealed = seal_text(pem, row_id)
    row = PushKey(
        id=row_id,
        sealed=sealed.blob,
        key_id=sealed.key_id,
        public=base64.urlsafe_b64encode(point).rstrip(b"=").decode(),
    )
    PushKey.objects.using("operator").bulk_create([row], ignore_conflicts=True)


def get_public_key() -> str:
    """Return what browsers subscribe for."""
    return _row().public


def get_vapid_key() -> VapidKey:
    """Open the key. Raises: VaultError."""
    row = _row()
    return VapidKey(SecretStr(open_text(row.sealed, row.key_id, row.id)), row.public)


def _row() -> PushKey:
    ensure_push_key()
    return PushKey.objects.using("operator").get()
