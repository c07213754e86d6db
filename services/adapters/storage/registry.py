"""Which object storage an installation uses."""

from __future__ import annotations

from pathlib import Path

from services.domain.errors import ConfigInvalid
from services.domain.ports.storage import ObjectStorage
from services.kit.environment import Environment

KINDS = ("folder", "s3")


def make_storage(
    kind: str,
    *,
    folder: Path,
    bucket: str = "",
    endpoint: str | None = None,
    region: str = "us-east-1",
    access_key_id: str | None = None,
    secret_access_key: str | None = None,
    is_path_style: bool = False,
) -> ObjectStorage:
    """Make the storage of a kind; what it needs is loaded only then. Raises: ConfigInvalid."""
    if kind == "folder":
        from services.adapters.storage.folder import FolderStorage

        return FolderStorage(folder)
    if kind == "s3":
        from services.adapters.storage.s3 import S3Settings, S3Storage

        return S3Storage(
            S3Settings(
                bucket=bucket,
                endpoint=endpoint,
                region=region,
                access_key_id=access_key_id,
                secret_access_key=secret_access_key,
                is_path_style=is_path_style,
            )
        )
    raise ConfigInvalid(f"There is no object storage {kind!r}; there are {', '.join(KINDS)}.")


def storage_of(env: Environment) -> ObjectStorage:
    """Return the object storage that an installation's settings name."""
    key_id, key = env.s3_access_key_id, env.s3_secret_access_key
    return make_storage(
        env.storage,
        folder=env.storage_dir or env.data_dir / "objects",
        bucket=env.s3_bucket,
        endpoint=env.s3_endpoint,
        region=env.s3_region,
        access_key_id=key_id.get_secret_value() if key_id else None,
        secret_access_key=key.get_secret_value() if key else None,
        is_path_style=env.s3_path_style,
    )
