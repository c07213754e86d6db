"""Packs a folder of the workspace as a tar.gz, piece by piece; links are packed as links, and never followed."""

from __future__ import annotations

import os
import stat
import tarfile
import zlib
from collections.abc import Generator, Iterator

from agent_image.runner.files import FOLDER, MAX_DEPTH, Tree, open_regular

_READ_BYTES = 128 * 1024
_PIECE_BYTES = 64 * 1024


def pack(tree: Tree, parts: list[str]) -> Generator[bytes, None, None]:
    """Return the archive in pieces. What cannot be read, and what is neither file, folder nor link, is left out."""
    packer = zlib.compressobj(6, zlib.DEFLATED, 31)
    waiting = bytearray()
    for plain in _tar(tree, parts):
        waiting += packer.compress(plain)
        if len(waiting) >= _PIECE_BYTES:
            yield bytes(waiting)
            waiting.clear()
    yield bytes(waiting) + packer.compress(b"\0" * (2 * tarfile.BLOCKSIZE)) + packer.flush()


def _tar(tree: Tree, parts: list[str]) -> Iterator[bytes]:
    if parts and tree.describe(parts)["kind"] != "folder":
        with tree.opened(parts[:-1]) as folder:
            yield from _one(folder, parts[-1], parts[-1])
        return
    with tree.opened(parts) as folder:
        yield from _all_of(folder, parts[-1] if parts else "", depth=0)


def _all_of(folder: int, prefix: str, *, depth: int) -> Iterator[bytes]:
    for name in sorted(os.listdir(folder)):
        path = f"{prefix}/{name}" if prefix else name
        yield from _one(folder, name, path)
        if depth >= MAX_DEPTH:
            continue
        try:
            below = os.open(name, FOLDER, dir_fd=folder)
        except OSError:
            continue  # not a folder, or one that is not open to us
        try:
            yield from _all_of(below, path, depth=depth + 1)
        except OSError:
            continue  # it went away
        finally:
            os.close(below)


def _one(folder: int, name: str, path: str) -> Iterator[bytes]:
    """Pack one entry: its header, and a file's content in exactly the size that the header says."""
    try:
        found = os.lstat(name, dir_fd=folder)
    except OSError:
        return
    entry = tarfile.TarInfo(path.encode("utf-8", "surrogateescape").decode("utf-8", "replace"))
    entry.mode, entry.mtime = stat.S_IMODE(found.st_mode), max(0, int(found.st_mtime))
    if stat.S_ISDIR(found.st_mode):
        entry.type = tarfile.DIRTYPE
    elif stat.S_ISLNK(found.st_mode):
        entry.type = tarfile.SYMTYPE
        entry.linkname = os.readlink(name, dir_fd=folder).encode("utf-8", "replace").decode()
    elif stat.S_ISREG(found.st_mode):
        yield from _file(folder, name, entry)
        return
    else:
        return
    yield entry.tobuf(tarfile.PAX_FORMAT)


def _file(folder: int, name: str, entry: tarfile.TarInfo) -> Iterator[bytes]:
    try:
        handle, found = open_regular(folder, name)
    except OSError:
        return
    try:
        entry.size = left = found.st_size
        yield entry.tobuf(tarfile.PAX_FORMAT)
        while left > 0:
            chunk = os.read(handle, min(left, _READ_BYTES))
            if not chunk:
                break
            left -= len(chunk)
            yield chunk
        yield from (b"\0" * min(left - done, _READ_BYTES) for done in range(0, left, _READ_BYTES))
        yield b"\0" * (-entry.size % tarfile.BLOCKSIZE)
    finally:
        os.close(handle)
