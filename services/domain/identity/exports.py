"""Exports: all that an organisation has, as an archive that a job makes and owners fetch within a week."""

from __future__ import annotations

import json
import uuid
import zipfile
from collections.abc import Iterator
from datetime import timedelta
from typing import IO, Any

from django.apps import apps
from django.core.serializers.json import DjangoJSONEncoder
from django.db.models import BinaryField, Model, QuerySet

from services.domain.actors import Actor, require
from services.domain.audit.models import AuditAction
from services.domain.audit.recording import Subject, record_audit
from services.domain.errors import Conflict, Missing
from services.domain.identity.models import ExportStatus, Membership, Organisation, OrganisationExport
from services.domain.outbox.jobs import MakeExport, enqueue
from services.domain.tenancy.transaction import tenant_transaction
from services.kit.clock import now

EXPORT_LIFE = timedelta(days=7)
_BATCH = 500
# What opens something is not exported: it is sealed or hashed, and of use to nobody but us.
_WITHHELD = ("sealed", "hash", "secret", "token", "password", "key_id")


def order_export(actor: Actor) -> OrganisationExport:
    """Have an archive made. Owners only. Queues: MakeExport. Raises: RoleMissing, Conflict while one is being made."""
    require(actor, "members:write", role="owner")
    with tenant_transaction(actor.org_id):
        organisation = Organisation.objects.select_for_update().get(id=actor.org_id)
        if OrganisationExport.objects.filter(status=ExportStatus.QUEUED).exists():
            raise Conflict("An export is being made.")
        row = OrganisationExport.objects.create(
            org_id=actor.org_id, requested_by_id=actor.user_id, expires_at=now() + EXPORT_LIFE
        )
        subject = Subject("organisation", actor.org_id, organisation.name)
        record_audit(actor, AuditAction.ORGANISATION_EXPORTED, subject, export=str(row.id))
        enqueue(MakeExport(org_id=actor.org_id, export_id=row.id))
        return row


def list_exports(actor: Actor) -> QuerySet[OrganisationExport]:
    """Return the exports that can still be fetched; in the tenant's transaction. Raises: RoleMissing."""
    require(actor, "members:read", role="owner")
    return OrganisationExport.objects.filter(expires_at__gt=now())


def get_export(actor: Actor, export_id: uuid.UUID) -> OrganisationExport:
    """Return one export, in the tenant's transaction. Raises: Missing, RoleMissing."""
    row = list_exports(actor).filter(id=export_id).first()
    if row is None:
        raise Missing("There is no such export.")
    return row


def is_wanted(org_id: uuid.UUID, export_id: uuid.UUID) -> bool:
    """Say whether an export has yet to be made."""
    with tenant_transaction(org_id):
        return OrganisationExport.objects.filter(id=export_id, status=ExportStatus.QUEUED).exists()


def write_archive(org_id: uuid.UUID, stream: IO[bytes]) -> None:
    """Write the organisation's rows as a zip: a file of JSON lines for each table, one state of them all."""
    with tenant_transaction(org_id), zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        about = Organisation.objects.values("id", "slug", "name", "created_at").get(id=org_id)
        archive.writestr("organisation.json", _line(about))
        people = Membership.objects.values(
            "user_id", "user__email", "user__display_name", "role", "created_at"
        )
        archive.writestr("members.jsonl", "".join(_line(row) for row in people))
        for model in tenant_models():
            with archive.open(f"tables/{model._meta.db_table}.jsonl", "w", force_zip64=True) as file:
                for row in _rows(model, org_id):
                    file.write(_line(row).encode())


def finish_export(org_id: uuid.UUID, export_id: uuid.UUID, key: str, size_bytes: int) -> None:
    """Note where an archive lies. Twice is fine."""
    with tenant_transaction(org_id):
        OrganisationExport.objects.filter(id=export_id).update(
            status=ExportStatus.READY, key=key, size_bytes=size_bytes, finished_at=now()
        )


def all_tenants_forget_exports() -> list[str]:
    """Forget the exports whose week is over, and return the keys of what lies in storage of them."""
    rows = OrganisationExport.objects.using("operator").filter(expires_at__lte=now())
    keys = [key for key in rows.values_list("key", flat=True) if key]
    rows.delete()
    return keys


def tenant_models() -> list[type[Model]]:
    """Return the models of tables that hold rows of organisations in the main database."""
    return [
        model
        for model in apps.get_models()
        if model._meta.app_label not in ("plane", "outbox")
        and any(field.name == "org_id" for field in model._meta.fields)
    ]


def _rows(model: type[Model], org_id: uuid.UUID) -> Iterator[dict[str, Any]]:
    names = [
        field.attname
        for field in model._meta.concrete_fields
        if not isinstance(field, BinaryField) and not any(word in field.attname for word in _WITHHELD)
    ]
    # Named although row-level security names it too: some tables show rows that are everybody's.
    rows = model._default_manager.filter(org_id=org_id).order_by("pk")
    return iter(rows.values(*names).iterator(_BATCH))


def _line(row: Any) -> str:
    return json.dumps(row, cls=DjangoJSONEncoder, separators=(",", ":")) + "\n"
