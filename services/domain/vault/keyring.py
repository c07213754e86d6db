"""The installation's keyring."""

from __future__ import annotations

import functools
import json
import uuid
from typing import Any

from services.kit.environment import environment
from services.kit.vault import Keyring, Sealed


@functools.cache
def keyring() -> Keyring:
    """Return the keys of this installation, read once."""
    return Keyring.parse(environment().vault_keys.get_secret_value())


def seal_text(text: str, row_id: uuid.UUID) -> Sealed:
    """Seal a text for one row."""
    return keyring().seal(text.encode(), context=row_id.bytes)


def open_text(blob: bytes | memoryview, key_id: str, row_id: uuid.UUID) -> str:
    """Open what `seal_text` sealed. Raises: VaultError."""
    return keyring().open(Sealed(key_id, bytes(blob)), context=row_id.bytes).decode()


def seal_json(value: Any, row_id: uuid.UUID) -> Sealed:
    """Seal a JSON value for one row."""
    return seal_text(json.dumps(value), row_id)


def open_json(blob: bytes | memoryview, key_id: str, row_id: uuid.UUID) -> Any:
    """Open what `seal_json` sealed. Raises: VaultError."""
    return json.loads(open_text(blob, key_id, row_id))
