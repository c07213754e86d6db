"""The desk's pages about models: the platform's bounds, its prices, and what organisations have."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import F, Model
from django.forms import ModelForm
from django.http import HttpRequest

from services.api.admin_desk.base import DeskAdmin
from services.domain.llm.models import Budget, LlmKey, LlmPolicy, ModelPrice, PlatformModels
from services.domain.llm.prices import price_of_row
from services.kit.clock import now

_RATES = ("input", "output", "cache_read", "cache_write_5m", "cache_write_1h")


def renew_rules() -> None:
    """Let every gateway read the platform's bounds and prices anew before its next call."""
    rows = PlatformModels.objects.using("operator")
    rows.get_or_create(id=1)
    rows.update(version=F("version") + 1)


class PlatformModelsAdmin(DeskAdmin):
    """The bounds for all organisations: one row, which can be typed into."""

    list_display = ("__str__", "allowed", "lends_key", "may_log", "max_log_keep_days")

    def get_readonly_fields(self, request: HttpRequest, obj: Model | None = None) -> list[str]:
        """Let the bounds be typed into."""
        return ["id", "version"]

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Ask the account's own rights."""
        return bool(self.has_operate_permission(request))

    def save_model(self, request: HttpRequest, obj: Model, form: Any, change: bool) -> None:
        """Save the bounds; they hold from the next call on."""
        with transaction.atomic(using=self.using):
            super().save_model(request, obj, form, change)
            renew_rules()


class PriceForm(ModelForm):  # type: ignore[type-arg]
    """A new price. It counts from a moment that is still to come, so that nothing is priced anew."""

    def clean(self) -> dict[str, Any]:
        """Check the moment and the numbers. Raises: ValidationError."""
        values = super().clean() or {}
        moment = values.get("effective_from")
        if moment is not None and moment < now():
            raise ValidationError({"effective_from": "A price cannot count from a moment that is over."})
        if any((values.get(name) or 0) < 0 for name in _RATES):
            raise ValidationError("Prices are not below zero.")
        try:
            price_of_row(
                ModelPrice(**{name: values.get(name) or 0 for name in _RATES}, tiers=values.get("tiers"))
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ValidationError({"tiers": "A list of objects: `after` and the five prices."}) from error
        return values


class ModelPriceAdmin(DeskAdmin):
    """Prices over the vendors' list, in micro-dollars per million tokens. Added, and never changed."""

    form = PriceForm
    list_display = ("family", "effective_from", *_RATES, "created_at")
    search_fields = ("family",)
    ordering = ("family", "-effective_from")

    def get_fields(self, request: HttpRequest, obj: Model | None = None) -> list[str]:
        """Ask for the price alone."""
        return ["family", "effective_from", *_RATES, "tiers"]

    def get_readonly_fields(self, request: HttpRequest, obj: Model | None = None) -> list[str]:
        """Let a new row be typed into, and no other."""
        return self.get_fields(request, obj) if obj is not None else []

    def has_add_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Ask the account's own rights."""
        return bool(self.has_operate_permission(request))

    def save_model(self, request: HttpRequest, obj: Model, form: Any, change: bool) -> None:
        """Save a price; every gateway knows it before it counts."""
        with transaction.atomic(using=self.using):
            super().save_model(request, obj, form, change)
            renew_rules()


class LlmPolicyAdmin(DeskAdmin):
    """The rules of organisations."""

    list_display = ("org", "allowed", "key_source", "retries", "logs_calls", "updated_at")
    list_filter = ("key_source", "logs_calls")
    search_fields = ("org_id",)


class LlmKeyAdmin(DeskAdmin):
    """Keys of organisations; their texts are sealed."""

    list_display = ("name", "vendor", "org", "status", "is_enabled", "priority", "last_used_at", "base_url")
    list_filter = ("vendor", "status", "is_enabled")
    search_fields = ("org_id", "name")


class BudgetAdmin(DeskAdmin):
    """Budgets of organisations."""

    list_display = ("level", "period", "subject_id", "limit_microusd", "org", "updated_at")
    list_filter = ("level", "period")
    search_fields = ("org_id", "subject_id")


def register() -> None:
    """Register the pages."""
    admin.site.register(PlatformModels, PlatformModelsAdmin)
    admin.site.register(ModelPrice, ModelPriceAdmin)
    admin.site.register(LlmPolicy, LlmPolicyAdmin)
    admin.site.register(LlmKey, LlmKeyAdmin)
    admin.site.register(Budget, BudgetAdmin)
