"""The tenant's transaction: the only door through which rows of an organisation are read or changed."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator

from django.db import transaction

from services.kit.orgpg.tenant import current_org


@contextlib.contextmanager
def tenant_transaction(org_id: uuid.UUID) -> Iterator[None]:
    """Open a transaction in which exactly this organisation's rows exist; nested use joins the outer one.

    Raises: RuntimeError when another organisation's transaction is open here, or one without a tenant.
    """
    outer = current_org.get()
    connection = transaction.get_connection()
    if connection.in_atomic_block:
        if outer != org_id:
            raise RuntimeError("a transaction of another tenant is open")
        with transaction.atomic():
            yield
        return
    reset = current_org.set(org_id)
    try:
        with transaction.atomic():
            yield
    finally:
        current_org.reset(reset)
