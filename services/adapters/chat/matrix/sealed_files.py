"""Files in encrypted rooms: what is uploaded is ciphertext, and its key is in the event. Pure.

Source: https://spec.matrix.org/v1.11/client-server-api/#sending-encrypted-attachments
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
from collections.abc import Mapping
from typing import Any

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from services.domain.errors import PlatformRefused


def seal_file(data: bytes) -> tuple[bytes, dict[str, Any]]:
    """Return a file's ciphertext, and what an event says of it, but for its address."""
    # The second half of the counter begins at zero, so that it never overflows into the first.
    key, counter = os.urandom(32), os.urandom(8) + bytes(8)
    sealed = _apply(key, counter, data)
    return sealed, {
        "v": "v2",
        "key": {
            "kty": "oct",
            "alg": "A256CTR",
            "ext": True,
            "key_ops": ["encrypt", "decrypt"],
            "k": base64.urlsafe_b64encode(key).decode().rstrip("="),
        },
        "iv": _short(counter),
        "hashes": {"sha256": _short(hashlib.sha256(sealed).digest())},
    }


def file_ref(file: Mapping[str, Any]) -> str:
    """Return what an encrypted file is asked for by: its address, its key, where its counter begins, its digest.

    Raises: KeyError, TypeError for what is no such file.
    """
    return f"{file['url']}#{file['key']['k']}.{file['iv']}.{file['hashes']['sha256']}"


def open_file(fragment: str, sealed: bytes) -> bytes:
    """Return a file in clear, by what stands behind the # of its reference. Raises: PlatformRefused."""
    try:
        key, counter, digest = (_bytes(part) for part in fragment.split("."))
        if not hmac.compare_digest(hashlib.sha256(sealed).digest(), digest):
            raise PlatformRefused("The file is not the one that was sent.", answer="digest")
        return _apply(key, counter, sealed)
    except ValueError as error:
        raise PlatformRefused("The file cannot be decrypted.", answer="key") from error


def _apply(key: bytes, counter: bytes, data: bytes) -> bytes:
    cipher = Cipher(algorithms.AES256(key), modes.CTR(counter)).encryptor()
    return cipher.update(data) + cipher.finalize()


def _short(value: bytes) -> str:
    return base64.b64encode(value).decode().rstrip("=")


def _bytes(text: str) -> bytes:
    # Keys come in the alphabet of addresses, the others in the usual one.
    return base64.b64decode(text.replace("-", "+").replace("_", "/") + "==")
