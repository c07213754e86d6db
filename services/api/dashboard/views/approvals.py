"""Approvals: what agents ask for, and the buttons that decide it."""

from __future__ import annotations

import uuid
from typing import Any

from django.contrib import messages
from django.http import HttpResponse, JsonResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_POST, require_safe

from services.api.dashboard.approvals_shown import show_approval
from services.api.dashboard.pages import PageRequest, page, show, wants_json
from services.domain.approvals.actions import Decision, Scope, decide_approval
from services.domain.approvals.models import ApprovalStatus
from services.domain.approvals.queries import (
    get_approval,
    list_decided_approvals,
    list_pending_approvals,
)
from services.domain.errors import Invalid, Missing, SlipwayError
from services.domain.tenancy.transaction import tenant_transaction

BUTTONS: dict[str, tuple[Decision, Scope, str]] = {
    "allow": ("allow", "once", "Allowed this once."),
    "always": ("allow", "always", "Allowed from now on."),
    "deny": ("deny", "once", "Denied."),
}


@page
@require_safe
def approvals(request: PageRequest) -> HttpResponse:
    """List what waits for somebody's word, and what was decided last."""
    return show(request, "dashboard/approvals.html", lambda: _context(request))


@page
@require_POST
def decide(request: PageRequest, approval_id: uuid.UUID) -> HttpResponse:
    """Allow or deny; goes back to where the button was."""
    with tenant_transaction(request.actor.org_id):
        found = get_approval(request.actor, approval_id)
    chosen = BUTTONS.get(request.POST.get("decision", ""))
    if chosen is None:
        raise Invalid("There is no such decision.")
    decision, scope, done = chosen
    choice = request.POST.get("choice", "") if decision == "allow" else ""
    if wants_json(request):
        decide_approval(request.actor, approval_id, decision, scope, choice=choice)
        return JsonResponse({}, status=202)
    try:
        decided = decide_approval(request.actor, approval_id, decision, scope, choice=choice)
    except Missing:
        raise
    except SlipwayError as error:
        messages.error(request, error.message)
    else:
        is_half = decided.status == ApprovalStatus.PENDING
        messages.success(request, "Your yes is kept. One more person must agree." if is_half else done)
    if request.POST.get("back") == "workspace" and found.workspace_id:
        return redirect("dashboard:workspace", workspace_id=found.workspace_id)
    return redirect("dashboard:approvals")


def _context(request: PageRequest) -> dict[str, Any]:
    return {
        "pending": [show_approval(request.actor, row) for row in list_pending_approvals(request.actor)],
        "decided": [show_approval(request.actor, row) for row in list_decided_approvals(request.actor)],
    }
