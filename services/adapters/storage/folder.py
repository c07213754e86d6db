"""Objects as files of a folder: the default on one machine, or on several that share the folder."""

from __future__ import annotations

import contextlib
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from services.adapters.storage.reading import MeasuredReader
from services.domain.errors import ObjectMissing, SlipwayError, StorageAway, StorageRefused
from services.domain.ports.storage import StoredObject, check_key, check_prefix

COPY_BYTES = 1024**2
PUBLISH_TRIES = 5
# Begins with a dot: no key does, so no object can be mistaken for a file that is being written.
UNFINISHED = ".unfinished"


class FolderStorage:
    """Each object is a file that appears whole, by a rename, after its bytes have reached the disk."""

    kind = "folder"

    def __init__(self, root: Path) -> None:
        self._root = root

    def put(self, key: str, stream: BinaryIO) -> StoredObject:
        path = self._path(key)
        reader = MeasuredReader(stream)
        with _failures():
            unfinished = self._make_folder(self._root / UNFINISHED) / uuid.uuid4().hex
            try:
                with os.fdopen(_create_private(unfinished), "wb") as target:
                    shutil.copyfileobj(reader, target, COPY_BYTES)
                    target.flush()
                    os.fsync(target.fileno())
                self._publish(unfinished, path)
            finally:
                unfinished.unlink(missing_ok=True)
        return StoredObject(key, reader.size_bytes, reader.sha256)

    def open(self, key: str) -> BinaryIO:
        with _failures():
            return self._path(key).open("rb")

    def delete(self, key: str) -> None:
        path = self._path(key)
        with _failures():
            path.unlink(missing_ok=True)
            for folder in path.parents:
                if folder == self._root or not _remove_if_empty(folder):
                    return

    def exists(self, key: str) -> bool:
        with _failures():
            return self._path(key).is_file()

    def list(self, prefix: str) -> Iterator[str]:
        folder = self._root / check_prefix(prefix)
        with _failures():
            found = sorted(path for path in folder.rglob("*") if path.is_file())
        yield from (path.relative_to(self._root).as_posix() for path in found)

    def _publish(self, unfinished: Path, path: Path) -> None:
        """Give a file its name. Somebody may remove the folder, which is empty until then: it is made again."""
        for tries_left in reversed(range(PUBLISH_TRIES)):
            self._make_folder(path.parent)
            try:
                unfinished.replace(path)
            except FileNotFoundError:
                if not tries_left:
                    raise
            else:
                _sync_folder(path.parent)
                return

    def _path(self, key: str) -> Path:
        return self._root / check_key(key)

    def _make_folder(self, folder: Path) -> Path:
        """Make a folder and those above it, each of them on the disk before what is in it."""
        if not folder.is_dir():
            if folder != self._root:
                self._make_folder(folder.parent)
            folder.mkdir(parents=folder == self._root, exist_ok=True, mode=0o700)
            _sync_folder(folder.parent)
        return folder


def _create_private(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove_if_empty(folder: Path) -> bool:
    try:
        folder.rmdir()
    except OSError:
        return False
    return True


@contextlib.contextmanager
def _failures() -> Iterator[None]:
    """Turn what the file system says into the port's errors. What the given stream itself raises passes."""
    try:
        yield
    except SlipwayError:
        raise
    except FileNotFoundError as error:
        raise ObjectMissing("There is no such object.") from error
    except (PermissionError, IsADirectoryError, NotADirectoryError, FileExistsError) as error:
        raise StorageRefused("The folder of objects cannot be used.") from error
    except OSError as error:
        raise StorageAway(f"The folder of objects fails: {os.strerror(error.errno or 0)}.") from error
