"""What a local stack accepts of its sandboxes, and that nothing of theirs stays with the kernel."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from deploy.local import promises, remains
from deploy.local.console import Console
from deploy.local.layout import Layout

QUIET = Console(is_quiet=True)


def settings(tmp_path: Path, **others: str) -> dict[str, str]:
    ours = {name: value for name, value in os.environ.items() if name.startswith("SLIPWAY_")}
    ours |= {"SLIPWAY_RUN_DIR": str(tmp_path), "SLIPWAY_DATA_DIR": str(tmp_path / "data")}
    return {**ours, **others}


def test_what_the_driver_lacks_is_accepted_and_named_aloud(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = settings(tmp_path, SLIPWAY_SANDBOX_DRIVER="bubblewrap", SLIPWAY_VOLUME_BACKEND="folder")
    accepted = promises.accept_gaps(given, os.environ, Console())
    assert "disk_limit" in accepted.split(",")
    said = capsys.readouterr().out
    assert "bubblewrap cannot promise here" in said
    assert "disk_limit" in said


def test_what_a_person_chose_is_kept(tmp_path: Path) -> None:
    given = settings(tmp_path, SLIPWAY_SANDBOX_DRIVER="null", SLIPWAY_ACCEPTED_GAPS="cpu_limit")
    assert promises.accept_gaps(given, os.environ, QUIET) == "cpu_limit"


def test_nothing_is_accepted_of_a_driver_that_cannot_say(tmp_path: Path) -> None:
    assert promises.find_missing({"SLIPWAY_SANDBOX_DRIVER": "chroot"}, {"PATH": os.environ["PATH"]}) == ()


def test_volumes_are_unmounted_with_the_stack(tmp_path: Path) -> None:
    layout = Layout.at(tmp_path)
    place = layout.files / "volumes" / "a b" / "files"
    other = layout.data / "elsewhere"
    for folder in (place, other):
        folder.mkdir(parents=True)
        if subprocess.run(["mount", "-t", "tmpfs", "none", str(folder)], check=False).returncode != 0:
            pytest.skip("this user may not mount")
    try:
        assert remains.unmount_volumes(layout.files) == 1
        assert remains.unmount_volumes(layout.files) == 0
        assert not place.is_mount()
        assert other.is_mount()
    finally:
        subprocess.run(["umount", str(other)], check=True)


def test_groups_are_thawed_and_removed_with_the_stack(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = [tmp_path / "freezer" / "slipway" / "t1-a", tmp_path / "slipway" / "t1-b"]
    other = tmp_path / "slipway" / "t2-a"
    for folder in (*ours, other):
        folder.mkdir(parents=True)
    (ours[0] / "freezer.state").write_text("FROZEN")
    monkeypatch.setattr(remains, "_GROUPS", tmp_path)
    remains.thaw_groups("t1")
    assert (ours[0] / "freezer.state").read_text() == "THAWED"
    (ours[0] / "freezer.state").unlink()  # the kernel's own files do not keep a group
    remains.remove_groups("t1")
    assert not any(folder.exists() for folder in ours)
    assert other.exists()
