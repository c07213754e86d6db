"""A terminal in a workspace's sandbox. What is typed and shown goes over the WebSocket, not through here."""

from __future__ import annotations

import uuid
from typing import Any

from django.http import HttpResponse, JsonResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_POST, require_safe

from services.api.dashboard.pages import PageRequest, attempt, page, show, wants_json
from services.domain.actors import require
from services.domain.workspaces.queries import get_workspace
from services.domain.workspaces.waking import wake_workspace
from services.kit.environment import environment


@page
@require_safe
def terminal(request: PageRequest, workspace_id: uuid.UUID) -> HttpResponse:
    """Show the terminal's page. Raises: ScopeMissing."""
    require(request.actor, "terminals:write")

    def context() -> dict[str, Any]:
        return {
            "workspace": get_workspace(request.actor, workspace_id),
            "realtime": environment().realtime_public_url.rstrip("/"),
        }

    return show(request, "dashboard/files/terminal.html", context)


@page
@require_POST
def wake(request: PageRequest, workspace_id: uuid.UUID) -> HttpResponse:
    """Have the sandbox come up."""
    if wants_json(request):
        wake_workspace(request.actor, workspace_id)
        return JsonResponse({}, status=202)
    attempt(request, lambda: wake_workspace(request.actor, workspace_id), "The sandbox is starting.")
    return redirect("dashboard:terminal", workspace_id=workspace_id)
