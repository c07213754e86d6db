"""Playbooks: list, make, change, switch, fire."""

from __future__ import annotations

import uuid
from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from services.api.dashboard.forms.playbooks import PlaybookForm
from services.api.dashboard.pages import PageRequest, attempt, page, show
from services.api.dashboard.schedules import words_for
from services.domain.agents.queries import list_agents_by_name
from services.domain.chats.queries import list_chats
from services.domain.playbooks.actions import (
    PlaybookFields,
    create_playbook,
    delete_playbook,
    run_playbook,
    update_playbook,
)
from services.domain.playbooks.models import Playbook
from services.domain.playbooks.queries import get_playbook, list_last_runs, list_playbooks
from services.domain.tasks.queries import get_task
from services.domain.tenancy.transaction import tenant_transaction
from services.kit.environment import environment


@page
@require_safe
def playbooks(request: PageRequest) -> HttpResponse:
    """List the playbooks, each with its schedule in words."""
    return show(
        request,
        "dashboard/playbooks/list.html",
        lambda: {
            "playbooks": [
                (row, words_for(row.cron))
                for row in sorted(list_playbooks(request.actor), key=lambda row: row.name.lower())
            ]
        },
    )


@page
@require_http_methods(["GET", "HEAD", "POST"])
def new_playbook(request: PageRequest) -> HttpResponse:
    """Make a playbook; the answer to the post shows its hook's secret, which is never shown again."""
    form = PlaybookForm(request.POST or None, **_choices(request))
    made: list[tuple[Playbook, str]] = []
    if request.method == "POST" and form.submit(
        lambda given: made.append(create_playbook(request.actor, PlaybookFields.model_validate(given)))
    ):
        row, secret = made[0]
        return show(
            request, "dashboard/playbooks/made.html", lambda: {**_shown(request, row), "secret": secret}
        )
    return show(request, "dashboard/playbooks/form.html", lambda: {"form": form}, status=form.status)


@page
@require_http_methods(["GET", "HEAD", "POST"])
def playbook(request: PageRequest, playbook_id: uuid.UUID) -> HttpResponse:
    """Show a playbook with its last runs, and change it."""
    found = _find(request, playbook_id)
    form = PlaybookForm(request.POST or None, initial=PlaybookForm.initial_of(found), **_choices(request))
    if request.method == "POST" and form.submit(
        lambda given: update_playbook(request.actor, playbook_id, given)
    ):
        messages.success(request, "Saved.")
        return redirect("dashboard:playbook", playbook_id=playbook_id)
    return show(
        request,
        "dashboard/playbooks/form.html",
        lambda: {**_shown(request, found), "form": form, "runs": list_last_runs(request.actor, playbook_id)},
        status=form.status,
    )


@page
@require_POST
def run(request: PageRequest, playbook_id: uuid.UUID) -> HttpResponse:
    """Fire a playbook now and open what it does."""
    fired = run_playbook(request.actor, playbook_id, key=request.POST.get("key") or None)
    if fired.task_id is None:
        messages.error(request, f"It did not run. {fired.error}")
        return redirect("dashboard:playbook", playbook_id=playbook_id)
    with tenant_transaction(request.actor.org_id):
        task = get_task(request.actor, fired.task_id)
    return redirect("dashboard:workspace", workspace_id=task.workspace_id)


@page
@require_POST
def switch(request: PageRequest, playbook_id: uuid.UUID) -> HttpResponse:
    """Enable or disable a playbook."""
    is_enabled = request.POST.get("is_enabled") == "yes"
    attempt(
        request,
        lambda: update_playbook(request.actor, playbook_id, {"is_enabled": is_enabled}),
        "The playbook is enabled." if is_enabled else "The playbook is disabled.",
    )
    return redirect("dashboard:playbooks")


@page
@require_POST
def delete(request: PageRequest, playbook_id: uuid.UUID) -> HttpResponse:
    """Delete a playbook."""
    attempt(request, lambda: delete_playbook(request.actor, playbook_id), "The playbook is deleted.")
    return redirect("dashboard:playbooks")


def _find(request: PageRequest, playbook_id: uuid.UUID) -> Playbook:
    with tenant_transaction(request.actor.org_id):
        return get_playbook(request.actor, playbook_id)


def _choices(request: PageRequest) -> dict[str, Any]:
    with tenant_transaction(request.actor.org_id):
        return {
            "agents": list_agents_by_name(request.actor),
            "chats": sorted(list_chats(request.actor), key=lambda row: row.title.lower()),
        }


def _shown(request: PageRequest, found: Playbook) -> dict[str, Any]:
    base = environment().public_url.rstrip("/")
    return {
        "playbook": found,
        "schedule": words_for(found.cron),
        "hook_url": f"{base}/hooks/playbook/{found.id}",
        "run_key": uuid.uuid4().hex,
    }
