"""Adding, changing, testing and removing webhooks, for admins."""

from __future__ import annotations

import base64
import secrets
import uuid
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from django.db.models import QuerySet
from pydantic import BaseModel, ConfigDict, Field

from services.domain.actors import Actor, require
from services.domain.errors import (
    Invalid,
    QueueFull,
    WebhookDeliveryMissing,
    WebhookDisabled,
    WebhookMissing,
)
from services.domain.outbox.jobs import SendWebhook, enqueue
from services.domain.tenancy.transaction import tenant_transaction
from services.domain.upstreams.urls import MAX_URL_CHARS, check_url
from services.domain.vault.keyring import open_json, seal_json
from services.domain.webhooks.models import WebhookDelivery, WebhookEndpoint, WebhookStatus
from services.domain.webhooks.telling import LIFE, new_delivery, ping
from services.domain.webhooks.types import WEBHOOK_TYPES
from services.kit.clock import now
from services.kit.environment import environment

MAX_ENDPOINTS = 20
OLD_SECRET_LIFE = timedelta(hours=24)
SECRET_PREFIX = "whsec_"  # noqa: S105  # what Standard Webhooks begins its secrets with


class WebhookFields(BaseModel):
    """What an admin may set on a webhook."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    name: str = Field(min_length=1, max_length=80)
    url: str = Field(min_length=1, max_length=MAX_URL_CHARS)
    event_types: list[str] = Field(
        min_length=1,
        max_length=100,
        description="Of `GET /v1/webhook_event_types`.",
        examples=[["task.finished"]],
    )
    is_enabled: bool = True


def create_webhook(actor: Actor, fields: WebhookFields) -> tuple[WebhookEndpoint, str]:
    """Add a webhook and return it with its secret, which is shown this once.

    Raises: ScopeMissing, RoleMissing, Invalid for an address that may not be called, QueueFull.
    """
    require(actor, "webhooks:write", role="admin")
    values = _checked(fields.model_dump())
    secret = _new_secret()
    with tenant_transaction(actor.org_id):
        if WebhookEndpoint.objects.count() >= MAX_ENDPOINTS:
            raise QueueFull(f"An organisation has at most {MAX_ENDPOINTS} webhooks.", limit=MAX_ENDPOINTS)
        row = WebhookEndpoint(org_id=actor.org_id, made_by_id=actor.user_id, **values)
        _seal(row, [secret])
        row.save()
    return row, secret


def update_webhook(actor: Actor, webhook_id: uuid.UUID, changes: dict[str, Any]) -> WebhookEndpoint:
    """Change a webhook; one that is switched on again is as new. Raises: WebhookMissing, RoleMissing, Invalid."""
    require(actor, "webhooks:write", role="admin")
    values = _checked(changes)
    with tenant_transaction(actor.org_id):
        row = _lock(webhook_id)
        for name, value in values.items():
            setattr(row, name, value)
        if values.get("is_enabled"):
            row.disabled_reason = ""
        row.updated_at = now()
        row.save()
        return row


def delete_webhook(actor: Actor, webhook_id: uuid.UUID) -> None:
    """Remove a webhook with all that it was told. Raises: WebhookMissing, RoleMissing."""
    require(actor, "webhooks:write", role="admin")
    with tenant_transaction(actor.org_id):
        _lock(webhook_id).delete()


def rotate_webhook(actor: Actor, webhook_id: uuid.UUID) -> tuple[WebhookEndpoint, str]:
    """Give a webhook a new secret, shown this once; the one before signs beside it for a day.

    Raises: WebhookMissing, RoleMissing.
    """
    require(actor, "webhooks:write", role="admin")
    secret = _new_secret()
    with tenant_transaction(actor.org_id):
        row = _lock(webhook_id)
        _seal(row, [secret, secrets_of(row)[0]])
        row.old_secret_until = row.updated_at = now()
        row.old_secret_until += OLD_SECRET_LIFE
        row.save()
        return row, secret


def ping_webhook(actor: Actor, webhook_id: uuid.UUID) -> WebhookDelivery:
    """Send a webhook a `webhook.ping`. Queues: SendWebhook. Raises: WebhookMissing, WebhookDisabled, RoleMissing."""
    require(actor, "webhooks:write", role="admin")
    with tenant_transaction(actor.org_id):
        row = _lock(webhook_id)
        _refuse_disabled(row)
        delivery = new_delivery(actor.org_id, row.id, ping(actor.org_id, row.id))
        delivery.save()
        enqueue(SendWebhook(org_id=actor.org_id, delivery_id=delivery.id))
        return delivery


def redeliver(actor: Actor, delivery_id: uuid.UUID) -> WebhookDelivery:
    """Send a delivery again, under its own id, whatever became of it; it is tried for a day anew.

    Queues: SendWebhook. Raises: WebhookDeliveryMissing, WebhookDisabled, RoleMissing.
    """
    require(actor, "webhooks:write", role="admin")
    with tenant_transaction(actor.org_id):
        rows = WebhookDelivery.objects.select_for_update(of=("self",)).select_related("endpoint")
        row = rows.filter(id=delivery_id).first()
        if row is None:
            raise WebhookDeliveryMissing("There is no such delivery.")
        _refuse_disabled(row.endpoint)
        row.status, row.error, row.finished_at = WebhookStatus.QUEUED, "", None
        row.next_attempt_at = now()
        row.expires_at = row.next_attempt_at + LIFE
        row.save()
        enqueue(SendWebhook(org_id=actor.org_id, delivery_id=row.id))
        return row


def list_webhooks(actor: Actor) -> QuerySet[WebhookEndpoint]:
    """List the organisation's webhooks, in the tenant's transaction. Raises: RoleMissing."""
    require(actor, "webhooks:read", role="admin")
    return WebhookEndpoint.objects.all()


def get_webhook(actor: Actor, webhook_id: uuid.UUID) -> WebhookEndpoint:
    """Return a webhook, in the tenant's transaction. Raises: WebhookMissing, RoleMissing."""
    row = list_webhooks(actor).filter(id=webhook_id).first()
    if row is None:
        raise WebhookMissing("There is no such webhook.")
    return row


def list_webhook_deliveries(actor: Actor, webhook_id: uuid.UUID) -> QuerySet[WebhookDelivery]:
    """List what a webhook was told, in the tenant's transaction. Raises: WebhookMissing, RoleMissing."""
    return WebhookDelivery.objects.filter(endpoint=get_webhook(actor, webhook_id))


def get_webhook_delivery(actor: Actor, delivery_id: uuid.UUID) -> WebhookDelivery:
    """Return a delivery, in the tenant's transaction. Raises: WebhookDeliveryMissing, RoleMissing."""
    require(actor, "webhooks:read", role="admin")
    row = WebhookDelivery.objects.select_related("endpoint").filter(id=delivery_id).first()
    if row is None:
        raise WebhookDeliveryMissing("There is no such delivery.")
    return row


def secrets_of(row: WebhookEndpoint) -> list[str]:
    """Return a webhook's secrets, opened: the one in use, then the one before while it still signs."""
    found: list[str] = open_json(row.sealed, row.key_id, row.id)
    is_rotating = row.old_secret_until is not None and row.old_secret_until > now()
    return found if is_rotating else found[:1]


def _lock(webhook_id: uuid.UUID) -> WebhookEndpoint:
    row = WebhookEndpoint.objects.select_for_update().filter(id=webhook_id).first()
    if row is None:
        raise WebhookMissing("There is no such webhook.")
    return row


def _refuse_disabled(row: WebhookEndpoint) -> None:
    if not row.is_enabled:
        raise WebhookDisabled("The webhook is switched off. Switch it on first.")


def _seal(row: WebhookEndpoint, found: Sequence[str]) -> None:
    sealed = seal_json(list(found), row.id)
    row.sealed, row.key_id = sealed.blob, sealed.key_id


def _new_secret() -> str:
    return SECRET_PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def _checked(values: dict[str, Any]) -> dict[str, Any]:
    if "url" in values:
        values["url"] = check_url(values["url"], environment().internal_hosts())
    if "event_types" in values:
        values["event_types"] = sorted(set(values["event_types"]))
        if unknown := [name for name in values["event_types"] if name not in WEBHOOK_TYPES]:
            raise Invalid(
                "Not an event that webhooks are told.", fields={"event_types": f"unknown: {unknown[0]}"}
            )
    return values
