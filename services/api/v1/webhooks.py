"""Webhooks of an organisation over REST."""

from __future__ import annotations

import uuid
from typing import Any, Self

from pydantic import Field

from services.api.http.operations import Call, Endpoint, operation
from services.api.http.paging import PageQuery, page_of
from services.api.http.shapes import Changes, Moment, Page, Shape
from services.domain.errors import (
    Invalid,
    QueueFull,
    RoleMissing,
    WebhookDeliveryMissing,
    WebhookDisabled,
    WebhookMissing,
)
from services.domain.upstreams.urls import MAX_URL_CHARS
from services.domain.webhooks.actions import (
    WebhookFields,
    create_webhook,
    delete_webhook,
    get_webhook,
    get_webhook_delivery,
    list_webhook_deliveries,
    list_webhooks,
    ping_webhook,
    redeliver,
    rotate_webhook,
    update_webhook,
)
from services.domain.webhooks.models import WebhookAttempt, WebhookDelivery, WebhookEndpoint, WebhookStatus
from services.domain.webhooks.types import WEBHOOK_TYPES


class WebhookChanges(Changes):
    """The fields to change. Switching on again forgets why it was switched off."""

    name: str = Field(default="", min_length=1, max_length=80)
    url: str = Field(default="", min_length=1, max_length=MAX_URL_CHARS)
    event_types: list[str] = Field(default_factory=list, min_length=1, max_length=100)
    is_enabled: bool = True


class WebhookShape(Shape):
    """A webhook. `disabled_reason` says why the platform switched it off; empty when a person did."""

    id: uuid.UUID
    name: str
    url: str
    event_types: list[str]
    is_enabled: bool
    disabled_reason: str
    old_secret_until: Moment | None
    last_success_at: Moment | None
    last_failure_at: Moment | None
    created_at: Moment
    updated_at: Moment

    @classmethod
    def of(cls, row: WebhookEndpoint) -> Self:
        """Show a row."""
        return cls.model_validate(row)


class NewWebhookShape(WebhookShape):
    """A webhook with the secret that signs what it is told, which is shown this once."""

    secret: str

    @classmethod
    def with_secret(cls, row: WebhookEndpoint, secret: str) -> Self:
        """Show a row together with its secret."""
        return cls(**WebhookShape.of(row).model_dump(), secret=secret)


class WebhookDeliveryShape(Shape):
    """One event for one webhook. `next_attempt_at` is null when there will be none."""

    id: uuid.UUID
    webhook_id: uuid.UUID
    event_type: str
    stream: str
    seq: int | None
    status: WebhookStatus
    attempts: int
    error: str
    created_at: Moment
    next_attempt_at: Moment | None
    expires_at: Moment
    finished_at: Moment | None

    @classmethod
    def of(cls, row: WebhookDelivery) -> Self:
        """Show a row."""
        return cls(**cls._same(row))

    @classmethod
    def _same(cls, row: WebhookDelivery) -> dict[str, Any]:
        is_open = row.status == WebhookStatus.QUEUED
        return {
            "id": row.id, "webhook_id": row.endpoint_id, "event_type": row.event_type, "stream": row.stream,
            "seq": row.seq, "status": WebhookStatus(row.status), "attempts": row.attempts, "error": row.error,
            "created_at": row.created_at, "next_attempt_at": row.next_attempt_at if is_open else None,
            "expires_at": row.expires_at, "finished_at": row.finished_at,
        }  # fmt: skip


class WebhookAttemptShape(Shape):
    """One call. `status_code` is null when no answer came, for the reason in `error`."""

    number: int
    created_at: Moment
    duration_ms: int
    status_code: int | None
    error: str
    answer: str

    @classmethod
    def of(cls, row: WebhookAttempt) -> Self:
        """Show a row."""
        return cls.model_validate(row)


class WebhookDeliveryDetail(WebhookDeliveryShape):
    """A delivery with what is sent and all attempts, in their order."""

    body: dict[str, Any]
    log: list[WebhookAttemptShape]

    @classmethod
    def of(cls, row: WebhookDelivery) -> Self:
        """Show a row and its log."""
        log = [WebhookAttemptShape.of(attempt) for attempt in row.log.order_by("id")]
        return cls(**cls._same(row), body=row.body, log=log)


class WebhookTypesShape(Shape):
    """The types of events that webhooks can be told of."""

    items: list[str]


class WebhookDeliveryQuery(PageQuery):
    """Which deliveries."""

    status: WebhookStatus | None = None
    event_type: str | None = Field(default=None, max_length=60)


class WebhookTypes(Endpoint):
    """What webhooks can be told of."""

    tag = "webhooks"

    @operation()
    def get(self, call: Call) -> WebhookTypesShape:
        """List the types of events."""
        return WebhookTypesShape(items=list(WEBHOOK_TYPES))


class Webhooks(Endpoint):
    """All webhooks."""

    tag = "webhooks"

    @operation(errors=(RoleMissing,))
    def get(self, call: Call, query: PageQuery) -> Page[WebhookShape]:
        """List the organisation's webhooks, newest first."""
        return page_of(list_webhooks(call.actor), query, WebhookShape.of)

    @operation(status=201, errors=(Invalid, RoleMissing, QueueFull))
    def post(self, call: Call, body: WebhookFields) -> NewWebhookShape:
        """Add a webhook. Its secret is shown this once."""
        return NewWebhookShape.with_secret(*create_webhook(call.actor, body))


class OneWebhook(Endpoint):
    """One webhook."""

    tag = "webhooks"

    @operation(errors=(WebhookMissing, RoleMissing))
    def get(self, call: Call, webhook_id: uuid.UUID) -> WebhookShape:
        """Show a webhook."""
        return WebhookShape.of(get_webhook(call.actor, webhook_id))

    @operation(errors=(WebhookMissing, RoleMissing, Invalid))
    def patch(self, call: Call, webhook_id: uuid.UUID, body: WebhookChanges) -> WebhookShape:
        """Change a webhook, or switch it on or off."""
        return WebhookShape.of(update_webhook(call.actor, webhook_id, body.model_dump(exclude_unset=True)))

    @operation(errors=(WebhookMissing, RoleMissing))
    def delete(self, call: Call, webhook_id: uuid.UUID) -> None:
        """Remove a webhook, and the log of what it was told."""
        delete_webhook(call.actor, webhook_id)


class WebhookRotate(Endpoint):
    """The secret of one webhook."""

    tag = "webhooks"

    @operation(errors=(WebhookMissing, RoleMissing))
    def post(self, call: Call, webhook_id: uuid.UUID) -> NewWebhookShape:
        """Make a new secret, shown this once. The one before signs beside it for 24 hours."""
        return NewWebhookShape.with_secret(*rotate_webhook(call.actor, webhook_id))


class WebhookTest(Endpoint):
    """Trying one webhook."""

    tag = "webhooks"

    @operation(status=202, errors=(WebhookMissing, WebhookDisabled, RoleMissing))
    def post(self, call: Call, webhook_id: uuid.UUID) -> WebhookDeliveryShape:
        """Send it a `webhook.ping`."""
        return WebhookDeliveryShape.of(ping_webhook(call.actor, webhook_id))


class WebhookDeliveries(Endpoint):
    """What one webhook was told."""

    tag = "webhooks"

    @operation(errors=(WebhookMissing, RoleMissing))
    def get(
        self, call: Call, webhook_id: uuid.UUID, query: WebhookDeliveryQuery
    ) -> Page[WebhookDeliveryShape]:
        """List what it was told, newest first. What was told 30 days ago is forgotten."""
        return page_of(list_webhook_deliveries(call.actor, webhook_id), query, WebhookDeliveryShape.of)


class OneWebhookDelivery(Endpoint):
    """One event for one webhook."""

    tag = "webhooks"

    @operation(errors=(WebhookDeliveryMissing, RoleMissing))
    def get(self, call: Call, webhook_delivery_id: uuid.UUID) -> WebhookDeliveryDetail:
        """Show what was sent, and every attempt."""
        return WebhookDeliveryDetail.of(get_webhook_delivery(call.actor, webhook_delivery_id))


class WebhookRedeliver(Endpoint):
    """Sending one again."""

    tag = "webhooks"

    @operation(status=202, errors=(WebhookDeliveryMissing, WebhookDisabled, RoleMissing))
    def post(self, call: Call, webhook_delivery_id: uuid.UUID) -> WebhookDeliveryShape:
        """Send it again under its own id; it is tried for 24 hours anew."""
        return WebhookDeliveryShape.of(redeliver(call.actor, webhook_delivery_id))
