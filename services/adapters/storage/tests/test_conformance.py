"""One suite over every object storage: a folder, and a server that speaks the S3 API."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer

from services.adapters.storage.registry import make_storage
from services.adapters.storage.s3 import PART_BYTES
from services.domain.errors import ConfigInvalid, ObjectMissing, StorageAway, StorageRefused
from services.domain.ports.storage import ObjectStorage

KEY = "workspaces/one/two/three.tar.zst"
CREDENTIALS = {"access_key_id": "key", "secret_access_key": "secret"}


@pytest.fixture(scope="session")
def s3_url() -> Iterator[str]:
    """Run a local server that speaks the S3 API, with one bucket."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    url = f"http://127.0.0.1:{port}"
    client = boto3.client(
        "s3",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id="key",
        aws_secret_access_key="secret",
    )
    client.create_bucket(Bucket="objects")
    client.close()
    yield url
    server.stop()


def make_s3(url: str, folder: Path, *, bucket: str = "objects") -> ObjectStorage:
    return make_storage("s3", folder=folder, bucket=bucket, endpoint=url, is_path_style=True, **CREDENTIALS)


@pytest.fixture(scope="session")
def s3_storage(s3_url: str, tmp_path_factory: pytest.TempPathFactory) -> ObjectStorage:
    """Give the bucket of the local server."""
    return make_s3(s3_url, tmp_path_factory.mktemp("unused"))


@pytest.fixture(params=["folder", "s3"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ObjectStorage]:
    """Give each storage in turn, empty."""
    if request.param == "folder":
        yield make_storage("folder", folder=tmp_path / "objects")
        return
    bucket: ObjectStorage = request.getfixturevalue("s3_storage")
    yield bucket
    for key in list(bucket.list("workspaces/")):
        bucket.delete(key)


def put(storage: ObjectStorage, key: str, data: bytes) -> None:
    storage.put(key, io.BytesIO(data))


def read(storage: ObjectStorage, key: str) -> bytes:
    with storage.open(key) as stream:
        return stream.read()


def test_what_was_put_is_read_and_its_size_and_hash_are_told(storage: ObjectStorage) -> None:
    stored = storage.put(KEY, io.BytesIO(b"files"))
    assert (stored.key, stored.size_bytes) == (KEY, 5)
    assert stored.sha256 == hashlib.sha256(b"files").hexdigest()
    assert read(storage, KEY) == b"files"


def test_an_empty_object_is_an_object(storage: ObjectStorage) -> None:
    put(storage, KEY, b"")
    assert storage.exists(KEY)
    assert read(storage, KEY) == b""


def test_an_object_of_several_parts_comes_back_whole(storage: ObjectStorage) -> None:
    data = bytes(range(256)) * ((PART_BYTES + 1024) // 256)
    stored = storage.put(KEY, io.BytesIO(data))
    assert stored.sha256 == hashlib.sha256(data).hexdigest()
    digest = hashlib.sha256()
    with storage.open(KEY) as stream:
        while piece := stream.read(100_000):
            digest.update(piece)
    assert digest.hexdigest() == stored.sha256


def test_a_second_put_replaces_the_object(storage: ObjectStorage) -> None:
    put(storage, KEY, b"old and longer")
    put(storage, KEY, b"new")
    assert read(storage, KEY) == b"new"
    assert list(storage.list("workspaces/")) == [KEY]


def test_a_source_that_fails_leaves_the_old_object(storage: ObjectStorage) -> None:
    class Failing(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise ValueError("the source broke")

    put(storage, KEY, b"old")
    with pytest.raises(ValueError, match="broke"):
        storage.put(KEY, Failing())
    assert read(storage, KEY) == b"old"
    assert list(storage.list("workspaces/")) == [KEY]


def test_an_object_that_is_not_there_is_missing_and_deleting_it_is_no_error(storage: ObjectStorage) -> None:
    assert not storage.exists(KEY)
    with pytest.raises(ObjectMissing):
        storage.open(KEY)
    storage.delete(KEY)
    put(storage, KEY, b"files")
    for _ in range(2):
        storage.delete(KEY)
    assert not storage.exists(KEY)


def test_a_list_names_what_is_below_its_prefix_in_order(storage: ObjectStorage) -> None:
    for key in ("workspaces/a/2", "workspaces/a/1", "workspaces/ab/1", "workspaces/a/deep/3"):
        put(storage, key, b"")
    assert list(storage.list("workspaces/a/")) == ["workspaces/a/1", "workspaces/a/2", "workspaces/a/deep/3"]
    assert list(storage.list("workspaces/none/")) == []


@pytest.mark.parametrize(
    "key", ["", "/etc/passwd", "../up", "a/../../b", "a//b", "a/", ".hidden", "a/.hidden", "a b", "a\0b", "ü"]
)
def test_a_key_that_is_no_plain_path_is_refused(storage: ObjectStorage, key: str) -> None:
    with pytest.raises(StorageRefused):
        put(storage, key, b"")
    for ask in (storage.open, storage.exists, storage.delete):
        with pytest.raises(StorageRefused):
            ask(key)
    with pytest.raises(StorageRefused):
        list(storage.list(f"{key}/"))


def test_a_folder_that_is_none_refuses_and_an_unfinished_file_is_no_object(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(StorageRefused):
        put(make_storage("folder", folder=tmp_path / "file"), KEY, b"")
    storage = make_storage("folder", folder=tmp_path / "objects")
    put(storage, KEY, b"")
    (tmp_path / "objects" / ".unfinished" / "of-a-crash").write_bytes(b"part")
    assert list(storage.list("workspaces/")) == [KEY]


def test_objects_in_a_folder_are_for_their_owner_alone(tmp_path: Path) -> None:
    put(make_storage("folder", folder=tmp_path / "objects"), KEY, b"files")
    assert (tmp_path / "objects" / KEY).stat().st_mode & 0o077 == 0
    assert (tmp_path / "objects").stat().st_mode & 0o077 == 0


def test_a_bucket_that_is_not_there_refuses_for_good(s3_url: str, tmp_path: Path) -> None:
    with pytest.raises(StorageRefused):
        put(make_s3(s3_url, tmp_path, bucket="nowhere"), KEY, b"")


def test_a_server_that_does_not_answer_may_do_so_later(tmp_path: Path) -> None:
    with pytest.raises(StorageAway):
        make_s3("http://127.0.0.1:1", tmp_path).exists(KEY)


def test_an_unknown_kind_and_a_missing_bucket_are_refused_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid):
        make_storage("tape", folder=tmp_path)
    with pytest.raises(ConfigInvalid):
        make_storage("s3", folder=tmp_path)
