"""Envelope encryption: each value has a data key of its own, sealed by a master key that can be rotated."""

from __future__ import annotations

import base64
import os
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_NONCE_BYTES = 12
_KEY_BYTES = 32
_SEALED_KEY_BYTES = _NONCE_BYTES + _KEY_BYTES + 16
_DAMAGED = "the sealed value is damaged or belongs to another row"


class VaultError(Exception):
    """A value cannot be opened: the key is unknown, or the bytes are not what was sealed."""


@dataclass(frozen=True, slots=True)
class Sealed:
    """`key_id` names the master key; `blob` is the sealed data key, then nonce and ciphertext."""

    key_id: str
    blob: bytes


class Keyring:
    """The master keys by id. The first one seals; all of them open."""

    def __init__(self, keys: dict[str, bytes]) -> None:
        if not keys:
            raise VaultError("no vault key is configured")
        self._keys = keys
        self.sealing_key_id = next(iter(keys))

    @classmethod
    def parse(cls, text: str) -> Keyring:
        """Read `<id>:<base64 of 32 bytes>[,…]`, newest first. Raises: VaultError."""
        keys: dict[str, bytes] = {}
        for entry in filter(None, (part.strip() for part in text.split(","))):
            key_id, _, encoded = entry.partition(":")
            key = base64.b64decode(encoded)
            if not key_id or len(key) != _KEY_BYTES:
                raise VaultError("a vault key is <id>:<base64 of 32 bytes>")
            keys[key_id] = key
        return cls(keys)

    def seal(self, plaintext: bytes, *, context: bytes) -> Sealed:
        """Encrypt; the same `context` (the row's identity) must be given to open, so rows cannot be swapped."""
        data_key, nonce = AESGCM.generate_key(256), os.urandom(_NONCE_BYTES)
        body = AESGCM(data_key).encrypt(nonce, plaintext, context)
        return Sealed(self.sealing_key_id, self._wrap(data_key, context) + nonce + body)

    def open(self, sealed: Sealed, *, context: bytes) -> bytes:
        """Decrypt. Raises: VaultError."""
        data_key, rest = self._unwrap(sealed, context), sealed.blob[_SEALED_KEY_BYTES:]
        try:
            return AESGCM(data_key).decrypt(rest[:_NONCE_BYTES], rest[_NONCE_BYTES:], context)
        except (InvalidTag, ValueError) as error:
            raise VaultError(_DAMAGED) from error

    def reseal(self, sealed: Sealed, *, context: bytes) -> Sealed:
        """Wrap the data key under the newest master key; the value's own bytes stay as they are, unopened.

        The same object when it is under the newest key already. Raises: VaultError.
        """
        if sealed.key_id == self.sealing_key_id:
            return sealed
        data_key = self._unwrap(sealed, context)
        return Sealed(self.sealing_key_id, self._wrap(data_key, context) + sealed.blob[_SEALED_KEY_BYTES:])

    def _wrap(self, data_key: bytes, context: bytes) -> bytes:
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + AESGCM(self._keys[self.sealing_key_id]).encrypt(nonce, data_key, context)

    def _unwrap(self, sealed: Sealed, context: bytes) -> bytes:
        master = self._keys.get(sealed.key_id)
        if master is None:
            raise VaultError(f"vault key {sealed.key_id} is not configured")
        head = sealed.blob[:_SEALED_KEY_BYTES]
        try:
            return AESGCM(master).decrypt(head[:_NONCE_BYTES], head[_NONCE_BYTES:], context)
        except (InvalidTag, ValueError) as error:
            raise VaultError(_DAMAGED) from error
