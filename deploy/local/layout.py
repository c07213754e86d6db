"""Where one local stack keeps its files."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Layout:
    """The files of the stack in `root` (`.local` by default), by name."""

    root: Path

    @classmethod
    def at(cls, folder: str | Path) -> Layout:
        """Return the layout of the stack in `folder`, as an absolute path."""
        return cls(Path(folder).absolute())

    @property
    def settings_env(self) -> Path:
        return self.root / "settings.env"

    @property
    def services_env(self) -> Path:
        return self.root / "services.env"

    @property
    def stack_json(self) -> Path:
        return self.root / "stack.json"

    @property
    def supervisord_conf(self) -> Path:
        return self.root / "supervisord.conf"

    @property
    def supervisord_pid(self) -> Path:
        return self.root / "supervisord.pid"

    @property
    def engine_pid(self) -> Path:
        return self.root / "engine.pid"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def files(self) -> Path:
        return self.data / "files"

    def make_folders(self) -> None:
        """Create the folders that every start needs. Others may pass through the root but not list it."""
        self.root.mkdir(parents=True, exist_ok=True)
        self.root.chmod(0o711)
        self.logs.mkdir(exist_ok=True)
        self.logs.chmod(0o755)


def runtime_folder(installation: str) -> Path:
    """Return the folder for sockets: short, because a Unix socket's path may have 107 bytes at most."""
    base = Path("/run") if os.geteuid() == 0 else Path("/tmp")  # noqa: S108  # the folder is made 0711 and ours
    return base / f"slipway-{installation}"


def make_runtime_folder(installation: str) -> Path:
    """Create the sockets' folder and refuse one that belongs to somebody else."""
    folder = runtime_folder(installation)
    folder.mkdir(mode=0o711, exist_ok=True)
    status = folder.lstat()
    if status.st_uid != os.geteuid() or folder.is_symlink():
        raise PermissionError(f"{folder} belongs to another user; remove it or change SLIPWAY_INSTALLATION")
    folder.chmod(0o711)
    return folder


def remove_stack_folder(layout: Layout) -> None:
    """Remove everything that a stopped stack kept, also data that lies behind a link."""
    if layout.data.is_symlink():
        shutil.rmtree(layout.data.resolve(), ignore_errors=True)
    shutil.rmtree(layout.root, ignore_errors=True)


def shown(path: Path) -> str:
    """Return the path as a person would type it from the repository."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
