"""A person's own chats, and when they want no messages there."""

from __future__ import annotations

import uuid

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_http_methods, require_POST
from pydantic import ValidationError

from services.api.dashboard.forms.notifications import PersonForm, QuietHoursForm
from services.api.dashboard.pages import PageRequest, attempt, page, show
from services.api.linking import list_chat_addresses
from services.domain.chats.queries import list_links
from services.domain.contacts.accounts import IssuedCode, issue_account_code, list_accounts, unlink_account
from services.domain.contacts.quiet import QuietHours, get_quiet_hours, set_quiet_hours
from services.domain.errors import SlipwayError
from services.domain.identity.people import PersonFields, update_person
from services.domain.push.keys import get_public_key
from services.domain.push.subscriptions import (
    NewSubscription,
    add_subscription,
    list_subscriptions,
    remove_subscription,
)
from services.domain.tenancy.transaction import tenant_transaction
from services.kit.clock import now


@page
@require_http_methods(["GET", "HEAD", "POST"])
def notifications(request: PageRequest) -> HttpResponse:
    """Show one's linked chats and quiet hours; what is posted are other quiet hours."""
    form = QuietHoursForm(request.POST or None, initial=_initial(request))
    if request.method == "POST" and form.submit(
        lambda given: set_quiet_hours(request.actor, QuietHours.model_validate(given))
    ):
        messages.success(request, "Your quiet hours are set.")
        return redirect("dashboard:notifications")
    return _show(request, form)


@page
@require_POST
def describe(request: PageRequest) -> HttpResponse:
    """Keep one's name and language."""
    form = PersonForm(request.POST)
    if form.submit(lambda given: update_person(request.actor, given)):
        messages.success(request, "Saved.")
        return redirect("dashboard:notifications")
    return _show(request, QuietHoursForm(initial=_initial(request)), person_form=form)


@page
@require_POST
def make_code(request: PageRequest) -> HttpResponse:
    """Make a code that links a chat; it is shown in the answer to the post, and never again."""
    try:
        issued = issue_account_code(request.actor)
    except SlipwayError as error:
        messages.error(request, error.message)
        return redirect("dashboard:notifications")
    return _show(request, QuietHoursForm(initial=_initial(request)), issued)


@page
@require_POST
def unlink(request: PageRequest, account_id: uuid.UUID) -> HttpResponse:
    """Forget that an account on a platform is one's own."""
    attempt(request, lambda: unlink_account(request.actor, account_id), "The chat is unlinked.")
    return redirect("dashboard:notifications")


@page
@require_POST
def add_browser(request: PageRequest) -> HttpResponse:
    """Keep the browser that posts, as its own script describes it."""
    try:
        new = NewSubscription.model_validate_json(request.POST.get("subscription", ""))
        add_subscription(request.actor, new)
    except ValidationError:
        messages.error(request, "This browser gave no usable subscription.")
    except SlipwayError as error:
        messages.error(request, error.message)
    else:
        messages.success(request, "Notifications come to this browser from now on.")
    return redirect("dashboard:notifications")


@page
@require_POST
def remove_browser(request: PageRequest, subscription_id: uuid.UUID) -> HttpResponse:
    """Tell a browser nothing any more."""
    attempt(
        request,
        lambda: remove_subscription(request.actor, subscription_id),
        "This browser is told nothing any more.",
    )
    return redirect("dashboard:notifications")


def _show(
    request: PageRequest,
    form: QuietHoursForm,
    issued: IssuedCode | None = None,
    person_form: PersonForm | None = None,
) -> HttpResponse:
    addresses = list_chat_addresses(request.actor, issued.code) if issued is not None else []
    return show(
        request,
        "dashboard/notifications.html",
        lambda: {
            "form": form,
            "person_form": person_form or PersonForm(initial=_said_by(request)),
            "issued": issued,
            "addresses": addresses,
            "accounts": list(list_accounts(request.actor).order_by("-id")),
            "browsers": list(list_subscriptions(request.actor).order_by("-id")),
            "push_key": get_public_key(),
            "bots": sorted(list_links(request.actor), key=lambda row: row.name),
            "hours": (hours := get_quiet_hours(request.actor)),
            "quiet_until": hours.quiet_until(now()),
        },
        status=max(form.status, person_form.status if person_form is not None else 200),
    )


def _initial(request: PageRequest) -> dict[str, object]:
    with tenant_transaction(request.actor.org_id):
        return get_quiet_hours(request.actor).model_dump()


def _said_by(request: PageRequest) -> dict[str, str]:
    return {name: getattr(request.person, name) for name in PersonFields.model_fields}
