"""Pages of lists: newest first, by id, so that what is added while somebody pages moves nothing."""

from __future__ import annotations

import base64
import binascii
import uuid
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, TypeVar

from django.db.models import Model, QuerySet
from pydantic import Field

from services.api.http.bodies import Closed
from services.api.http.shapes import Page, Shape
from services.domain.errors import CursorInvalid, Missing
from services.kit.rows import first_of

_MARK = b"\x01"

ShapeT = TypeVar("ShapeT", bound=Shape)
RowT = TypeVar("RowT", bound=Model)


class PageQuery(Closed):
    """Which part of a list."""

    limit: int = Field(default=50, ge=1, le=200, description="How many items at most.")
    cursor: str | None = Field(default=None, max_length=200, description="`next` of the page before.")

    paging: ClassVar[frozenset[str]] = frozenset({"limit", "cursor"})

    def filters(self) -> dict[str, Any]:
        """Return what else the query asks for, as look-ups on the rows' own columns."""
        return self.model_dump(exclude=set(self.paging), exclude_none=True)


def page_of(rows: QuerySet[RowT], query: PageQuery, show: Callable[[RowT], ShapeT]) -> Page[ShapeT]:
    """Return one page of a query's rows, narrowed by its filters. Raises: CursorInvalid."""
    rows = rows.filter(**query.filters()).order_by("-id")
    if query.cursor is not None:
        rows = rows.filter(id__lt=read_cursor(query.cursor))
    return _page(list(rows[: query.limit + 1]), query, show)


def page_of_list(rows: Sequence[RowT], query: PageQuery, show: Callable[[RowT], ShapeT]) -> Page[ShapeT]:
    """Return one page of rows that are all at hand. Raises: CursorInvalid."""
    below = read_cursor(query.cursor) if query.cursor is not None else None
    found = sorted(
        (row for row in rows if below is None or row.pk < below), key=lambda row: row.pk, reverse=True
    )
    return _page(found[: query.limit + 1], query, show)


def one_of(rows: QuerySet[RowT], row_id: uuid.UUID, missing: type[Missing], *, what: str) -> RowT:
    """Return the row with an id of those that an actor sees. Raises: `missing`."""
    row = first_of(rows.filter(id=row_id))
    if row is None:
        raise missing(f"There is no such {what}.")
    return row


def _page(rows: list[RowT], query: PageQuery, show: Callable[[RowT], ShapeT]) -> Page[ShapeT]:
    shown = rows[: query.limit]
    has_more = len(rows) > query.limit
    # Built without validation: the items are models already.
    return Page.model_construct(
        items=[show(row) for row in shown], next=make_cursor(shown[-1].pk) if has_more else None
    )


def make_cursor(last: uuid.UUID) -> str:
    """Return an opaque text for the place after a row."""
    return base64.urlsafe_b64encode(_MARK + last.bytes).rstrip(b"=").decode()


def read_cursor(cursor: str) -> uuid.UUID:
    """Return the row's id that a cursor stands for. Raises: CursorInvalid."""
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise CursorInvalid("The cursor is not one of ours.") from error
    if len(raw) != 17 or raw[:1] != _MARK:
        raise CursorInvalid("The cursor is not one of ours.")
    return uuid.UUID(bytes=raw[1:])
