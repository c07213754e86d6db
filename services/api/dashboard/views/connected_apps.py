"""The programs that people connected."""

from __future__ import annotations

import uuid

from django.http import HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_POST, require_safe

from services.api.dashboard.pages import PageRequest, attempt, page, show
from services.domain.oauth.grants import disconnect_app
from services.domain.oauth.queries import list_connected_apps
from services.domain.oauth.resources import list_servers, resource_url


@page
@require_safe
def connected_apps(request: PageRequest) -> HttpResponse:
    """List the connected programs, and say how to connect one."""
    return show(
        request,
        "dashboard/connected_apps/list.html",
        lambda: {
            "apps": list(list_connected_apps(request.actor).order_by("-id")),
            "address": resource_url(None),
            "servers": [
                (server, resource_url(server.name))
                for server, is_of_use in list_servers(request.actor)
                if is_of_use
            ],
        },
    )


@page
@require_POST
def disconnect(request: PageRequest, app_id: uuid.UUID) -> HttpResponse:
    """End what a program was allowed."""
    attempt(request, lambda: disconnect_app(request.actor, app_id), "The program is disconnected.")
    return redirect("dashboard:connected-apps")
