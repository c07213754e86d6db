"""Making the archives that organisations ask for, and removing those that nobody fetches any more."""

from __future__ import annotations

import tempfile
from typing import BinaryIO, cast

from services.domain.identity.deletion import (
    all_tenants_delete_due_accounts,
    all_tenants_delete_due_organisations,
)
from services.domain.identity.exports import (
    all_tenants_forget_exports,
    finish_export,
    is_wanted,
    write_archive,
)
from services.domain.outbox.jobs import MakeExport
from services.worker.jobs.volumes import storage

_IN_MEMORY_BYTES = 8 * 1024**2


def make_export(job: MakeExport) -> None:
    """Write the archive and store it under a key of its own; a repeat overwrites it. Raises: StorageAway."""
    if not is_wanted(job.org_id, job.export_id):
        return
    key = f"exports/{job.org_id}/{job.export_id}.zip"
    with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY_BYTES) as spool:
        write_archive(job.org_id, cast(BinaryIO, spool))
        spool.seek(0)
        stored = storage().put(key, cast(BinaryIO, spool))
    finish_export(job.org_id, job.export_id, key, stored.size_bytes)


def sweep_departures() -> None:
    """Delete what is due: exports that are over, then organisations and accounts whose grace is."""
    for key in all_tenants_forget_exports():
        storage().delete(key)
    all_tenants_delete_due_organisations()
    all_tenants_delete_due_accounts()
