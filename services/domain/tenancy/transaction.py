"""The tenant's transaction: the only door through which rows of an organisation are read or changed."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

from django.db import OperationalError, transaction
from psycopg.errors import SerializationFailure

from services.kit.orgpg.tenant import current_org, sees_one_moment

Ending = Callable[[list[Any]], None]

_endings: ContextVar[dict[Ending, list[Any]] | None] = ContextVar("endings", default=None)


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
        with transaction.atomic(), _dropped_on_failure():
            yield
        return
    reset = current_org.set(org_id)
    try:
        with transaction.atomic(), _ended_before_commit():
            yield
    finally:
        current_org.reset(reset)


def before_commit(ending: Ending, item: Any) -> None:
    """Have `ending` called once with all items of this transaction, as the last that it does.

    For what locks a row that many transactions want: so late it is held for the length of the commit only. Items of a
    nested transaction that is rolled back are dropped. Raises: RuntimeError outside a tenant's transaction.
    """
    endings = _endings.get()
    if endings is None:
        raise RuntimeError("this needs the tenant's transaction")
    endings.setdefault(ending, []).append(item)


@contextlib.contextmanager
def _ended_before_commit() -> Iterator[None]:
    endings: dict[Ending, list[Any]] = {}
    reset = _endings.set(endings)
    try:
        yield
        for ending, items in endings.items():
            ending(items)
    finally:
        _endings.reset(reset)


@contextlib.contextmanager
def _dropped_on_failure() -> Iterator[None]:
    endings = _endings.get() or {}
    before = {ending: len(items) for ending, items in endings.items()}
    try:
        yield
    except BaseException:
        for ending, items in endings.items():
            del items[before.get(ending, 0) :]
        raise


@contextlib.contextmanager
def one_moment(org_id: uuid.UUID) -> Iterator[None]:
    """Open a tenant's transaction that sees one moment: what it reads is still so when it changes something.

    Raises: ChangedMeanwhile when somebody else changed a row that it changes or locks; nothing is done then.
    """
    reset = sees_one_moment.set(True)
    try:
        with tenant_transaction(org_id):
            yield
    except OperationalError as error:
        if isinstance(error.__cause__, SerializationFailure):
            raise ChangedMeanwhile from error
        raise
    finally:
        sees_one_moment.reset(reset)


class ChangedMeanwhile(Exception):
    """A row is not what it was when the transaction began: begin again."""
