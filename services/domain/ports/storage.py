"""The port of object storage: whole objects under keys, written once and read as streams."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Protocol

from services.domain.errors import StorageRefused

MAX_KEY_CHARS = 500
_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*")


@dataclass(frozen=True, slots=True)
class StoredObject:
    """What was stored: its key, its size, the hash of its bytes as they were read."""

    key: str
    size_bytes: int
    sha256: str


class ObjectStorage(Protocol):
    """A place for objects that outlives the hosts.

    Raises: StorageAway when it may work later, StorageRefused when it will not.
    """

    kind: str

    def put(self, key: str, stream: BinaryIO) -> StoredObject:
        """Store all that a stream gives under a key; readers see the old object or the whole new one, never a part."""
        ...

    def open(self, key: str) -> BinaryIO:
        """Return an object's bytes as a stream, to be closed by the caller. Raises: ObjectMissing."""
        ...

    def delete(self, key: str) -> None:
        """Remove an object; one that is not there is no error."""
        ...

    def exists(self, key: str) -> bool: ...

    def list(self, prefix: str) -> Iterator[str]:
        """Yield the keys below a prefix that ends with a slash, in their order."""
        ...


def check_key(key: str) -> str:
    """Return a key that is safe as a path and as an address. Raises: StorageRefused."""
    if len(key) > MAX_KEY_CHARS or _KEY.fullmatch(key) is None:
        raise StorageRefused("This is no key of an object.")
    return key


def check_prefix(prefix: str) -> str:
    """Return a prefix that names a folder of keys. Raises: StorageRefused."""
    if not prefix.endswith("/"):
        raise StorageRefused("A prefix ends with a slash.")
    return check_key(prefix[:-1]) + "/"
