"""The files channel: what it gives and takes, and that nothing leads out of the workspace."""

# ruff: noqa: ASYNC110, PTH104, PTH109, PTH208 (files and processes of others announce nothing)

from __future__ import annotations

import asyncio
import io
import json
import os
import socket as sockets
import tarfile
import threading
from pathlib import Path
from typing import Any

import pytest
from starlette.websockets import WebSocket

from tests.fakes.gateway_link import FakeGateway

pytestmark = pytest.mark.usefixtures("runner")
SECRET = "outside of the workspace"


@pytest.fixture
def outside(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("outside")
    (folder / "secret.txt").write_text(SECRET)
    return folder


async def ask(gateway: FakeGateway, op: str, path: str = "", **params: Any) -> dict[str, Any]:
    """Do one operation; return its answer."""
    channel = await gateway.open_channel("files", op=op, path=path, **params)
    answer: dict[str, Any] = await channel.receive_json()
    await channel.close()
    return answer


async def take_all(channel: WebSocket) -> bytes:
    """Read the bytes of a channel up to its end."""
    content = b""
    while "text" not in (message := await channel.receive()):
        content += message["bytes"]
    assert json.loads(message["text"]) == {"op": "end"}
    return content


async def read(gateway: FakeGateway, path: str, **params: Any) -> tuple[dict[str, Any], bytes]:
    channel = await gateway.open_channel("files", op="read", path=path, **params)
    head = await channel.receive_json()
    return head, await take_all(channel) if head["op"] == "ok" else b""


async def write(gateway: FakeGateway, path: str, *chunks: bytes, **params: Any) -> dict[str, Any]:
    channel = await gateway.open_channel("files", op="write", path=path, **params)
    answer: dict[str, Any] = await channel.receive_json()
    if answer["op"] == "ready":
        for chunk in chunks:
            await channel.send_bytes(chunk)
        await channel.send_text('{"op":"end"}')
        answer = await channel.receive_json()
    return answer


async def test_a_folder_is_listed_by_name_with_what_each_is(gateway: FakeGateway, workspace: Path) -> None:
    (workspace / "b.txt").write_bytes(b"12345")
    (workspace / "a").mkdir()
    (workspace / "l").symlink_to("/etc/passwd")
    os.mkfifo(workspace / "p")
    entries = (await ask(gateway, "list"))["entries"]
    shown = [(entry["path"], entry["kind"]) for entry in entries]
    assert shown == [("a", "folder"), ("b.txt", "file"), ("l", "link"), ("p", "other")]
    assert (entries[1]["size_bytes"], entries[1]["mode"]) == (5, "0644")
    (one,) = (await ask(gateway, "list", "b.txt"))["entries"]
    assert one == entries[1]


async def test_a_file_is_read_whole_or_in_part(gateway: FakeGateway, workspace: Path) -> None:
    content = os.urandom(700_000)
    (workspace / "f").write_bytes(content)
    head, got = await read(gateway, "f")
    assert (head["size_bytes"], got) == (700_000, content)
    assert (await read(gateway, "f", start=10, end=19))[1] == content[10:20]
    assert (await read(gateway, "f", start=699_990))[1] == content[-10:]
    assert (await read(gateway, "f", suffix=5))[1] == content[-5:]
    assert (await read(gateway, "f", start=700_000))[0]["code"] == "range_invalid"


async def test_a_file_is_written_whole_or_not_at_all(gateway: FakeGateway, workspace: Path) -> None:
    answer = await write(gateway, "new/folder/f.bin", b"one ", b"two")
    assert (answer["entry"]["path"], answer["entry"]["size_bytes"]) == ("new/folder/f.bin", 7)
    assert (workspace / "new/folder/f.bin").read_bytes() == b"one two"
    channel = await gateway.open_channel("files", op="write", path="new/folder/f.bin")
    await channel.receive_json()
    await channel.send_bytes(b"half of it")
    await channel.close()
    (workspace / "again").mkdir()

    def names() -> list[str]:
        return sorted(os.listdir(workspace / "new/folder"))

    async with asyncio.timeout(20):
        while names() != ["f.bin"]:
            await asyncio.sleep(0.01)
    assert (workspace / "new/folder/f.bin").read_bytes() == b"one two"


async def test_an_overwritten_file_keeps_its_permissions(gateway: FakeGateway, workspace: Path) -> None:
    (workspace / "run.sh").write_text("old")
    (workspace / "run.sh").chmod(0o755)
    assert (await write(gateway, "run.sh", b"new"))["entry"]["mode"] == "0755"


async def test_what_exists_is_not_replaced_when_it_must_be_new(gateway: FakeGateway, workspace: Path) -> None:
    assert (await write(gateway, "f", b"first", is_new=True))["op"] == "ok"
    assert (await write(gateway, "f", b"second", is_new=True))["code"] == "file_exists"
    assert (workspace / "f").read_bytes() == b"first"


async def test_too_large_a_file_leaves_nothing(gateway: FakeGateway, workspace: Path) -> None:
    assert (await write(gateway, "f", b"x" * 11, max_bytes=10))["code"] == "file_too_large"
    assert os.listdir(workspace) == []


async def test_folders_are_made_moved_and_deleted(gateway: FakeGateway, workspace: Path) -> None:
    assert (await ask(gateway, "mkdir", "a/b"))["entry"]["kind"] == "folder"
    assert (await ask(gateway, "mkdir", "a/b"))["code"] == "file_exists"
    await write(gateway, "a/b/f", b"x")
    assert (await ask(gateway, "move", "a/b", to="c/d"))["entry"]["path"] == "c/d"
    assert (await ask(gateway, "move", "c", to="a"))["code"] == "file_exists"
    assert (await ask(gateway, "move", "c", to="c/d/e"))["code"] == "path_invalid"
    assert (await ask(gateway, "delete", "c"))["op"] == "ok"
    assert os.listdir(workspace) == ["a"]
    assert (await ask(gateway, "delete", "c"))["code"] == "file_missing"
    assert (await ask(gateway, "delete", ""))["code"] == "path_invalid"


async def test_deleting_a_link_spares_what_it_leads_to(
    gateway: FakeGateway, workspace: Path, outside: Path
) -> None:
    (workspace / "d").mkdir()
    (workspace / "d" / "link").symlink_to(outside)
    assert (await ask(gateway, "delete", "d"))["op"] == "ok"
    assert (outside / "secret.txt").read_text() == SECRET


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd",
        "..",
        "../secret.txt",
        "a/../../secret.txt",
        "./a",
        "a//b",
        "a/.",
        "x\0y",
        "x" * 5_000,
        "a/" * 500,
    ],
)
@pytest.mark.parametrize("op", ["list", "read", "write", "mkdir", "delete", "archive", "move"])
async def test_a_path_that_leads_elsewhere_is_invalid(gateway: FakeGateway, op: str, path: str) -> None:
    answer = await ask(gateway, op, path, to="b")
    assert (answer["op"], answer["code"]) == ("error", "path_invalid")
    if op == "move":
        assert (await ask(gateway, op, "b", to=path))["code"] == "path_invalid"


@pytest.mark.parametrize("op", ["list", "read", "write", "mkdir", "delete", "archive", "move"])
async def test_no_link_is_followed(gateway: FakeGateway, workspace: Path, outside: Path, op: str) -> None:
    (workspace / "folder").symlink_to(outside)
    (workspace / "deep").mkdir()
    (workspace / "deep" / "file").symlink_to(outside / "secret.txt")
    for path in ("folder/secret.txt", "folder/new", "deep/file/x"):
        answer = await ask(gateway, op, path, to="taken")
        assert answer["op"] == "error", (op, path)
    if op == "read":
        assert (await ask(gateway, op, "deep/file"))["op"] == "error"
    if op == "move":
        (workspace / "mine").touch()
        assert (await ask(gateway, op, "mine", to="folder/mine"))["op"] == "error"
    assert sorted(os.listdir(outside)) == ["secret.txt"]
    assert (outside / "secret.txt").read_text() == SECRET


async def test_an_upload_replaces_a_link_and_not_what_it_leads_to(
    gateway: FakeGateway, workspace: Path, outside: Path
) -> None:
    (workspace / "f").symlink_to(outside / "secret.txt")
    assert (await write(gateway, "f", b"mine"))["op"] == "ok"
    assert (outside / "secret.txt").read_text() == SECRET
    assert (workspace / "f").read_bytes() == b"mine"


async def test_what_is_no_file_is_not_read(gateway: FakeGateway, workspace: Path) -> None:
    os.mkfifo(workspace / "pipe")
    listener = sockets.socket(sockets.AF_UNIX)
    here = os.getcwd()
    os.chdir(workspace)
    try:
        listener.bind("socket")
    finally:
        os.chdir(here)
    for path, code in (("pipe", "path_invalid"), ("socket", "path_invalid"), ("", "is_a_folder")):
        assert (await ask(gateway, "read", path))["code"] == code
    listener.close()
    assert (await ask(gateway, "read", "nothing"))["code"] == "file_missing"
    assert (await ask(gateway, "list", "pipe/x"))["code"] == "not_a_folder"


async def test_a_folder_that_is_swapped_for_a_link_never_leads_out(
    gateway: FakeGateway, workspace: Path, outside: Path
) -> None:
    (workspace / "real").mkdir()
    (workspace / "real" / "secret.txt").write_text("inside")
    (workspace / "link").symlink_to(outside)
    done = threading.Event()

    def swap() -> None:
        while not done.is_set():
            for name in ("real", "link"):
                os.rename(workspace / name, workspace / "now")
                os.rename(workspace / "now", workspace / name)

    swapping = threading.Thread(target=swap)
    swapping.start()
    try:
        for _ in range(60):
            head, content = await read(gateway, "now/secret.txt")
            assert SECRET.encode() not in content, head
    finally:
        done.set()
        swapping.join()


async def test_a_folder_is_archived_with_links_as_links(
    gateway: FakeGateway, workspace: Path, outside: Path
) -> None:
    (workspace / "project" / "src").mkdir(parents=True)
    (workspace / "project" / "src" / ("long" * 60)).write_bytes(b"y" * 300_000)
    (workspace / "project" / "way-out").symlink_to(outside)
    os.mkfifo(workspace / "project" / "pipe")
    channel = await gateway.open_channel("files", op="archive", path="project")
    assert (await channel.receive_json())["op"] == "ok"
    with tarfile.open(fileobj=io.BytesIO(await take_all(channel))) as packed:
        assert packed.getnames() == ["project/src", "project/src/" + "long" * 60, "project/way-out"]
        assert packed.getmember("project/way-out").issym()
        content = packed.extractfile("project/src/" + "long" * 60)
        assert content is not None
        assert content.read() == b"y" * 300_000
    assert (await ask(gateway, "archive", "nothing"))["code"] == "file_missing"


async def test_a_reader_that_goes_away_is_noticed(gateway: FakeGateway, workspace: Path) -> None:
    with (workspace / "huge").open("wb") as file:
        file.truncate(4 * 1024**3)
    before = len(os.listdir("/proc/self/fd"))
    channel = await gateway.open_channel("files", op="read", path="huge")
    assert (await channel.receive_json())["size_bytes"] == 4 * 1024**3
    assert len((await channel.receive())["bytes"]) > 0
    await channel.close()
    async with asyncio.timeout(20):
        while len(os.listdir("/proc/self/fd")) > before:
            await asyncio.sleep(0.01)
    assert (await ask(gateway, "list"))["op"] == "ok"
