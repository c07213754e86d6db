"""What a link's adapter keeps between its calls: small sealed entries with versions, the same for every process.

Several processes speak for one link at a time. An entry is written only over the version that was read, so that none
of them undoes what another did: whoever comes second reads again and does it anew.
"""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Collection, Mapping
from typing import Any

from django.db import IntegrityError, connection, connections
from pydantic import BaseModel

from services.domain.chats.models import LinkEntry
from services.domain.ports.chat import ChatAdapter
from services.domain.ports.chat_abilities import Entry, KeepsEntries
from services.domain.tenancy.transaction import tenant_transaction
from services.domain.vault.keyring import open_text, seal_text
from services.kit.clock import now
from services.kit.ids import uuid7


class LinkDrawer:
    """The port's drawer for one link, in rows sealed by the vault. Safe to use from any thread."""

    def __init__(self, org_id: uuid.UUID, link_id: uuid.UUID) -> None:
        self._org_id, self._link_id = org_id, link_id

    def read(self, names: Collection[str]) -> dict[str, Entry]:
        """Return the entries that there are. Raises: VaultError."""
        try:
            with tenant_transaction(self._org_id):
                rows = list(LinkEntry.objects.filter(link_id=self._link_id, name__in=names))
        finally:
            _let_go()
        return {row.name: Entry(open_text(row.sealed, row.key_id, row.id), row.version) for row in rows}

    def write(self, changes: Mapping[str, Entry]) -> bool:
        """Write all entries over the versions that they name, or none. Locks: the entries, in the order of names."""
        try:
            with tenant_transaction(self._org_id):
                for name in sorted(changes):
                    self._write_one(name, changes[name])
        except (_Outdated, IntegrityError):
            return False
        finally:
            _let_go()
        return True

    def _write_one(self, name: str, entry: Entry) -> None:
        rows = LinkEntry.objects.filter(link_id=self._link_id, name=name)
        row_id = uuid7()
        if entry.version:
            found = rows.select_for_update().filter(version=entry.version).values_list("id").first()
            if found is None:
                raise _Outdated
            row_id = found[0]
        sealed = seal_text(entry.text, row_id)
        keep = datetime.timedelta(days=entry.keep_days) if entry.keep_days is not None else None
        written = {
            "sealed": sealed.blob,
            "key_id": sealed.key_id,
            "version": entry.version + 1,
            "expires_at": now() + keep if keep is not None else None,
        }
        if entry.version:
            rows.update(**written)
        else:
            LinkEntry.objects.create(
                id=row_id, org_id=self._org_id, link_id=self._link_id, name=name, **written
            )


def all_tenants_forget_entries() -> int:
    """Delete what is not needed any more; returns how many entries."""
    return LinkEntry.objects.using("operator").filter(expires_at__lt=now()).delete()[0]


def _let_go() -> None:
    # Adapters ask from threads that end without a word to the pool.
    if not connection.in_atomic_block:
        connections.close_all()


class _Outdated(Exception):
    """Another process has written the entry meanwhile."""


def configured(
    adapter: ChatAdapter, config: Mapping[str, Any], org_id: uuid.UUID, link_id: uuid.UUID
) -> BaseModel:
    """Return a link's configuration as its adapter takes it, with the link's drawer where it keeps something there.

    Raises: ValueError.
    """
    made = adapter.config_model.model_validate(config)
    return (
        adapter.with_drawer(made, LinkDrawer(org_id, link_id)) if isinstance(adapter, KeepsEntries) else made
    )
