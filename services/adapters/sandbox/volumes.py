"""Where the files of workspaces lie on a host, for the drivers whose sandboxes run on this machine.

A volume is a folder `<data>/volumes/<installation>/<name>/`: `files` is what a sandbox sees as `/workspace`. With the
backend `loop`, `disk.img` is mounted there while it is used, and the kernel keeps the limit; with `folder` there is no
limit. `auto` takes `loop` where it works. A volume that was a plain folder is moved into an image when it is opened.

Every step may be the last before a crash: what is half made has another name, and whether something is mounted is
asked of the kernel, never remembered.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import re
import shutil
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Set
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

from services.adapters.sandbox import loop_mounts
from services.adapters.sandbox.hardening import AGENT_UID
from services.adapters.sandbox.volume_archive import count_bytes, load_tree, save_tree
from services.domain.errors import SandboxRefused, StillInUse, VolumeMissing

logger = logging.getLogger(__name__)

Backend = Literal["auto", "loop", "folder"]
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")
_HALF_MADE = ".new"
_LOCKS = 64
_COUNTED_FOR_S = 60.0


@dataclass(frozen=True, slots=True)
class Opening:
    """A volume that is being made and mounted beside the caller; `place` is where, or None without a volume."""

    place: Path | None
    mounted: Future[None] | None

    def wait(self) -> None:
        """Wait until the files are there. Raises: SandboxRefused."""
        if self.mounted is not None:
            self.mounted.result()


class VolumeStore:
    """The volumes of one installation on this host.

    `list_used` names the volumes that a sandbox has which is not stopped, asked about one of them or about all; whether
    one is used is asked under its lock. `owner` is the agent's user as the host sees it. `loop_refusal` says why the
    engine would not see a mount, or None.

    Locks: one of the files in `.locks`, for as long as a volume is opened, closed, loaded or removed.
    """

    def __init__(
        self,
        data_dir: Path,
        installation: str,
        *,
        backend: Backend,
        list_used: Callable[[str | None], Set[str]],
        owner: int,
        loop_refusal: Callable[[], str | None] = lambda: None,
    ) -> None:
        self._root = data_dir / "volumes" / installation
        self._wanted = backend
        self._list_used = list_used
        self.owner = owner
        self._loop_refusal = loop_refusal
        self._choosing = threading.Lock()
        self._chosen: tuple[bool, str] | None = None
        self._counted: dict[str, tuple[float, int]] = {}

    @property
    def is_limited(self) -> bool:
        """Whether a volume holds no more than its `disk_bytes`. Raises: SandboxRefused when `loop` is impossible."""
        return self._choice()[0]

    @property
    def note(self) -> str:
        """Say where volumes lie and why, for an operator."""
        return self._choice()[1]

    def list_names(self) -> frozenset[str]:
        with contextlib.suppress(FileNotFoundError):
            return frozenset(path.name for path in self._root.iterdir() if _NAME.fullmatch(path.name))
        return frozenset()

    @contextlib.contextmanager
    def opened(self, name: str | None, disk_bytes: int) -> Iterator[Path | None]:
        """Make and mount a volume, and keep others away from it until the caller's sandbox has started.

        Raises: SandboxRefused.
        """
        with self.opening(name, disk_bytes) as opening:
            opening.wait()
            yield opening.place

    @contextlib.contextmanager
    def opening(self, name: str | None, disk_bytes: int) -> Iterator[Opening]:
        """As `opened`, for who has other things to do before the files must be there: the place is there at once."""
        if name is None:
            yield Opening(None, None)
            return
        with self._locked(name), ThreadPoolExecutor(1, thread_name_prefix="volume") as beside:
            opening = Opening(self._make_place(name), beside.submit(self._open, name, disk_bytes))
            try:
                yield opening
                opening.wait()
            except BaseException:
                wait([opening.mounted] if opening.mounted else [])
                self._close(name)
                raise

    def close(self, name: str) -> None:
        """Unmount a volume that no sandbox uses any more."""
        with self._locked(name):
            self._close(name)

    def close_unused(self) -> None:
        """Unmount what a crash left mounted. The engine is asked once for all that is used, which is nearly all."""
        mounted = {Path(place).parent.name for place in loop_mounts.mounts_beneath(self._root)}
        if mounted:
            for name in mounted - self._list_used(None):
                if _NAME.fullmatch(name):
                    self.close(name)

    def remove(self, name: str) -> None:
        """Remove a volume and what it holds; one that is not there is well. Raises: StillInUse."""
        with self._locked(name):
            if self._is_used(name):
                raise StillInUse("A sandbox still uses these files.")
            self._clear(self._folder(name))

    def count_used(self, name: str) -> int:
        """Return how much a volume holds; as much as its `disk_bytes`, or more, means that it is full."""
        folder = self._folder(name)
        if not (folder / "disk.img").exists():
            return self._count(name, folder / "files")
        if not loop_mounts.is_mounted(folder / "files"):
            return 0
        room = os.statvfs(folder / "files")
        size = (folder / "disk.img").stat().st_size
        if room.f_ffree == 0 or room.f_bavail * room.f_frsize < max(64 * 1024, size // 1000):
            return size
        return (room.f_blocks - room.f_bfree) * room.f_frsize

    def save(self, name: str, target: BinaryIO) -> None:
        """Write a volume's files as a tar; a sandbox may use it, start or stop meanwhile. Raises: VolumeMissing."""
        with self._locked(name):
            folder = self._folder(name)
            if not (folder / "files").is_dir():
                raise VolumeMissing("There are no files of this name on this host.")
            place = self._mount(folder)
            root = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            save_tree(root, target, uid=AGENT_UID)
        finally:
            os.close(root)
            self.close(name)

    def load(self, name: str, source: BinaryIO, *, disk_bytes: int) -> None:
        """Make a volume from a tar, in place of one of that name. Raises: StillInUse, VolumeFull, SandboxRefused."""
        with self._locked(name):
            if self._is_used(name):
                raise StillInUse("A sandbox still uses these files.")
            self._replace(name, disk_bytes, lambda root: self._load_tree(root, source, disk_bytes))

    # --- parts, all under the volume's lock ------------------------------------------------------------

    def _choice(self) -> tuple[bool, str]:
        with self._choosing:
            if self._chosen is None:
                self._chosen = self._choose()
            return self._chosen

    def _choose(self) -> tuple[bool, str]:
        if self._wanted == "folder":
            return False, "Volumes are folders, as SLIPWAY_VOLUME_BACKEND says."
        self._make_root()
        refusal = loop_mounts.why_not(self._root)
        if refusal is None and self._wanted == "auto":
            refusal = self._loop_refusal()
        if refusal is None:
            return True, "Volumes are disk images of a fixed size."
        if self._wanted == "loop":
            raise SandboxRefused(f"SLIPWAY_VOLUME_BACKEND is loop, but {refusal}.")
        return False, f"Volumes are folders, because {refusal}."

    def _make_root(self) -> None:
        self._root.mkdir(parents=True, exist_ok=True, mode=0o700)

    def _folder(self, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise SandboxRefused("A volume cannot have this name.")
        return self._root / name

    @contextlib.contextmanager
    def _locked(self, name: str) -> Iterator[None]:
        """Hold the lock of a volume; few files serve all names, so that none is ever removed."""
        self._folder(name)
        self._make_root()
        locks = self._root / ".locks"
        locks.mkdir(exist_ok=True)
        with (locks / str(zlib.crc32(name.encode()) % _LOCKS)).open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _make_place(self, name: str) -> Path:
        """Make the folder that a sandbox will see, if it is not there."""
        place = self._folder(name) / "files"
        if not place.is_dir():
            half = self._root / f"{name}{_HALF_MADE}"
            self._clear(half)
            (half / "files").mkdir(parents=True)
            half.chmod(0o700)
            if not self.is_limited:
                self._give_away(half / "files")
            half.rename(place.parent)
        return place

    def _open(self, name: str, disk_bytes: int) -> None:
        folder = self._folder(name)
        image = folder / "disk.img"
        if self.is_limited and not image.exists():
            if any((folder / "files").iterdir()):
                self._move_into_image(name, disk_bytes)
            else:
                self._make_image(folder, disk_bytes)
        if loop_mounts.is_smaller(image, disk_bytes) and not self._is_used(name):
            loop_mounts.unmount(folder / "files", image, is_forced=True)
            loop_mounts.grow_image(image, disk_bytes)
        self._mount(folder)

    def _make_image(self, folder: Path, disk_bytes: int) -> None:
        half = folder / f"disk.img{_HALF_MADE}"
        loop_mounts.make_image(half, disk_bytes, owner=self.owner)
        (folder / "files").chmod(0o500)  # nobody but root writes beneath a mount that is missing
        half.rename(folder / "disk.img")

    def _mount(self, folder: Path) -> Path:
        image, place = folder / "disk.img", folder / "files"
        if image.exists() and not loop_mounts.is_mounted(place):
            loop_mounts.mount_image(image, place)
        return place

    def _is_used(self, name: str) -> bool:
        return name in self._list_used(name)

    def _close(self, name: str) -> None:
        folder = self._folder(name)
        if not self._is_used(name):
            loop_mounts.unmount(folder / "files", folder / "disk.img")

    @contextlib.contextmanager
    def _half_made(self, name: str, disk_bytes: int) -> Iterator[Path]:
        """Make an empty volume under another name, for the caller to fill and to rename; else it is removed."""
        self._make_root()
        half = self._root / f"{name}{_HALF_MADE}"
        self._clear(half)
        half.mkdir(mode=0o700)
        try:
            (half / "files").mkdir()
            if self.is_limited:
                self._make_image(half, disk_bytes)
            else:
                self._give_away(half / "files")
            yield half
        finally:
            self._clear(half)

    def _give_away(self, place: Path) -> None:
        place.chmod(0o755)
        if os.geteuid() == 0:
            os.chown(place, self.owner, self.owner)
        elif os.geteuid() != self.owner:
            raise SandboxRefused("Only root can give a workspace's files to the user of the sandbox.")

    def _replace(self, name: str, disk_bytes: int, fill: Callable[[int], None]) -> None:
        folder = self._folder(name)
        with self._half_made(name, disk_bytes) as half:
            place = self._mount(half)
            root = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                fill(root)
            finally:
                os.close(root)
            loop_mounts.unmount(place, half / "disk.img")
            self._clear(folder)
            half.rename(folder)

    def _load_tree(self, root: int, source: BinaryIO, disk_bytes: int) -> None:
        owner = self.owner if os.geteuid() == 0 else None
        load_tree(root, source, uid=owner, most_bytes=disk_bytes)

    def _move_into_image(self, name: str, disk_bytes: int) -> None:
        """Turn a volume that is a folder into one with a limit. Raises: VolumeFull when it holds too much."""
        old = os.open(self._folder(name) / "files", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

        def copy(new: int) -> None:
            reader, writer = os.pipe()
            with ThreadPoolExecutor(1) as pool, os.fdopen(reader, "rb") as source:
                saved = pool.submit(_save_and_close, old, writer)
                self._load_tree(new, source, disk_bytes)
            saved.result()

        try:
            self._replace(name, disk_bytes, copy)
        finally:
            os.close(old)

    def _clear(self, folder: Path) -> None:
        """Remove a volume's folder, whatever state a crash left it in."""
        loop_mounts.unmount(folder / "files", folder / "disk.img", is_forced=True)
        shutil.rmtree(folder, ignore_errors=True)
        if folder.exists():
            raise SandboxRefused("The files of a workspace cannot be removed from this host.")

    def _count(self, name: str, place: Path) -> int:
        """Count a folder's bytes; a count is good for a while, as it looks at every file."""
        known = self._counted.get(name)
        now = time.monotonic()
        if known is not None and now - known[0] < _COUNTED_FOR_S:
            return known[1]
        with contextlib.suppress(FileNotFoundError):
            root = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                counted = count_bytes(root)
            finally:
                os.close(root)
            self._counted = {**self._counted, name: (now, counted)}
            return counted
        return 0


def _save_and_close(root: int, writer: int) -> None:
    with (
        contextlib.suppress(BrokenPipeError),
        os.fdopen(writer, "wb") as target,
    ):  # the reader says why it left
        save_tree(root, target, uid=AGENT_UID)
