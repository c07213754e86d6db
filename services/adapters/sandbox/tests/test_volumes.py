"""The volume store on real loop mounts: what a crash leaves behind, and what a hostile archive cannot do."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from services.adapters.sandbox import loop_mounts
from services.adapters.sandbox.volume_archive import load_tree, save_tree
from services.adapters.sandbox.volumes import VolumeStore
from services.domain.errors import SandboxRefused, StillInUse, VolumeFull

MIB = 1024**2
SIZE = 16 * MIB


@pytest.fixture
def used() -> set[str]:
    """The volumes that a sandbox uses."""
    return set()


@pytest.fixture
def make_store(tmp_path: Path, used: set[str]) -> Iterator[Callable[..., VolumeStore]]:
    def make(backend: str = "auto", refusal: str | None = None) -> VolumeStore:
        return VolumeStore(
            tmp_path,
            "t",
            backend=backend,  # type: ignore[arg-type]  # a test may say anything
            list_used=lambda volume: used if volume is None else used & {volume},
            owner=os.geteuid(),
            loop_refusal=lambda: refusal,
        )

    yield make
    used.clear()
    store = make("folder")
    for name in store.list_names():
        store.remove(name)
    assert loop_mounts.mounts_beneath(tmp_path) == []


@pytest.fixture
def store(make_store: Callable[..., VolumeStore]) -> VolumeStore:
    made = make_store()
    if not made.is_limited:
        pytest.skip(made.note)
    return made


def opened(store: VolumeStore, name: str, disk_bytes: int = SIZE) -> Path:
    with store.opened(name, disk_bytes) as place:
        assert place is not None
        return place


def test_folders_serve_where_mounts_do_not(make_store: Callable[..., VolumeStore]) -> None:
    store = make_store("auto", "the engine is elsewhere")
    assert not store.is_limited
    assert store.note
    place = opened(store, "work")
    (place / "note").write_text("kept")
    assert not loop_mounts.is_mounted(place)
    assert store.count_used("work") >= 4096
    store.close("work")
    assert (opened(store, "work") / "note").read_text() == "kept"


def test_a_backend_that_was_demanded_and_is_impossible_is_refused(
    make_store: Callable[..., VolumeStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop_mounts, "why_not", lambda _folder: "it cannot")
    with pytest.raises(SandboxRefused, match="it cannot"):
        _ = make_store("loop").is_limited


def test_a_volume_is_mounted_only_while_it_is_used(store: VolumeStore, used: set[str]) -> None:
    place = opened(store, "work")
    used.add("work")
    (place / "note").write_text("kept")
    store.close("work")
    assert loop_mounts.is_mounted(place)
    with pytest.raises(StillInUse):
        store.remove("work")
    used.clear()
    store.close("work")
    store.close("work")
    assert not loop_mounts.is_mounted(place)
    assert (opened(store, "work") / "note").read_text() == "kept"
    store.remove("work")
    store.remove("work")
    assert store.list_names() == frozenset()


def test_more_volumes_are_mounted_than_there_were_devices(store: VolumeStore, used: set[str]) -> None:
    places = [opened(store, f"work-{number}") for number in range(20)]
    assert all(loop_mounts.is_mounted(place) for place in places)
    used.add("work-7")
    store.close_unused()
    assert [place.parent.name for place in places if loop_mounts.is_mounted(place)] == ["work-7"]


def test_a_start_that_fails_leaves_nothing_mounted(store: VolumeStore) -> None:
    with pytest.raises(RuntimeError), store.opened("work", SIZE) as place:
        raise RuntimeError
    assert place is not None
    assert not loop_mounts.is_mounted(place)


def test_what_a_crash_left_half_made_is_made_anew(store: VolumeStore, tmp_path: Path) -> None:
    half = tmp_path / "volumes" / "t" / "work.new"
    (half / "files").mkdir(parents=True)
    loop_mounts.make_image(half / "disk.img", SIZE, owner=0)
    loop_mounts.mount_image(half / "disk.img", half / "files")
    assert store.list_names() == frozenset()
    assert list(opened(store, "work").iterdir()) == []
    assert not half.exists()


def test_a_crash_between_the_place_and_its_image_costs_nothing(store: VolumeStore, tmp_path: Path) -> None:
    folder = tmp_path / "volumes" / "t" / "work"
    (folder / "files").mkdir(parents=True)
    (folder / "disk.img.new").write_bytes(b"half")
    place = opened(store, "work")
    assert loop_mounts.is_mounted(place)
    assert sorted(path.name for path in folder.iterdir()) == ["disk.img", "files"]


def test_the_place_is_there_before_the_files_are(store: VolumeStore) -> None:
    with store.opening("work", SIZE) as opening:
        assert opening.place is not None
        assert opening.place.is_dir()
        opening.wait()
        assert loop_mounts.is_mounted(opening.place)
    assert loop_mounts.is_mounted(opening.place)


def test_a_volume_that_cannot_be_made_is_told_to_who_waits(
    store: VolumeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise SandboxRefused("no disk")

    monkeypatch.setattr(loop_mounts, "make_image", refuse)
    with pytest.raises(SandboxRefused, match="no disk"), store.opening("work", SIZE):
        pass


def test_a_leaked_device_is_let_go(store: VolumeStore, tmp_path: Path) -> None:
    place = opened(store, "work")
    store.close("work")
    subprocess.run(["losetup", "--find", place.parent / "disk.img"], check=True)
    store.remove("work")
    shown = subprocess.run(["losetup", "--list"], capture_output=True, text=True, check=True).stdout
    assert str(tmp_path) not in shown


def test_an_image_that_was_left_broken_is_repaired(store: VolumeStore) -> None:
    place = opened(store, "work")
    (place / "note").write_text("kept")
    store.close("work")
    with (place.parent / "disk.img").open("r+b") as image:
        image.seek(1024)
        image.write(bytes(1024))  # the superblock; there are spare ones
    assert (opened(store, "work") / "note").read_text() == "kept"


def test_a_volume_that_is_a_folder_gets_its_limit_when_it_is_opened(
    make_store: Callable[..., VolumeStore], store: VolumeStore
) -> None:
    plain = make_store("folder")
    (opened(plain, "work") / "note").write_text("kept")
    place = opened(store, "work")
    assert loop_mounts.is_mounted(place)
    assert (place / "note").read_text() == "kept"


def test_a_folder_that_is_too_large_for_its_limit_stays_as_it_is(
    make_store: Callable[..., VolumeStore], store: VolumeStore
) -> None:
    plain = make_store("folder")
    (opened(plain, "work") / "big").write_bytes(os.urandom(SIZE + 1))
    with pytest.raises(VolumeFull):
        opened(store, "work")
    assert (opened(plain, "work") / "big").stat().st_size == SIZE + 1


def test_a_volume_can_be_stopped_and_removed_while_it_is_saved(store: VolumeStore) -> None:
    place = opened(store, "work")
    (place / "big").write_bytes(bytes(8 * MIB))

    class Slow(io.BytesIO):
        def write(self, data: object) -> int:
            store.close("work")
            store.remove("work")
            return super().write(data)  # type: ignore[arg-type]

    saved = Slow()
    store.save("work", saved)
    assert len(saved.getvalue()) > 8 * MIB
    assert store.list_names() == frozenset()


@pytest.mark.parametrize("name", ["", "..", ".locks", "a/b", "work.new", "-x", "a" * 64])
def test_a_name_that_could_lead_elsewhere_is_refused(store: VolumeStore, name: str) -> None:
    with pytest.raises(SandboxRefused):
        opened(store, name)


# --- archives ----------------------------------------------------------------------------------------


def loaded(tmp_path: Path, content: bytes, most_bytes: int = MIB) -> Path:
    target = tmp_path / "target"
    target.mkdir(exist_ok=True)
    root = os.open(target, os.O_RDONLY)
    try:
        load_tree(root, io.BytesIO(content), uid=None, most_bytes=most_bytes)
    finally:
        os.close(root)
    return target


def saved(source: Path) -> bytes:
    target = io.BytesIO()
    root = os.open(source, os.O_RDONLY)
    try:
        save_tree(root, target, uid=10_001)
    finally:
        os.close(root)
    return target.getvalue()


def archive(*members: tuple[str, bytes, str]) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as tar:
        for name, kind, link in members:
            header = tarfile.TarInfo(name)
            header.type, header.linkname = kind, link
            tar.addfile(header)
    return content.getvalue()


@pytest.mark.parametrize(
    "members",
    [
        [("/etc/x", tarfile.REGTYPE, "")],
        [("../x", tarfile.REGTYPE, "")],
        [("a/../../x", tarfile.REGTYPE, "")],
        [("out", tarfile.SYMTYPE, "/tmp"), ("out/x", tarfile.REGTYPE, "")],
        [("out", tarfile.SYMTYPE, ".."), ("out/x", tarfile.DIRTYPE, "")],
        [("out", tarfile.SYMTYPE, "/etc"), ("hard", tarfile.LNKTYPE, "out/passwd")],
        [("hard", tarfile.LNKTYPE, "/etc/passwd")],
        [("hard", tarfile.LNKTYPE, "../../etc/passwd")],
        [("hard", tarfile.LNKTYPE, "nothing")],
        [("disk", tarfile.BLKTYPE, "")],
        [("tty", tarfile.CHRTYPE, "")],
        [("pipe", tarfile.FIFOTYPE, "")],
        [("a", tarfile.DIRTYPE, ""), ("a", tarfile.REGTYPE, "")],
        [("x/" * 3000, tarfile.DIRTYPE, "")],
    ],
)
def test_an_archive_that_wants_out_is_refused(tmp_path: Path, members: list[tuple[str, bytes, str]]) -> None:
    with pytest.raises(SandboxRefused):
        loaded(tmp_path, archive(*members))
    assert {path.name for path in tmp_path.iterdir()} == {"target"}


def test_a_file_takes_the_place_of_a_link_and_is_not_written_through_it(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("whole")
    content = archive(("x", tarfile.SYMTYPE, str(tmp_path / "victim")), ("x", tarfile.REGTYPE, ""))
    assert (loaded(tmp_path, content) / "x").read_bytes() == b""
    assert (tmp_path / "victim").read_text() == "whole"


@pytest.mark.parametrize("part", [0.0, 0.1, 0.5, 0.75])
def test_an_archive_that_was_cut_is_refused(tmp_path: Path, part: float) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for number in range(20):
        (source / f"f{number}").write_bytes(os.urandom(1500))
    content = saved(source)
    with pytest.raises(SandboxRefused):
        loaded(tmp_path, content[: int(len(content) * part) // 512 * 512])


def test_what_is_saved_comes_back_as_it_was(tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "deep" / "er").mkdir(parents=True)
    (source / "deep" / "er" / "run").write_text("#!/bin/sh\n")
    (source / "deep" / "er" / "run").chmod(0o4755)
    (source / "deep").chmod(0o500)
    (source / "twin").hardlink_to(source / "deep" / "er" / "run")
    (source / "python").symlink_to("/usr/bin/python3")
    (source / os.fsdecode(b"no utf8 \xff\n")).write_text("odd")
    os.mkfifo(source / "pipe")
    os.utime(source / "deep", (1, 1))
    target = loaded(tmp_path, saved(source))
    shown = sorted(str(path.relative_to(target)) for path in target.rglob("*"))
    assert shown == sorted(
        ["deep", "deep/er", "deep/er/run", "twin", "python", os.fsdecode(b"no utf8 \xff\n")]
    )
    assert (target / "deep" / "er" / "run").stat().st_mode & 0o7777 == 0o755
    assert (target / "deep" / "er" / "run").samefile(target / "twin")
    assert ((target / "deep").stat().st_mode & 0o777, (target / "deep").stat().st_mtime) == (0o500, 1)
    assert (target / "python").readlink() == Path("/usr/bin/python3")


def test_a_huge_file_of_nothing_stays_small(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    with (source / "sparse").open("wb") as file:
        file.truncate(1024**4)
        file.seek(1024**3)
        file.write(b"something")
    content = saved(source)
    assert len(content) < MIB
    sparse = loaded(tmp_path, content) / "sparse"
    assert sparse.stat().st_size == 1024**4
    assert sparse.stat().st_blocks * 512 < MIB
    with sparse.open("rb") as file:
        file.seek(1024**3)
        assert file.read(9) == b"something"


def test_links_in_the_place_of_folders_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_text("s3cret")
    source = tmp_path / "source"
    (source / "a").mkdir(parents=True)
    (source / "link").symlink_to(tmp_path / "outside")

    class Swapping(io.BytesIO):
        def write(self, data: object) -> int:
            if (source / "a").is_dir() and not (source / "a").is_symlink():
                (source / "a").rmdir()
                (source / "a").symlink_to(tmp_path / "outside")
            return super().write(data)  # type: ignore[arg-type]

    for number in range(2000):  # more than the writer holds back, so that it writes before it enters
        (source / f"f{number:04}").write_bytes(bytes(1024))
    target = Swapping()
    root = os.open(source, os.O_RDONLY)
    save_tree(root, target, uid=0)
    os.close(root)
    assert (source / "a").is_symlink()
    assert b"s3cret" not in target.getvalue()
