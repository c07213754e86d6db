"""The base of every admin page: reads all organisations' rows, shows nothing sealed, changes nothing by itself."""

from __future__ import annotations

import functools
import uuid
from collections.abc import Callable, Iterable
from typing import Any, TypeVar, cast

from django.contrib import messages
from django.db.models import Field, ForeignKey, Model, QuerySet
from django.http import HttpRequest
from unfold.admin import ModelAdmin
from unfold.decorators import action, display

from services.domain.errors import SlipwayError
from services.domain.identity.queries import all_tenants_slug_of

HIDDEN = frozenset({"password", "token_hash", "lease_token", "search"})
"""Fields that are never shown, besides all whose name begins with `sealed`."""


F = TypeVar("F", bound=Callable[..., object])


def shown(
    description: str, *, ordering: str | None = None, label: dict[str, str] | None = None
) -> Callable[[F], F]:
    """Make a method a column; `label` gives each of its values a tone."""
    return cast(Callable[[F], F], display(description=description, ordering=ordering, label=label))


def button(description: str) -> Callable[[F], F]:
    """Make a method an action on chosen rows, for those who may operate."""
    return cast(Callable[[F], F], action(description=description, permissions=["operate"]))


def is_hidden(field: Field[Any, Any]) -> bool:
    """Say whether a field's value stays out of sight."""
    return field.name in HIDDEN or field.name.startswith("sealed")


@functools.lru_cache(maxsize=4096)
def _slug_of(org_id: uuid.UUID) -> str:
    """Return an organisation's short name; it never changes, so each is read once."""
    return all_tenants_slug_of(org_id)


class DeskAdmin(ModelAdmin):  # type: ignore[misc]  # unfold has no types
    """Reads through the operators' role; a model of the sandbox plane sets `using` to its own database.

    Nothing is added, changed or deleted here, unless a page says what may be: changes go through actions.
    """

    using = "operator"
    list_per_page = 50
    show_full_result_count = False
    list_filter_submit = False

    @shown("Organisation", ordering="org_id")
    def org(self, row: Any) -> str:
        """Show the organisation's short name."""
        return _slug_of(row.org_id) if row.org_id else ""

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Return all tenants' rows, the newest first, without what is sealed."""
        rows: QuerySet[Any] = self.model._default_manager.using(self.using).all()
        hidden = [field.name for field in self.model._meta.concrete_fields if is_hidden(field)]
        return rows.defer(*hidden).order_by(*self.get_ordering(request) or ["-pk"])

    def get_fields(self, request: HttpRequest, obj: Model | None = None) -> list[str]:
        """Show every field that is not sealed."""
        return [field.name for field in self.model._meta.concrete_fields if not is_hidden(field)]

    def get_readonly_fields(self, request: HttpRequest, obj: Model | None = None) -> list[str]:
        """Let nothing be typed into."""
        return self.get_fields(request, obj)

    def formfield_for_foreignkey(
        self, db_field: ForeignKey[Any, Any], request: HttpRequest, **kwargs: Any
    ) -> Any:
        """Offer rows of all tenants."""
        return super().formfield_for_foreignkey(db_field, request, using=self.using, **kwargs)

    def save_model(self, request: HttpRequest, obj: Model, form: Any, change: bool) -> None:
        """Write with the role that may."""
        obj.save(using=self.using)

    def delete_model(self, request: HttpRequest, obj: Model) -> None:
        """Delete with the role that may."""
        obj.delete(using=self.using)

    def has_add_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Refuse: rows are made by actions."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Refuse."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Refuse."""
        return False

    def has_operate_permission(self, request: HttpRequest) -> bool:
        """Say whether this person may use the buttons: the right to change rows of this kind, though by actions."""
        return super().has_change_permission(request)  # type: ignore[no-any-return]

    def run_each(
        self, request: HttpRequest, rows: Iterable[Model], action: Callable[[Any], object], done: str
    ) -> None:
        """Run an action on each chosen row, and say how many it worked for and why not for the others."""
        count = 0
        for row in rows:
            try:
                action(row)
            except SlipwayError as error:
                self.message_user(request, f"{row.pk}: {error.message}", messages.ERROR)
            else:
                count += 1
                self.log_change(request, row, done)
        if count:
            self.message_user(request, f"{done}: {count}", messages.SUCCESS)
