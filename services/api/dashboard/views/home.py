"""The first page: a composer for a new task, and the workspaces."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any

from django.http import HttpResponse
from django.shortcuts import redirect
from django.utils.dateparse import parse_datetime
from django.views.decorators.http import require_http_methods

from services.api.dashboard.forms.tasks import NewTaskForm
from services.api.dashboard.pages import PageRequest, page, show
from services.domain.agents.models import Agent
from services.domain.agents.queries import list_agents_by_name
from services.domain.tasks.submit import TaskOrder, submit_task
from services.domain.tenancy.transaction import tenant_transaction
from services.domain.workspaces.queries import find_usual_agent_id, list_recent_workspaces

PAGE_SIZE = 50


@page
@require_http_methods(["GET", "HEAD", "POST"])
def home(request: PageRequest) -> HttpResponse:
    """List the workspaces; a posted prompt becomes a task in a new one."""
    agents, usual = _agents(request)
    form = NewTaskForm(
        request.POST or None, agents=agents, initial={"agent_id": request.GET.get("agent") or usual}
    )
    made: list[Any] = []
    if request.method == "POST" and form.submit(lambda given: made.append(_submit(request, given))):
        return redirect("dashboard:workspace", workspace_id=made[0].workspace_id)
    return show(request, "dashboard/home.html", lambda: _context(request, form, agents), status=form.status)


def _submit(request: PageRequest, given: dict[str, Any]) -> object:
    order = TaskOrder(agent_id=given["agent_id"], prompt=given["prompt"])
    return submit_task(request.actor, order, source="web", idempotency_key=f"web:{given['key']}")


def _agents(request: PageRequest) -> tuple[list[Agent], uuid.UUID | None]:
    with tenant_transaction(request.actor.org_id):
        agents = list_agents_by_name(request.actor)
        return agents, find_usual_agent_id(request.actor)


def _context(request: PageRequest, form: NewTaskForm, agents: list[Agent]) -> dict[str, Any]:
    text = request.GET.get("q", "").strip()[:100]
    before = _moment(request.GET.get("before", ""))
    rows = list_recent_workspaces(request.actor, text=text, before=before, limit=PAGE_SIZE + 1)
    shown = rows[:PAGE_SIZE]
    older = shown[-1].last_active_at.isoformat() if len(rows) > PAGE_SIZE else None
    return {
        "form": form,
        "agents": agents,
        "workspaces": shown,
        "text": text,
        "before": before,
        "older": older,
    }


def _moment(text: str) -> datetime | None:
    try:
        found = parse_datetime(text)
    except ValueError:
        return None
    return found if found is not None and found.tzinfo is not None else None
