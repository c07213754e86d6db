"""The organisation's webhooks: addresses, what they were told, and every attempt."""

from __future__ import annotations

import json
import uuid

from django.http import HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from services.api.dashboard.forms.webhooks import WebhookForm
from services.api.dashboard.pages import PageRequest, attempt, page, show
from services.domain.tenancy.transaction import tenant_transaction
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
from services.domain.webhooks.models import WebhookEndpoint

SHOWN = 50


@page
@require_http_methods(["GET", "HEAD", "POST"])
def webhooks(request: PageRequest) -> HttpResponse:
    """List the webhooks; a new one's secret is shown in the answer to the post, and never again."""
    form = WebhookForm(request.POST or None)
    made: list[tuple[WebhookEndpoint, str]] = []
    if request.method == "POST" and form.submit(
        lambda given: made.append(create_webhook(request.actor, WebhookFields(**given)))
    ):
        return _webhook(request, made[0][0].id, secret=made[0][1])
    return show(
        request,
        "dashboard/webhooks/list.html",
        lambda: {"form": form, "webhooks": list(list_webhooks(request.actor).order_by("name"))},
        status=form.status,
    )


@page
@require_http_methods(["GET", "HEAD", "POST"])
def webhook(request: PageRequest, webhook_id: uuid.UUID) -> HttpResponse:
    """Show a webhook and what it was told lately, or change it."""
    if request.method != "POST":
        return _webhook(request, webhook_id)
    form = WebhookForm(request.POST)
    if form.submit(lambda given: update_webhook(request.actor, webhook_id, given)):
        return redirect("dashboard:webhook", webhook_id=webhook_id)
    return _webhook(request, webhook_id, form=form)


@page
@require_POST
def rotate(request: PageRequest, webhook_id: uuid.UUID) -> HttpResponse:
    """Make a new secret, which is shown in the answer and never again."""
    return _webhook(request, webhook_id, secret=rotate_webhook(request.actor, webhook_id)[1])


@page
@require_POST
def test(request: PageRequest, webhook_id: uuid.UUID) -> HttpResponse:
    """Send a ping."""
    attempt(request, lambda: ping_webhook(request.actor, webhook_id), "A ping is on its way.")
    return redirect("dashboard:webhook", webhook_id=webhook_id)


@page
@require_POST
def switch(request: PageRequest, webhook_id: uuid.UUID) -> HttpResponse:
    """Switch a webhook on or off."""
    is_on = request.POST.get("is_enabled") == "on"
    done = "The webhook is on." if is_on else "The webhook is off."
    attempt(request, lambda: update_webhook(request.actor, webhook_id, {"is_enabled": is_on}), done)
    return redirect("dashboard:webhook", webhook_id=webhook_id)


@page
@require_POST
def delete(request: PageRequest, webhook_id: uuid.UUID) -> HttpResponse:
    """Remove a webhook."""
    attempt(request, lambda: delete_webhook(request.actor, webhook_id), "The webhook is removed.")
    return redirect("dashboard:webhooks")


@page
@require_safe
def delivery(request: PageRequest, delivery_id: uuid.UUID) -> HttpResponse:
    """Show what was sent, and every attempt."""

    def build() -> dict[str, object]:
        row = get_webhook_delivery(request.actor, delivery_id)
        body = json.dumps(row.body, indent=2, ensure_ascii=False)
        return {"delivery": row, "attempts": list(row.log.order_by("id")), "body": body}

    return show(request, "dashboard/webhooks/delivery.html", build)


@page
@require_POST
def send_again(request: PageRequest, delivery_id: uuid.UUID) -> HttpResponse:
    """Send a delivery again."""
    attempt(request, lambda: redeliver(request.actor, delivery_id), "It is sent again.")
    return redirect("dashboard:webhook-delivery", delivery_id=delivery_id)


def _webhook(
    request: PageRequest, webhook_id: uuid.UUID, *, secret: str = "", form: WebhookForm | None = None
) -> HttpResponse:
    with tenant_transaction(request.actor.org_id):
        found = get_webhook(request.actor, webhook_id)
        told = list(list_webhook_deliveries(request.actor, webhook_id).order_by("-id")[:SHOWN])
    given = {"name": found.name, "url": found.url, "event_types": found.event_types}
    shown = form or WebhookForm(initial=given)
    return show(
        request,
        "dashboard/webhooks/webhook.html",
        lambda: {"webhook": found, "deliveries": told, "secret": secret, "form": shown},
        status=shown.status,
    )
