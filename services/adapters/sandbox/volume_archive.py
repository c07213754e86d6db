"""A volume's files as a tar stream, and back, with a hostile tenant on either side.

While a volume is saved, its tenant may swap any folder for a link: every step goes through a folder's descriptor
and follows nothing. What is loaded may hold anything: nothing is written but beneath the root, links are made and
never followed, and devices are refused. `tarfile`'s own data filter refuses links that lead out, which every virtual
environment has, and trusts resolved paths; so it is not used.

Sparse files stay sparse (GNU format 1.0): a file of 16 TiB of nothing must not be 16 TiB of zeros in the store.
Left out: sockets, pipes, extended attributes, owners, mode bits beyond 0777, and what has a path of more than 4,096
bytes: no program can name it, and a tree of that kind only serves to wear us out.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import BinaryIO, cast

from services.domain.errors import SandboxRefused, VolumeFull

CHUNK = 1024**2
MOST_ENTRIES = 5_000_000
LONGEST_PATH = 4_096
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

Parts = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing in a volume. `folder` is the descriptor of the folder that it is in, open while it is looked at."""

    parts: Parts
    status: os.stat_result
    folder: int


def walk(root: int) -> Iterator[Entry]:
    """Yield all that lies beneath an open folder, parents first; what vanishes meanwhile is left out."""
    waiting: list[Parts] = [()]
    while waiting:
        parts = waiting.pop()
        try:
            folder = _open_beneath(root, parts)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as exc:
            if exc.errno == errno.ELOOP:  # it was a folder when it was listed
                continue
            raise
        try:
            for name in sorted(os.listdir(folder)):  # noqa: PTH208  # of a descriptor
                if len(os.fsencode("/".join((*parts, name)))) > LONGEST_PATH:
                    continue
                with contextlib.suppress(FileNotFoundError):
                    status = os.stat(name, dir_fd=folder, follow_symlinks=False)
                    if stat.S_ISDIR(status.st_mode):
                        waiting.append((*parts, name))
                    yield Entry((*parts, name), status, folder)
        finally:
            os.close(folder)


def count_bytes(root: int) -> int:
    """Return what the files beneath an open folder take on the disk."""
    return sum(entry.status.st_blocks * 512 for entry in walk(root))


# --- saving ------------------------------------------------------------------------------------------


def save_tree(root: int, target: BinaryIO, *, uid: int) -> None:
    """Write all that lies beneath an open folder. Raises: SandboxRefused when the tenant makes it endless."""
    links: dict[tuple[int, int], str] = {}
    with tarfile.open(fileobj=target, mode="w|", format=tarfile.PAX_FORMAT, bufsize=CHUNK) as tar:
        for number, entry in enumerate(walk(root)):
            if number > MOST_ENTRIES:
                raise SandboxRefused("The files change faster than they can be saved.")
            _save(tar, entry, links, uid)


def _save(tar: tarfile.TarFile, entry: Entry, links: dict[tuple[int, int], str], uid: int) -> None:
    mode, name = entry.status.st_mode, "/".join(entry.parts)
    header = tarfile.TarInfo(name)
    header.mode, header.mtime = stat.S_IMODE(mode) & 0o777, max(0, int(entry.status.st_mtime))
    header.uid = header.gid = uid
    if stat.S_ISDIR(mode):
        header.type = tarfile.DIRTYPE
        tar.addfile(header)
    elif stat.S_ISLNK(mode):
        with contextlib.suppress(FileNotFoundError):
            header.type, header.linkname = tarfile.SYMTYPE, os.readlink(entry.parts[-1], dir_fd=entry.folder)
            tar.addfile(header)
    elif stat.S_ISREG(mode):
        _save_file(tar, entry, header, links)


def _save_file(
    tar: tarfile.TarFile, entry: Entry, header: tarfile.TarInfo, links: dict[tuple[int, int], str]
) -> None:
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        file = os.open(entry.parts[-1], flags, dir_fd=entry.folder)
    except (FileNotFoundError, IsADirectoryError):
        return
    except OSError as exc:
        if exc.errno in (errno.ELOOP, errno.ENXIO):  # a link or a pipe took its place
            return
        raise
    try:
        status = os.fstat(file)
        if not stat.S_ISREG(status.st_mode):
            return
        identity = (status.st_dev, status.st_ino)
        if identity in links:
            header.type, header.linkname = tarfile.LNKTYPE, links[identity]
            tar.addfile(header)
            return
        if status.st_nlink > 1:
            links[identity] = header.name
        source = _Extents(file, status)
        header.size = source.size
        if source.is_sparse:
            header.pax_headers = {
                "GNU.sparse.major": "1",
                "GNU.sparse.minor": "0",
                "GNU.sparse.name": header.name,
                "GNU.sparse.realsize": str(status.st_size),
            }
        tar.addfile(header, source)  # type: ignore[arg-type]  # it only reads
    finally:
        os.close(file)


class _Extents:
    """A file's content as the tar holds it: of a sparse one its map and its data. Always `size` bytes.

    The tenant may truncate the file while it is read: what is missing then is zeros.
    """

    def __init__(self, file: int, status: os.stat_result) -> None:
        self._file = file
        self.is_sparse = status.st_blocks * 512 < status.st_size
        extents = list(_extents(file, status.st_size)) if self.is_sparse else [(0, status.st_size)]
        self._head = b""
        if self.is_sparse:
            pairs = [*extents, (status.st_size, 0)]
            lines = [str(len(pairs)), *(str(number) for pair in pairs for number in pair)]
            head = "".join(f"{line}\n" for line in lines).encode()
            self._head = head + bytes(-len(head) % tarfile.BLOCKSIZE)
        self.size = len(self._head) + sum(length for _, length in extents)
        self._extents = extents[::-1]

    def read(self, size: int) -> bytes:
        pieces = [self._head[:size]]
        self._head = self._head[size:]
        wanted = size - len(pieces[0])
        while wanted and self._extents:
            offset, length = self._extents.pop()
            taken = min(length, wanted)
            piece = os.pread(self._file, taken, offset) or bytes(taken)
            pieces.append(piece)
            taken = len(piece)
            wanted -= taken
            if taken < length:
                self._extents.append((offset + taken, length - taken))
        return b"".join(pieces)


def _extents(file: int, size: int) -> Iterator[tuple[int, int]]:
    """Yield where a file has data, as offset and length."""
    end = 0
    while end < size:
        try:
            start = os.lseek(file, end, os.SEEK_DATA)
        except OSError as exc:
            if exc.errno == errno.ENXIO:  # nothing but a hole from here on
                return
            raise
        if start >= size:
            return
        end = min(os.lseek(file, start, os.SEEK_HOLE), size)
        yield start, end - start


# --- loading -----------------------------------------------------------------------------------------


class _Watched:
    """A source that remembers what was read last: `tarfile` takes a broken end for an end."""

    def __init__(self, source: BinaryIO) -> None:
        self._source = source
        self._start = 0
        self._last = [b"", b""]

    def read(self, size: int) -> bytes:
        chunk = self._source.read(size)
        self._start += len(self._last[0])
        self._last = [self._last[1], chunk]
        return chunk

    def has_zeros_at(self, offset: int) -> bool:
        """Say whether the block that marks an archive's end is at this offset."""
        begin = offset - self._start
        block = b"".join(self._last)[begin : begin + tarfile.BLOCKSIZE] if begin >= 0 else b""
        return block == bytes(tarfile.BLOCKSIZE)


@dataclass(slots=True)
class _Loading:
    """A tree in the making. Nobody else sees it yet, so that what was looked at stays what it is."""

    root: int
    uid: int | None
    most_bytes: int
    written: int = 0
    folders: dict[Parts, tuple[int, int]] = field(default_factory=dict)


def load_tree(root: int, source: BinaryIO, *, uid: int | None, most_bytes: int) -> None:
    """Write a tar's content beneath an open, empty folder; `uid` None leaves the owner.

    Raises: VolumeFull, SandboxRefused for what is no tar of files.
    """
    loading, watched = _Loading(root, uid, most_bytes), _Watched(source)
    try:
        with tarfile.open(fileobj=watched, mode="r|", bufsize=CHUNK) as tar:  # type: ignore[call-overload]
            while (member := tar.next()) is not None:
                if member.size < 0:
                    raise SandboxRefused("The archive is damaged.")
                _load(loading, tar, member)
                tar.members.clear()  # it would remember each of them
            if not watched.has_zeros_at(tar.offset):
                raise SandboxRefused("The archive ends too early.")
        for parts, (mode, mtime) in reversed(loading.folders.items()):
            _settle_folder(loading, parts, mode, mtime)
    except (tarfile.TarError, EOFError, ValueError, OverflowError) as exc:
        raise SandboxRefused("The archive is damaged.") from exc
    except OSError as exc:
        if exc.errno in _FULL:
            raise VolumeFull("The files need more room than the workspace has.") from exc
        if exc.errno in (errno.ELOOP, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.EEXIST):
            raise SandboxRefused("The archive holds a name that cannot be.") from exc
        raise


def _load(loading: _Loading, tar: tarfile.TarFile, member: tarfile.TarInfo) -> None:
    parts = _parts(member.name)
    if not parts:
        return
    mode = member.mode & 0o777
    if member.isdir():
        os.close(_open_beneath(loading.root, parts, made_for=loading))
        loading.folders[parts] = (mode, int(member.mtime))
        return
    if not (member.isreg() or member.issym() or member.islnk()):
        raise SandboxRefused("The archive holds a device or a pipe.")
    folder, name = _open_beneath(loading.root, parts[:-1], made_for=loading), parts[-1]
    try:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=folder)
        if member.issym():
            os.symlink(member.linkname, name, dir_fd=folder)
            _own(loading, name, folder)
        elif member.islnk():
            _load_link(loading, _parts(member.linkname), folder, name)
        else:
            _load_file(loading, tar, member, folder, mode)
    finally:
        os.close(folder)


def _load_link(loading: _Loading, target: Parts, folder: int, name: str) -> None:
    if not target:
        raise SandboxRefused("The archive holds a name that cannot be.")
    try:
        other = _open_beneath(loading.root, target[:-1])
        try:
            os.link(target[-1], name, src_dir_fd=other, dst_dir_fd=folder, follow_symlinks=False)
        finally:
            os.close(other)
    except FileNotFoundError as exc:
        raise SandboxRefused("The archive holds a link to nothing.") from exc


def _load_file(
    loading: _Loading, tar: tarfile.TarFile, member: tarfile.TarInfo, folder: int, mode: int
) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    name = _parts(member.name)[-1]
    file = os.open(name, flags, 0o600, dir_fd=folder)
    try:
        sparse = cast("Sequence[tuple[int, int]] | None", member.sparse)  # the stubs say bytes
        extents = sparse if sparse is not None else [(0, member.size)]
        source = tar.fileobj
        if source is None:
            raise SandboxRefused("The archive is damaged.")
        source.seek(member.offset_data)
        for offset, length in extents:
            if offset < 0 or length < 0 or offset + length > member.size:
                raise SandboxRefused("The archive is damaged.")
            _copy(loading, source, file, offset, length)
        os.ftruncate(file, member.size)
        os.fchmod(file, mode)
        if loading.uid is not None:
            os.fchown(file, loading.uid, loading.uid)
        os.utime(file, (member.mtime, member.mtime))
    finally:
        os.close(file)


def _copy(loading: _Loading, source: object, file: int, offset: int, length: int) -> None:
    loading.written += length
    if loading.written > loading.most_bytes:
        raise VolumeFull("The files need more room than the workspace has.")
    while length:
        chunk: bytes = source.read(min(CHUNK, length))  # type: ignore[attr-defined]
        if not chunk:
            raise SandboxRefused("The archive ends too early.")
        view = memoryview(chunk)
        while view:
            done = os.pwrite(file, view, offset)
            offset, length, view = offset + done, length - done, view[done:]


def _settle_folder(loading: _Loading, parts: Parts, mode: int, mtime: int) -> None:
    """Give a folder its mode and time, after all that lies in it was written."""
    folder = _open_beneath(loading.root, parts)
    try:
        os.fchmod(folder, mode)
        os.utime(folder, (mtime, mtime))
    finally:
        os.close(folder)


def _own(loading: _Loading, name: str, folder: int) -> None:
    if loading.uid is not None:
        os.chown(name, loading.uid, loading.uid, dir_fd=folder, follow_symlinks=False)


def _parts(name: str) -> Parts:
    """Split a member's name. Raises: SandboxRefused for one that leads out."""
    parts = tuple(part for part in name.split("/") if part not in ("", "."))
    if name.startswith("/") or ".." in parts or "\0" in name:
        raise SandboxRefused("The archive holds a name that leads out of the workspace.")
    if len(os.fsencode(name)) > LONGEST_PATH:
        raise SandboxRefused("The archive holds a name that cannot be.")
    return parts


def _open_beneath(root: int, parts: Parts, *, made_for: _Loading | None = None) -> int:
    """Open a folder step by step, following no link; `made_for` makes what is missing. The caller closes it."""
    folder = os.dup(root)
    for part in parts:
        try:
            try:
                inner = os.open(part, _FOLDER, dir_fd=folder)
            except FileNotFoundError:
                if made_for is None:
                    raise
                os.mkdir(part, 0o700, dir_fd=folder)
                _own(made_for, part, folder)
                inner = os.open(part, _FOLDER, dir_fd=folder)
        finally:
            os.close(folder)
        folder = inner
    return folder
