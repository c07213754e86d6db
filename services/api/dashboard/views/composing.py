"""What the composer under a conversation sends: the next prompt, an earlier one again, and Stop."""

from __future__ import annotations

import uuid
from typing import Any

from django.http import HttpResponse, JsonResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.views.decorators.http import require_POST

from services.api.dashboard.conversation_page import describe, next_prompt_form
from services.api.dashboard.pages import PageRequest, attempt, page, show, wants_json
from services.domain.errors import Missing
from services.domain.tasks.again import retry_task
from services.domain.tasks.models import Task
from services.domain.tasks.prompting import prompt_workspace
from services.domain.tasks.queries import get_task
from services.domain.tasks.submit import TaskOrder, cancel_task
from services.domain.tenancy.transaction import tenant_transaction
from services.domain.workspaces.models import Workspace
from services.domain.workspaces.queries import get_workspace


@page
@require_POST
def send_prompt(request: PageRequest, workspace_id: uuid.UUID) -> HttpResponse:
    """Submit the next prompt: a form post that comes back to the page, or the page's script that stays on it."""
    with tenant_transaction(request.actor.org_id):
        here = get_workspace(request.actor, workspace_id)
        form = next_prompt_form(request.actor, here, request.POST)
    taken: list[Task] = []
    is_accepted = form.submit(lambda given: taken.append(_prompt(request, here, given)))
    if not is_accepted and not wants_json(request):
        return show(
            request,
            "dashboard/workspace.html",
            lambda: describe(request.actor, workspace_id, form, request.GET),
            status=form.status,
        )
    if not is_accepted:
        return JsonResponse({"error": {"message": form.refusal}}, status=400)
    there = reverse("dashboard:workspace", args=[taken[0].workspace_id])
    if wants_json(request):
        return JsonResponse({} if taken[0].workspace_id == here.id else {"location": there}, status=202)
    return redirect(there)


@page
@require_POST
def stop(request: PageRequest, workspace_id: uuid.UUID, task_id: uuid.UUID) -> HttpResponse:
    """Cancel a task of the workspace."""
    _refuse_elsewhere(request, workspace_id, task_id)
    if wants_json(request):
        cancel_task(request.actor, task_id)
        return JsonResponse({}, status=202)
    attempt(request, lambda: cancel_task(request.actor, task_id), "Stopping.")
    return redirect("dashboard:workspace", workspace_id=workspace_id)


@page
@require_POST
def retry(request: PageRequest, workspace_id: uuid.UUID, task_id: uuid.UUID) -> HttpResponse:
    """Ask again for what an ended task was asked for."""
    _refuse_elsewhere(request, workspace_id, task_id)
    if wants_json(request):
        made = retry_task(request.actor, task_id)
        there = reverse("dashboard:workspace", args=[made.workspace_id])
        return JsonResponse({} if made.workspace_id == workspace_id else {"location": there}, status=202)
    attempt(request, lambda: retry_task(request.actor, task_id), "It is asked for again.")
    return redirect("dashboard:workspace", workspace_id=workspace_id)


def _prompt(request: PageRequest, here: Workspace, given: dict[str, Any]) -> Task:
    agent_id = given["agent_id"]
    order = TaskOrder(
        workspace_id=None if agent_id else here.id,
        agent_id=agent_id,
        prompt=given["prompt"],
        model=given["model"],
        max_budget_microusd=given["max_budget_microusd"],
    )
    return prompt_workspace(request.actor, order, given["when_busy"], idempotency_key=f"web:{given['key']}")


def _refuse_elsewhere(request: PageRequest, workspace_id: uuid.UUID, task_id: uuid.UUID) -> None:
    with tenant_transaction(request.actor.org_id):
        get_workspace(request.actor, workspace_id)
        if get_task(request.actor, task_id).workspace_id != workspace_id:
            raise Missing("There is no such task here.")
