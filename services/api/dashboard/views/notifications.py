"""A person's own chats, and when they want no messages there."""

from __future__ import annotations

import uuid

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_http_methods, require_POST

from services.api.dashboard.forms.notifications import QuietHoursForm
from services.api.dashboard.pages import PageRequest, attempt, page, show
from services.domain.chats.queries import list_links
from services.domain.contacts.accounts import IssuedCode, issue_account_code, list_accounts, unlink_account
from services.domain.contacts.quiet import QuietHours, get_quiet_hours, set_quiet_hours
from services.domain.errors import SlipwayError
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


def _show(request: PageRequest, form: QuietHoursForm, issued: IssuedCode | None = None) -> HttpResponse:
    return show(
        request,
        "dashboard/notifications.html",
        lambda: {
            "form": form,
            "issued": issued,
            "accounts": list(list_accounts(request.actor).order_by("-id")),
            "bots": sorted(list_links(request.actor), key=lambda row: row.name),
            "hours": (hours := get_quiet_hours(request.actor)),
            "quiet_until": hours.quiet_until(now()),
        },
        status=form.status,
    )


def _initial(request: PageRequest) -> dict[str, object]:
    with tenant_transaction(request.actor.org_id):
        return get_quiet_hours(request.actor).model_dump()
