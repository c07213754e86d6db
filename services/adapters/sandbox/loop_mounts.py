"""File systems in files, mounted with loop devices: a limit on a volume's size that the kernel keeps."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import shutil
import socket
import struct
import subprocess
import tempfile
from pathlib import Path

from services.domain.errors import SandboxRefused

logger = logging.getLogger(__name__)

LEAST_BYTES = 16 * 1024**2  # a journal and tables need some room
_PROGRAMS = ("mkfs.ext4", "mount", "umount", "losetup", "resize2fs", "e2fsck")
_OPTIONS = "loop,nosuid,nodev,noatime,discard,noinit_itable,errors=remount-ro"
_SECONDS = 120
_SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def why_not(folder: Path) -> str | None:
    """Return why no image can be mounted beneath a folder of this host, or None: it is tried once for real."""
    if os.geteuid() != 0:
        return "the worker is not root"
    missing = [name for name in _PROGRAMS if shutil.which(name, path=_SYSTEM_PATH) is None]
    if missing:
        return f"not installed: {', '.join(missing)}"
    if _file_system_of(Path("/dev")) != "devtmpfs":
        return "device nodes do not appear by themselves in /dev"
    with tempfile.TemporaryDirectory(dir=folder, prefix=".probe-") as probe:
        image, place = Path(probe, "disk.img"), Path(probe, "files")
        place.mkdir()
        try:
            make_image(image, LEAST_BYTES, owner=0)
            mount_image(image, place)
        except SandboxRefused:
            return "the kernel mounts no image here"
        finally:
            unmount(place, image)
    return None


def shares_mounts_with(socket_path: Path) -> bool:
    """Say whether who listens on a Unix socket sees this process's mounts: it lives in the same mount namespace."""
    try:
        with socket.socket(socket.AF_UNIX) as knocking:
            knocking.settimeout(5)
            knocking.connect(str(socket_path))
            credentials = knocking.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        pid = struct.unpack("3i", credentials)[0]
        return pid > 0 and Path(f"/proc/{pid}/ns/mnt").readlink() == Path("/proc/self/ns/mnt").readlink()
    except OSError:
        return False


def make_image(image: Path, size_bytes: int, *, owner: int) -> None:
    """Make an empty file system of a size in a new, sparse file. Raises: SandboxRefused."""
    image.unlink(missing_ok=True)
    with image.open("wb") as file:
        os.fchmod(file.fileno(), 0o600)
        file.truncate(max(size_bytes, LEAST_BYTES))
    extended = f"root_owner={owner}:{owner},lazy_itable_init=1,lazy_journal_init=1,nodiscard"
    _run("mkfs.ext4", "-q", "-F", "-m", "0", "-E", extended, str(image))


def mount_image(image: Path, place: Path) -> None:
    """Mount an image, repairing it first when it was left broken. Raises: SandboxRefused."""
    command = ("mount", "-t", "ext4", "-o", _OPTIONS, str(image), str(place))
    try:
        _run(*command)
    except SandboxRefused:
        _try("e2fsck", "-y", str(image))
        _run(*command)
    with contextlib.suppress(OSError):
        (place / "lost+found").rmdir()


def is_smaller(image: Path, size_bytes: int) -> bool:
    return image.exists() and image.stat().st_size < max(size_bytes, LEAST_BYTES)


def grow_image(image: Path, size_bytes: int) -> None:
    """Give an image that is not mounted more room; it never shrinks. Raises: SandboxRefused.

    Growing a mounted one would need CAP_SYS_RESOURCE, which root in a small virtual machine may lack.
    """
    _try("e2fsck", "-f", "-y", str(image))
    os.truncate(image, max(size_bytes, LEAST_BYTES))
    _run("resize2fs", str(image))


def unmount(place: Path, image: Path, *, is_forced: bool = False) -> bool:
    """Unmount an image, however often it is mounted there, and let go of its devices; False when it is in use.

    Forced, it goes from this place at once, and for good when the last reader has gone.
    """
    while is_mounted(place):
        options = ["--lazy"] if is_forced else []
        done = _try("umount", *options, str(place))
        if done.returncode != 0 and is_mounted(place):
            logger.info("%s stays mounted: %s", place, done.stderr.strip())
            return False
    for device in _devices_of(image):
        _try("losetup", "--detach", str(device))
    return True


def is_mounted(place: Path) -> bool:
    return os.path.realpath(place) in mounts_beneath(place.parent)


def mounts_beneath(folder: Path) -> list[str]:
    """List the mount points in a folder, those mounted last first."""
    prefix = os.path.realpath(folder) + "/"
    return [place for place, _ in reversed(_mounts()) if place.startswith(prefix)]


def _file_system_of(place: Path) -> str | None:
    kinds = [kind for mounted, kind in _mounts() if mounted == str(place)]
    return kinds[-1] if kinds else None


def _mounts() -> list[tuple[str, str]]:
    """Return each mount point and its kind of file system, in the order of mounting."""
    found = []
    for line in os.fsdecode(Path("/proc/self/mountinfo").read_bytes()).splitlines():
        words = line.split(" ")
        place = re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), words[4])
        found.append((place, words[words.index("-") + 1]))
    return found


def _devices_of(image: Path) -> list[Path]:
    """List the loop devices that a file backs."""
    wanted = os.path.realpath(image)
    found = []
    for backing in Path("/sys/block").glob("loop*/loop/backing_file"):
        with contextlib.suppress(OSError):
            if backing.read_text().rstrip("\n") == wanted:
                found.append(Path("/dev", backing.parts[3]))
    return found


def _run(*command: str) -> None:
    done = _try(*command)
    if done.returncode != 0:
        logger.warning("%s ended with %s: %s", command[0], done.returncode, done.stderr.strip())
        raise SandboxRefused("This host cannot make the workspace's disk.")


def _try(*command: str) -> subprocess.CompletedProcess[str]:
    environ = {"PATH": _SYSTEM_PATH, "LC_ALL": "C"}
    try:
        return subprocess.run(
            command, capture_output=True, text=True, timeout=_SECONDS, check=False, env=environ
        )
    except (OSError, subprocess.TimeoutExpired) as exc:
        return subprocess.CompletedProcess(command, 127, "", str(exc))
