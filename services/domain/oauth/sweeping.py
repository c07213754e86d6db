"""What is of no use any more: dead tokens, codes, consents that nobody came back for, clients that nobody uses."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, TypeVar

from django.db.models import Exists, Model, OuterRef, QuerySet

from services.domain.oauth.models import AppToken, AuthorizationCode, ClientKind, ConnectedApp, OAuthClient
from services.kit.clock import now

ModelT = TypeVar("ModelT", bound=Model)

_KEPT = timedelta(days=1)
_CLIENT_UNUSED = timedelta(days=1)
_CLIENT_IDLE = timedelta(days=90)
_REVOKED_KEPT = timedelta(days=30)


def all_tenants_sweep_oauth() -> int:
    """Delete what is dead; returns how many rows. A spent refresh token stays as long as it could be stolen."""
    moment = now()
    dead: tuple[QuerySet[Any], ...] = (
        AppToken.objects.using("operator").filter(expires_at__lt=moment - _KEPT),
        AuthorizationCode.objects.using("operator").filter(expires_at__lt=moment - _KEPT),
        ConnectedApp.objects.using("operator").filter(connected_at=None, created_at__lt=moment - _KEPT),
        ConnectedApp.objects.using("operator").filter(revoked_at__lt=moment - _REVOKED_KEPT),
        _without(
            ConnectedApp.objects.using("operator").filter(created_at__lt=moment - _KEPT), AppToken, "app"
        ),
        _idle_clients(),
    )
    return sum(rows.delete()[0] for rows in dead)


def _idle_clients() -> QuerySet[OAuthClient]:
    moment = now()
    rows = OAuthClient.objects.using("operator").exclude(kind=ClientKind.GIVEN)
    never = rows.filter(last_used_at=None, created_at__lt=moment - _CLIENT_UNUSED)
    idle = rows.filter(last_used_at__lt=moment - _CLIENT_IDLE)
    return _without(never | idle, ConnectedApp, "client")


def _without(rows: QuerySet[ModelT], model: type[Model], field: str) -> QuerySet[ModelT]:
    """Return the rows to which no row of another model refers."""
    referring = model._default_manager.using("operator").filter(**{field: OuterRef("pk")})
    return rows.filter(~Exists(referring))
