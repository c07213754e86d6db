"""The organisation's stream: what is said there is written last in the transaction that says it.

Its one row is wanted by all that happens in an organisation. Locked so late, it is held for the length of a commit, and
always after every other stream's, so that no two transactions wait for each other.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import transaction

from services.domain.events.listed import Change, Listed, MemberChanged, TokenChanged, WorkspaceChanged
from services.domain.events.log import NewEvent, all_tenants_record_events, record_events
from services.domain.events.models import Event
from services.domain.events.registry import KINDS
from services.domain.events.types import EventData
from services.domain.tenancy.transaction import before_commit
from services.kit.orgpg.tenant import current_org
from services.kit.redisbus import nudge

_Key = tuple[type[Listed], uuid.UUID]


@dataclass(frozen=True, slots=True)
class _Changed:
    """An object that has changed, to be shown as it is at the end; one that is deleted then is shown as it was."""

    key: _Key
    change: Change
    row: Any
    last: NewEvent | None = None


@dataclass(frozen=True, slots=True)
class _Hidden:
    """An object that some may see no more, as they saw it until now."""

    last: NewEvent


_Item = NewEvent | _Changed | _Hidden


def announce(
    data: EventData, *, task_id: uuid.UUID | None = None, readers: Sequence[uuid.UUID] | None = None
) -> None:
    """Say something to the organisation, or to its `readers` alone, inside the tenant's transaction."""
    before_commit(_write, NewEvent(data, task_id, readers=None if readers is None else tuple(readers)))


def announce_change(kind: type[Listed], row: Any, change: Change = "updated") -> None:
    """Say that an object of a list has changed, inside the tenant's transaction: once, as it is at its end.

    One that is deleted still has to be there.
    """
    last = _shown(kind, row, "deleted") if change == "deleted" else None
    before_commit(_write, _Changed(_key(kind, row), change, row, last))


def all_tenants_announce_change(org_id: uuid.UUID, kind: type[Listed], row: Any, change: Change) -> None:
    """Say what `announce_change` says, at once, in a transaction of the platform's own, which is no tenant's."""
    all_tenants_record_events(org_id, f"org:{org_id}", [_shown(kind, row, change)])


def announce_hidden(kind: type[Listed], row: Any) -> None:
    """Say, before the change, that some who saw an object will not: it is gone, and told anew to those who still do.

    Call `hide_earlier` after it. Inside the tenant's transaction.
    """
    before_commit(_write, _Hidden(_shown(kind, row, "deleted")))


def _key(kind: type[Listed], row: Any) -> _Key:
    return kind, getattr(row, kind.sources.get(kind.key, "id"))


def _shown(kind: type[Listed], row: Any, change: Change) -> NewEvent:
    readers = kind.readers_of(row)
    return NewEvent(kind.of(row, change), readers=None if readers is None else tuple(readers))


def _write(items: list[_Item]) -> None:
    stream = f"org:{current_org.get()}"
    events = [_event_of(item) for item in _merged(items)]
    if any(_ends_access(event.data) for event in events):
        # Whoever follows what they may not see any more is to be cut off now.
        transaction.on_commit(lambda: nudge("access"), robust=True)
    record_events(stream, [event for event in events if _has_readers(event)])


def _ends_access(data: EventData) -> bool:
    if isinstance(data, MemberChanged):
        return data.change != "created"
    return isinstance(data, TokenChanged | WorkspaceChanged) and data.change == "deleted"


def _has_readers(event: NewEvent) -> bool:
    return event.readers is None or bool(event.readers) or KINDS[event.data.type].admins_read


def _merged(items: list[_Item]) -> Iterator[_Item]:
    """Yield what is said, each object once, where it was last spoken of; one that came and went is not."""
    first: dict[_Key, _Changed] = {}
    last: dict[_Key, _Changed] = {}
    for item in items:
        if isinstance(item, _Changed):
            first.setdefault(item.key, item)
            last[item.key] = item
    for item in items:
        if not isinstance(item, _Changed):
            yield item
        elif last[item.key] is item:
            is_new = first[item.key].change == "created"
            if not is_new:
                yield item
            elif item.change != "deleted":
                yield _Changed(item.key, "created", item.row)


def _event_of(item: _Item) -> NewEvent:
    if isinstance(item, _Changed):
        return item.last or _shown(item.key[0], item.row, item.change)
    return item.last if isinstance(item, _Hidden) else item


def hide_earlier(kind: type[Listed], row: Any) -> None:
    """Let only those who may see an object now read what was said of it before; in the tenant's transaction."""
    told = Event.objects.filter(
        stream=f"org:{current_org.get()}", type=kind.type, **{f"data__{kind.key}": str(_key(kind, row)[1])}
    )
    told.exclude(data__change="deleted").update(readers=kind.readers_of(row))
