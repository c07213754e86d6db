"""One workspace: its conversation up to now, and the doors through which the page goes on live."""

from __future__ import annotations

import uuid
from typing import Any

from django.http import HttpResponse, JsonResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_POST, require_safe

from services.api.dashboard.conversation_page import describe, find_waits
from services.api.dashboard.forms.workspaces import RenameForm
from services.api.dashboard.pages import PageRequest, attempt, page, show
from services.domain.identity.tickets import issue_ticket
from services.domain.tasks.queries import list_unfinished_tasks
from services.domain.tenancy.transaction import tenant_transaction
from services.domain.workspaces.actions import archive_workspace, delete_workspace, rename_workspace
from services.domain.workspaces.queries import get_workspace


@page
@require_safe
def workspace(request: PageRequest, workspace_id: uuid.UUID) -> HttpResponse:
    """Show the conversation."""
    return show(
        request,
        "dashboard/workspace.html",
        lambda: describe(request.actor, workspace_id, None, request.GET),
    )


@page
@require_safe
def waits(request: PageRequest, workspace_id: uuid.UUID) -> HttpResponse:
    """Show what a workspace is at and waits for: a part of its page, asked for when that changes."""
    return show(request, "dashboard/conversation/waits.html", lambda: _waits(request, workspace_id))


@page
@require_POST
def make_ticket(request: PageRequest) -> HttpResponse:
    """Give the page's script a ticket for one connection to the stream."""
    return JsonResponse({"ticket": issue_ticket(request.actor)})


@page
@require_POST
def rename(request: PageRequest, workspace_id: uuid.UUID) -> HttpResponse:
    """Give the workspace a name."""
    with tenant_transaction(request.actor.org_id):
        get_workspace(request.actor, workspace_id)
    form = RenameForm(request.POST)
    form.submit(lambda given: rename_workspace(request.actor, workspace_id, given["name"]))
    return redirect("dashboard:workspace", workspace_id=workspace_id)


@page
@require_POST
def archive(request: PageRequest, workspace_id: uuid.UUID) -> HttpResponse:
    """Close the workspace to new work."""
    attempt(request, lambda: archive_workspace(request.actor, workspace_id), "The workspace is archived.")
    return redirect("dashboard:workspace", workspace_id=workspace_id)


@page
@require_POST
def delete(request: PageRequest, workspace_id: uuid.UUID) -> HttpResponse:
    """Delete the workspace with all that is in it."""
    if attempt(request, lambda: delete_workspace(request.actor, workspace_id), "The workspace is deleted."):
        return redirect("dashboard:home")
    return redirect("dashboard:workspace", workspace_id=workspace_id)


def _waits(request: PageRequest, workspace_id: uuid.UUID) -> dict[str, Any]:
    found = get_workspace(request.actor, workspace_id)
    unfinished = list_unfinished_tasks(request.actor, workspace_id)
    return {"workspace": found, "waits": find_waits(request.actor, workspace_id, unfinished)}
