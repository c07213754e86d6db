"""Whom agents may send to, by which name."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_http_methods, require_POST

from services.api.dashboard.forms.destinations import DestinationForm
from services.api.dashboard.pages import PageRequest, attempt, page, show
from services.domain.agents.queries import list_agents_by_name
from services.domain.chats.queries import list_chats
from services.domain.contacts.accounts import find_reachable_people
from services.domain.contacts.destinations import (
    DestinationFields,
    create_destination,
    delete_destination,
    get_destination,
    list_destinations,
    may_change,
    update_destination,
)
from services.domain.contacts.models import Destination
from services.domain.identity.queries import list_members
from services.domain.tenancy.transaction import tenant_transaction

CHATS_OFFERED = 1_000


@dataclass(frozen=True, slots=True)
class Shown:
    """A destination, the names of the agents that may send there, and whether anything can arrive."""

    row: Destination
    agents: list[str]
    is_reachable: bool
    may_change: bool


@page
@require_http_methods(["GET", "HEAD", "POST"])
def destinations(request: PageRequest) -> HttpResponse:
    """List the destinations by name; a posted one is added."""
    form = _form(request)
    if request.method == "POST" and form.submit(
        lambda given: create_destination(request.actor, DestinationFields.model_validate(given))
    ):
        messages.success(request, f"Agents can send to {form.cleaned_data['name']} now.")
        return redirect("dashboard:destinations")
    return show(
        request,
        "dashboard/destinations/list.html",
        lambda: {"form": form, "destinations": _shown(request)},
        status=form.status,
    )


@page
@require_http_methods(["GET", "HEAD", "POST"])
def destination(request: PageRequest, destination_id: uuid.UUID) -> HttpResponse:
    """Show a destination; what is posted changes it."""
    with tenant_transaction(request.actor.org_id):
        found = get_destination(request.actor, destination_id)
    form = _form(request, found)
    if request.method == "POST" and form.submit(
        lambda given: update_destination(request.actor, destination_id, given)
    ):
        messages.success(request, "The destination is changed.")
        return redirect("dashboard:destinations")
    return show(
        request,
        "dashboard/destinations/destination.html",
        lambda: {"form": form, "destination": found, "may_change": may_change(request.actor, found)},
        status=form.status,
    )


@page
@require_POST
def delete(request: PageRequest, destination_id: uuid.UUID) -> HttpResponse:
    """Remove a destination."""
    attempt(request, lambda: delete_destination(request.actor, destination_id), "The destination is removed.")
    return redirect("dashboard:destinations")


def _form(request: PageRequest, found: Destination | None = None) -> DestinationForm:
    with tenant_transaction(request.actor.org_id):
        newest = list(list_chats(request.actor).order_by("-id")[:CHATS_OFFERED])
        known = {chat.id for chat in newest}
        if found is not None and found.chat_id is not None and found.chat_id not in known:
            newest += list_chats(request.actor).filter(id=found.chat_id)
        return DestinationForm(
            request.POST or None,
            chats=newest,
            members=list_members(request.actor),
            agents=list_agents_by_name(request.actor),
            may_share=found is None and request.actor.role in ("owner", "admin"),
            is_fixed=found is not None and not may_change(request.actor, found),
            initial=DestinationForm.initial_of(found) if found is not None else {},
        )


def _shown(request: PageRequest) -> list[Shown]:
    rows = list_destinations(request.actor).select_related("chat__link", "person")
    rows = rows.defer("chat__link__sealed_config").order_by("name", "id")
    names: dict[Any, str] = {agent.id: agent.name for agent in list_agents_by_name(request.actor)}
    reachable = find_reachable_people([row.person_id for row in rows if row.person_id is not None])
    return [
        Shown(
            row,
            [names.get(agent_id, "an archived agent") for agent_id in row.agent_ids],
            row.person_id is None or row.person_id in reachable,
            may_change(request.actor, row),
        )
        for row in rows
    ]
