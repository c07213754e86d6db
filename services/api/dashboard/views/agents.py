"""Agents: list, make, change, archive."""

from __future__ import annotations

import uuid

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from services.api.dashboard.forms.agents import AgentForm
from services.api.dashboard.pages import PageRequest, attempt, page, show
from services.api.dashboard.views.mcp_servers import list_choices
from services.domain.agents.actions import AgentFields, archive_agent, create_agent, update_agent
from services.domain.agents.models import AgentRole
from services.domain.agents.people import list_agent_people, put_agent_person, remove_agent_person
from services.domain.agents.queries import get_agent, is_agent_admin, list_agents_by_name
from services.domain.errors import Missing
from services.domain.identity.queries import list_members
from services.domain.images.actions import rebuild_image
from services.domain.images.queries import list_newest_images
from services.domain.tenancy.transaction import tenant_transaction


@page
@require_safe
def agents(request: PageRequest) -> HttpResponse:
    """List the agents in use."""
    return show(
        request,
        "dashboard/agents/list.html",
        lambda: {"agents": list_agents_by_name(request.actor)},
    )


@page
@require_http_methods(["GET", "HEAD", "POST"])
def new_agent(request: PageRequest) -> HttpResponse:
    """Make an agent."""
    form = AgentForm(request.POST or None, servers=list_choices(request))
    if request.method == "POST" and form.submit(
        lambda given: create_agent(request.actor, AgentFields.model_validate(given))
    ):
        messages.success(request, f"The agent {form.cleaned_data['name']} is ready for its first task.")
        return redirect("dashboard:agents")
    return show(request, "dashboard/agents/form.html", lambda: {"form": form}, status=form.status)


@page
@require_http_methods(["GET", "HEAD", "POST"])
def agent(request: PageRequest, agent_id: uuid.UUID) -> HttpResponse:
    """Show and change an agent."""
    with tenant_transaction(request.actor.org_id):
        found = get_agent(request.actor, agent_id)
    form = AgentForm(request.POST or None, initial=AgentForm.initial_of(found), servers=list_choices(request))
    if request.method == "POST" and form.submit(lambda given: update_agent(request.actor, agent_id, given)):
        messages.success(request, "Saved. Turns that are at work keep what they started with.")
        return redirect("dashboard:agent", agent_id=agent_id)
    return show(
        request,
        "dashboard/agents/form.html",
        lambda: {
            "form": form,
            "agent": found,
            "builds": list_newest_images(request.actor, agent_id),
            "people": list_agent_people(request.actor, agent_id),
            "is_agent_admin": is_agent_admin(request.actor, found),
            "members": list_members(request.actor),
            "roles": AgentRole.values,
        },
        status=form.status,
    )


@page
@require_POST
def put_person(request: PageRequest, agent_id: uuid.UUID) -> HttpResponse:
    """Give somebody a role with an agent."""
    role = request.POST.get("role", "")
    try:
        user_id = uuid.UUID(request.POST.get("user_id", ""))
    except ValueError as error:
        raise Missing("There is no such member.") from error
    attempt(request, lambda: put_agent_person(request.actor, agent_id, user_id, role), "The role is given.")
    return redirect("dashboard:agent", agent_id=agent_id)


@page
@require_POST
def remove_person(request: PageRequest, agent_id: uuid.UUID, user_id: uuid.UUID) -> HttpResponse:
    """Take somebody's role with an agent away."""
    attempt(request, lambda: remove_agent_person(request.actor, agent_id, user_id), "The role is taken away.")
    return redirect("dashboard:agent", agent_id=agent_id)


@page
@require_POST
def build(request: PageRequest, agent_id: uuid.UUID) -> HttpResponse:
    """Build an agent's packages anew."""
    attempt(request, lambda: rebuild_image(request.actor, agent_id), "The packages are being built.")
    return redirect("dashboard:agent", agent_id=agent_id)


@page
@require_POST
def archive(request: PageRequest, agent_id: uuid.UUID) -> HttpResponse:
    """Take an agent out of use."""
    attempt(request, lambda: archive_agent(request.actor, agent_id), "The agent is archived.")
    return redirect("dashboard:agents")
