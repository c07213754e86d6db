"""The workspace's files, for people: every path is opened beneath the workspace, folder by folder, through no link.

All of this blocks, and runs in threads. Whoever works in the sandbox may change anything at any moment: what was
opened stays what it is, and nothing is looked up twice by name where the answer matters.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from agent_image.runner.ids import new_uuid

MAX_PATH_BYTES = 4_000
MAX_DEPTH = 200
MAX_ENTRIES = 10_000
MAX_LISTED_BYTES = 2_000_000  # a frame holds 4 MiB
_ENTRY_BYTES = 200
FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class FileRefused(Exception):
    """What was asked for is not possible: a stable code, and a message that is safe to show."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


_CODES = {
    errno.ENOENT: ("file_missing", "There is no such file or folder."),
    errno.ENOTDIR: ("not_a_folder", "A part of the path is not a folder."),
    errno.EISDIR: ("is_a_folder", "This is a folder."),
    errno.EEXIST: ("file_exists", "There is something of this name already."),
    errno.ENOTEMPTY: ("file_exists", "There is something of this name already."),
    errno.ENOSPC: ("disk_full", "The workspace has no room left."),
    errno.EDQUOT: ("disk_full", "The workspace has no room left."),
    errno.EFBIG: ("disk_full", "The workspace has no room left."),
    errno.EACCES: ("file_denied", "The file's permissions do not allow this."),
    errno.EPERM: ("file_denied", "The file's permissions do not allow this."),
    errno.EROFS: ("file_denied", "The file's permissions do not allow this."),
    errno.ELOOP: ("path_invalid", "Links are not followed."),
    errno.ENAMETOOLONG: ("path_invalid", "The path is too long."),
    errno.EINVAL: ("path_invalid", "The path cannot be used for this."),
    errno.EXDEV: ("path_invalid", "The path cannot be used for this."),
    errno.EBUSY: ("path_invalid", "The path cannot be used for this."),
    errno.ENXIO: ("path_invalid", "Only files and folders can be used."),
    errno.EMFILE: ("sandbox_busy", "The sandbox has no room for this now."),
    errno.ENOMEM: ("sandbox_busy", "The sandbox has no room for this now."),
}


@contextlib.contextmanager
def refusals() -> Iterator[None]:
    """Turn what the system says into what a person is told. Raises: FileRefused."""
    try:
        yield
    except OSError as exc:
        code, message = _CODES.get(exc.errno or 0, ("file_failed", "The file system refused this."))
        raise FileRefused(code, message) from exc


def parse_path(path: object) -> list[str]:
    """Return the parts of a path below the workspace; none for the workspace itself. Raises: FileRefused."""
    if not isinstance(path, str) or "\0" in path:
        raise FileRefused("path_invalid", "The path is not valid.")
    if len(path.encode("utf-8", "surrogatepass")) > MAX_PATH_BYTES:
        raise FileRefused("path_invalid", "The path is too long.")
    if path.startswith("/"):
        raise FileRefused("path_invalid", "A path is relative to the workspace.")
    parts = path.rstrip("/").split("/") if path else []
    if len(parts) > MAX_DEPTH or any(part in ("", ".", "..") for part in parts):
        raise FileRefused("path_invalid", "A path has no empty parts, and none that is . or ..")
    return parts


class Tree:
    """One workspace's files. Returns and takes paths relative to its root."""

    def __init__(self, root: Path) -> None:
        self._root = root

    @contextlib.contextmanager
    def opened(self, parts: list[str], *, is_made: bool = False) -> Iterator[int]:
        """Open a folder, one part after the other. `is_made` makes what is missing."""
        handle = os.open(self._root, FOLDER)
        try:
            for part in parts:
                if is_made:
                    with contextlib.suppress(FileExistsError):
                        os.mkdir(part, dir_fd=handle)
                below = os.open(part, FOLDER, dir_fd=handle)
                os.close(handle)
                handle = below
            yield handle
        finally:
            os.close(handle)

    def list_folder(self, parts: list[str]) -> dict[str, Any]:
        """List a folder by name, or describe the one file that the path names."""
        if parts and not self._is_folder(parts):
            return {"entries": [self.describe(parts)], "truncated": False}
        with self.opened(parts) as folder:
            names = sorted(os.listdir(folder))  # noqa: PTH208 (an open folder)
            entries, size = [], 0
            for name in names[:MAX_ENTRIES]:
                with contextlib.suppress(FileNotFoundError):
                    entries.append(_describe(os.lstat(name, dir_fd=folder), [*parts, name]))
                    size += (
                        _ENTRY_BYTES + 2 * len(name.encode("utf-8", "surrogateescape")) + len("".join(parts))
                    )
                if size > MAX_LISTED_BYTES:
                    break
        return {"entries": entries, "truncated": len(entries) < len(names)}

    def describe(self, parts: list[str]) -> dict[str, Any]:
        """Describe one file or folder; a link as a link."""
        if not parts:
            with self.opened([]) as folder:
                return _describe(os.fstat(folder), [])
        with self.opened(parts[:-1]) as folder:
            return _describe(os.lstat(parts[-1], dir_fd=folder), parts)

    def _is_folder(self, parts: list[str]) -> bool:
        return bool(self.describe(parts)["kind"] == "folder")

    def open_file(self, parts: list[str]) -> tuple[int, os.stat_result]:
        """Open a regular file to read. Neither a pipe nor a device can hold us up."""
        if not parts:
            raise IsADirectoryError(errno.EISDIR, "")
        with self.opened(parts[:-1]) as folder:
            return open_regular(folder, parts[-1])

    def make_folder(self, parts: list[str]) -> dict[str, Any]:
        """Make a folder, and those above it that are missing."""
        if not parts:
            raise FileExistsError(errno.EEXIST, "")
        with self.opened(parts[:-1], is_made=True) as folder:
            os.mkdir(parts[-1], dir_fd=folder)
        return self.describe(parts)

    def move(self, source: list[str], target: list[str]) -> dict[str, Any]:
        """Move or rename; what is at the target already stays."""
        if not source or not target:
            raise OSError(errno.EINVAL, "")
        with self.opened(source[:-1]) as from_folder, self.opened(target[:-1], is_made=True) as to_folder:
            with contextlib.suppress(FileNotFoundError):
                os.lstat(target[-1], dir_fd=to_folder)
                raise FileExistsError(errno.EEXIST, "")
            os.rename(source[-1], target[-1], src_dir_fd=from_folder, dst_dir_fd=to_folder)
        return self.describe(target)

    def delete(self, parts: list[str]) -> None:
        """Delete a file, a link, or a folder with all that is in it."""
        if not parts:
            raise FileRefused("path_invalid", "The workspace itself cannot be deleted.")
        with self.opened(parts[:-1]) as folder:
            _delete(folder, parts[-1], depth=0)

    def begin_upload(self, parts: list[str], *, is_new: bool) -> Upload:
        """Begin to write a file; nobody sees it before it is whole."""
        if not parts:
            raise IsADirectoryError(errno.EISDIR, "")
        with self.opened(parts[:-1], is_made=True) as folder:
            mode = 0o666
            with contextlib.suppress(FileNotFoundError):
                known = os.lstat(parts[-1], dir_fd=folder)
                if is_new:
                    raise FileExistsError(errno.EEXIST, "")
                if stat.S_ISDIR(known.st_mode):
                    raise IsADirectoryError(errno.EISDIR, "")
                if stat.S_ISREG(known.st_mode):
                    mode = stat.S_IMODE(known.st_mode) & 0o777
            return Upload(os.dup(folder), parts, mode=mode, is_new=is_new)


class Upload:
    """A file on its way: written under a name of its own beside its place, then put there in one step."""

    def __init__(self, folder: int, parts: list[str], *, mode: int, is_new: bool) -> None:
        self._folder = folder
        self._parts = parts
        self._is_new = is_new
        self._part_name = f".upload-{new_uuid()}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            self._file = os.open(self._part_name, flags, mode, dir_fd=folder)
        except OSError:
            os.close(folder)
            raise

    def write(self, chunk: bytes) -> None:
        view = memoryview(chunk)
        while view:
            view = view[os.write(self._file, view) :]

    def finish(self) -> dict[str, Any]:
        """Put the file into its place. A new one must not have appeared there meanwhile."""
        name = self._parts[-1]
        if self._is_new:
            os.link(self._part_name, name, src_dir_fd=self._folder, dst_dir_fd=self._folder)
        else:
            os.rename(self._part_name, name, src_dir_fd=self._folder, dst_dir_fd=self._folder)
        return _describe(os.fstat(self._file), self._parts)

    def close(self) -> None:
        """Let go of it; what was not finished is gone."""
        with contextlib.suppress(OSError):
            os.unlink(self._part_name, dir_fd=self._folder)
        os.close(self._file)
        os.close(self._folder)


def open_regular(folder: int, name: str) -> tuple[int, os.stat_result]:
    """Open a regular file in an open folder, to read."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
    if stat.S_ISCHR(mode := os.lstat(name, dir_fd=folder).st_mode) or stat.S_ISBLK(mode):
        raise OSError(errno.ENXIO, "")  # opening a device may already do something
    handle = os.open(name, flags, dir_fd=folder)
    found = os.fstat(handle)
    if stat.S_ISREG(found.st_mode):
        return handle, found
    os.close(handle)
    raise OSError(errno.EISDIR if stat.S_ISDIR(found.st_mode) else errno.ENXIO, "")


def _delete(folder: int, name: str, *, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise OSError(errno.ENAMETOOLONG, "")
    try:
        os.unlink(name, dir_fd=folder)
    except (IsADirectoryError, PermissionError):
        if not stat.S_ISDIR(os.lstat(name, dir_fd=folder).st_mode):
            raise
        below = os.open(name, FOLDER, dir_fd=folder)
        try:
            for child in os.listdir(below):  # noqa: PTH208
                with contextlib.suppress(FileNotFoundError):
                    _delete(below, child, depth=depth + 1)
        finally:
            os.close(below)
        os.rmdir(name, dir_fd=folder)


def _describe(found: os.stat_result, parts: list[str]) -> dict[str, Any]:
    kinds = {stat.S_IFREG: "file", stat.S_IFDIR: "folder", stat.S_IFLNK: "link"}
    shown = [part.encode("utf-8", "surrogateescape").decode("utf-8", "replace") for part in parts]
    return {
        "name": shown[-1] if shown else "",
        "path": "/".join(shown),
        "kind": kinds.get(stat.S_IFMT(found.st_mode), "other"),
        "size_bytes": found.st_size,
        "modified_at": moment_of(found.st_mtime),
        "mode": f"{stat.S_IMODE(found.st_mode):04o}",
        "etag": etag_of(found),
    }


def moment_of(seconds: float) -> str:
    """Format a file's time as RFC 3339; a file may claim any time, also one that no calendar has."""
    seconds = min(max(seconds, 0.0), 253_402_300_799.0)
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def etag_of(found: os.stat_result) -> str:
    return f"{found.st_ino:x}-{found.st_mtime_ns:x}-{found.st_size:x}"
