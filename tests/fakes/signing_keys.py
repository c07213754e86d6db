"""The RSA keys of an issuer of tokens, for local servers: signing, publishing, rotating."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID
from jwt.algorithms import RSAAlgorithm

_BITS = 2048


class SigningKeys:
    """Keys by their ids. The newest signs; older ones are published until they are forgotten."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._keys: dict[str, rsa.RSAPrivateKey] = {}
        self.rotate()

    def rotate(self, *, forget_old: bool = False) -> str:
        """Make a new key, and return its id."""
        if forget_old:
            self._keys.clear()
        key_id = f"key-{next(self._numbers)}"
        self._keys[key_id] = rsa.generate_private_key(public_exponent=65537, key_size=_BITS)
        return key_id

    def sign(self, claims: dict[str, Any], *, key_id: str | None = None, algorithm: str = "RS256") -> str:
        """Make a token, by the newest key or under another id."""
        newest = list(self._keys)[-1]
        key = self._keys.get(key_id or newest, self._keys[newest])
        return jwt.encode(claims, key, algorithm=algorithm, headers={"kid": key_id or newest})

    def public_key_pem(self) -> bytes:
        """Return the newest public key, as anybody can have it."""
        return (
            list(self._keys.values())[-1]
            .public_key()
            .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        )

    def jwks(self, **fields: Any) -> dict[str, Any]:
        """Return the public keys as a JSON Web Key Set; `fields` are added to each."""
        keys = []
        for key_id, key in self._keys.items():
            public = RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
            keys.append({**public, "kid": key_id, "use": "sig", "alg": "RS256", **fields})
        return {"keys": keys}

    def certificates(self) -> dict[str, str]:
        """Return the public keys as certificates in PEM, by their ids."""
        return {key_id: _certificate(key) for key_id, key in self._keys.items()}


def _certificate(key: rsa.RSAPrivateKey) -> str:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "issuer.test")])
    moment = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(moment - timedelta(days=1))
        .not_valid_after(moment + timedelta(days=30))
        .sign(key, hashes.SHA256())
    )
    return made.public_bytes(serialization.Encoding.PEM).decode()
