"""One workspace: its conversation up to now, and the doors through which the page goes on live."""

from __future__ import annotations

import uuid
from typing import Any

from django.http import HttpResponse, JsonResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_POST, require_safe

from services.api.dashboard.conversation import Conversation, complete, fold
from services.api.dashboard.forms.tasks import PromptForm
from services.api.dashboard.forms.workspaces import RenameForm
from services.api.dashboard.pages import PageRequest, attempt, page, show, wants_json
from services.domain.events.log import get_heads, list_events
from services.domain.identity.tickets import issue_ticket
from services.domain.questions.queries import list_open_questions
from services.domain.tasks.queries import list_unfinished_tasks
from services.domain.tasks.submit import TaskOrder, cancel_task, submit_task
from services.domain.tasks.tree import find_workspace_tree
from services.domain.tenancy.transaction import tenant_transaction
from services.domain.workspaces.actions import archive_workspace, delete_workspace, rename_workspace
from services.domain.workspaces.models import Workspace
from services.domain.workspaces.queries import get_workspace
from services.kit.environment import environment

DEPTH = 1_000
MAX_DEPTH = 20_000


@page
@require_safe
def workspace(request: PageRequest, workspace_id: uuid.UUID) -> HttpResponse:
    """Show the conversation."""
    form = PromptForm()
    return show(request, "dashboard/workspace.html", lambda: _context(request, workspace_id, form))


@page
@require_POST
def send_prompt(request: PageRequest, workspace_id: uuid.UUID) -> HttpResponse:
    """Submit the next prompt: a form post that comes back to the page, or the page's script that stays on it."""
    _find(request, workspace_id)
    form = PromptForm(request.POST)
    is_accepted = form.submit(lambda given: _submit(request, workspace_id, given))
    if wants_json(request):
        body = {} if is_accepted else {"error": {"message": form.refusal}}
        return JsonResponse(body, status=202 if is_accepted else 400)
    if is_accepted:
        return redirect("dashboard:workspace", workspace_id=workspace_id)
    return show(
        request, "dashboard/workspace.html", lambda: _context(request, workspace_id, form), status=form.status
    )


@page
@require_POST
def stop_task(request: PageRequest, workspace_id: uuid.UUID, task_id: uuid.UUID) -> HttpResponse:
    """Cancel a task of the workspace."""
    _find(request, workspace_id)
    if wants_json(request):
        cancel_task(request.actor, task_id)
        return JsonResponse({}, status=202)
    attempt(request, lambda: cancel_task(request.actor, task_id), "Stopping.")
    return redirect("dashboard:workspace", workspace_id=workspace_id)


@page
@require_POST
def make_ticket(request: PageRequest) -> HttpResponse:
    """Give the page's script a ticket for one connection to the stream."""
    return JsonResponse({"ticket": issue_ticket(request.actor)})


@page
@require_POST
def rename(request: PageRequest, workspace_id: uuid.UUID) -> HttpResponse:
    """Give the workspace a name."""
    _find(request, workspace_id)
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


def _submit(request: PageRequest, workspace_id: uuid.UUID, given: dict[str, Any]) -> object:
    order = TaskOrder(workspace_id=workspace_id, prompt=given["prompt"])
    return submit_task(request.actor, order, source="web", idempotency_key=f"web:{given['key']}")


def _find(request: PageRequest, workspace_id: uuid.UUID) -> Workspace:
    with tenant_transaction(request.actor.org_id):
        return get_workspace(request.actor, workspace_id)


def _context(request: PageRequest, workspace_id: uuid.UUID, form: PromptForm) -> dict[str, Any]:
    found = get_workspace(request.actor, workspace_id)
    depth = _depth(request)
    unfinished = list_unfinished_tasks(request.actor, workspace_id)
    conversation, has_earlier = _conversation(found, depth)
    complete(conversation, unfinished)
    return {
        "workspace": found,
        "tree": find_workspace_tree(request.actor, workspace_id),
        "form": form,
        "conversation": conversation,
        "sandbox_state": conversation.sandbox_state or found.sandbox_state,
        "questions": list_open_questions(request.actor, workspace_id),
        "deeper": min(depth + DEPTH, MAX_DEPTH) if has_earlier and depth < MAX_DEPTH else None,
        "realtime": environment().realtime_public_url.rstrip("/"),
    }


def _conversation(found: Workspace, depth: int) -> tuple[Conversation, bool]:
    """Return what the last events tell, and whether there are earlier ones."""
    oldest, head = get_heads([found.stream]).get(found.stream, (1, 0))
    after = max(head - depth, 0)
    conversation = fold(list_events(found.stream, after=after, limit=depth))
    conversation.last_seq = max(conversation.last_seq, after)
    return conversation, after >= oldest


def _depth(request: PageRequest) -> int:
    text = request.GET.get("depth", "")
    wanted = int(text) if text.isascii() and text.isdigit() and len(text) < 7 else DEPTH
    return max(DEPTH, min(wanted, MAX_DEPTH))
