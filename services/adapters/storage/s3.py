"""Objects in a bucket, by the S3 API: of any vendor whose server speaks it."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, cast

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError, IncompleteReadError
from botocore.exceptions import ConnectionError as NoConnection

from services.adapters.storage.reading import MeasuredReader
from services.domain.errors import ConfigInvalid, ObjectMissing, SlipwayError, StorageAway, StorageRefused
from services.domain.ports.storage import StoredObject, check_key, check_prefix

if TYPE_CHECKING:
    from botocore.response import StreamingBody
    from mypy_boto3_s3.client import S3Client

PART_BYTES = 16 * 1024**2
READ_BYTES = 1024**2
_ABSENT = frozenset({"NoSuchKey", "404"})
_LATER = frozenset(
    {"SlowDown", "RequestTimeout", "RequestTimeTooSkewed", "InternalError", "ServiceUnavailable"}
)


@dataclass(frozen=True, slots=True)
class S3Settings:
    """Where the bucket is. Without keys the usual places are asked (environment, profile, the machine's own role)."""

    bucket: str
    endpoint: str | None = None
    region: str = "us-east-1"
    access_key_id: str | None = None
    secret_access_key: str | None = None
    is_path_style: bool = False


class S3Storage:
    """One bucket. Large objects go up in parts, each with a checksum that the server compares."""

    kind = "s3"

    def __init__(self, settings: S3Settings) -> None:
        if not settings.bucket:
            raise ConfigInvalid("SLIPWAY_S3_BUCKET names no bucket.")
        self._bucket = settings.bucket
        self._client = _make_client(settings)
        # Few threads: a host copies one volume at a time, and the parts lie in memory.
        self._transfer = TransferConfig(
            multipart_threshold=PART_BYTES, multipart_chunksize=PART_BYTES, max_concurrency=2
        )

    def put(self, key: str, stream: BinaryIO) -> StoredObject:
        check_key(key)
        reader = MeasuredReader(stream)
        with _failures():
            self._client.upload_fileobj(
                cast(BinaryIO, reader),
                self._bucket,
                key,
                ExtraArgs={"ChecksumAlgorithm": "SHA256"},
                Config=self._transfer,
            )
            stored_bytes = self._client.head_object(Bucket=self._bucket, Key=key)["ContentLength"]
        if stored_bytes != reader.size_bytes:
            raise StorageAway("The object was not stored whole.")
        return StoredObject(key, reader.size_bytes, reader.sha256)

    def open(self, key: str) -> BinaryIO:
        with _failures():
            answer = self._client.get_object(Bucket=self._bucket, Key=check_key(key))
        return io.BufferedReader(_Body(answer["Body"]), READ_BYTES)

    def delete(self, key: str) -> None:
        with _failures():
            self._client.delete_object(Bucket=self._bucket, Key=check_key(key))

    def exists(self, key: str) -> bool:
        try:
            with _failures():
                self._client.head_object(Bucket=self._bucket, Key=check_key(key))
        except ObjectMissing:
            return False
        return True

    def list(self, prefix: str) -> Iterator[str]:
        check_prefix(prefix)
        with _failures():
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=prefix)
            for page in pages:
                for entry in page.get("Contents", []):
                    yield entry["Key"]


class _Body(io.RawIOBase):
    """The body of an answer as a plain stream, whose failures are the port's."""

    def __init__(self, body: StreamingBody) -> None:
        super().__init__()
        self._body = body

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # what BufferedReader gives
        with _failures():
            data = self._body.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self._body.close()
        super().close()


def _make_client(settings: S3Settings) -> S3Client:
    config = Config(
        connect_timeout=5,
        read_timeout=60,
        retries={"mode": "standard", "max_attempts": 3},
        s3={"addressing_style": "path" if settings.is_path_style else "auto"},
        # Servers other than the inventor's do not know its newest default checksums; ours is asked for by name.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    with _failures():
        return boto3.session.Session().client(
            "s3",
            endpoint_url=settings.endpoint,
            region_name=settings.region,
            aws_access_key_id=settings.access_key_id,
            aws_secret_access_key=settings.secret_access_key,
            config=config,
        )


@contextlib.contextmanager
def _failures() -> Iterator[None]:
    """Turn what the server and the way to it say into the port's errors. What the given stream raises passes."""
    try:
        yield
    except SlipwayError:
        raise
    except ClientError as error:
        raise _refusal(error) from error
    except (HTTPClientError, NoConnection, IncompleteReadError) as error:
        raise StorageAway("Object storage does not answer.", retry_after_s=5.0) from error
    except BotoCoreError as error:
        raise StorageRefused("Object storage cannot be used with these settings.") from error


def _refusal(error: ClientError) -> SlipwayError:
    code = error.response.get("Error", {}).get("Code", "")
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if code in _ABSENT:
        return ObjectMissing("There is no such object.")
    if code in _LATER or status == 429 or status >= 500:
        return StorageAway("Object storage has trouble.", retry_after_s=5.0)
    return StorageRefused(f"Object storage refused: {code or status}.")
