"""Rooms: where several people and agents write to each other."""

from __future__ import annotations

import uuid
from typing import Any

from django.contrib import messages
from django.http import HttpResponse, JsonResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from services.api.dashboard.forms.rooms import RoomAgentForm, RoomForm, RoomMessageForm
from services.api.dashboard.pages import PageRequest, attempt, page, show, wants_json
from services.domain.agents.queries import list_agents_by_name
from services.domain.chats.models import Chat
from services.domain.events.log import get_heads
from services.domain.rooms.actions import bring_agent, close_room, open_room, press_button, write_message
from services.domain.rooms.queries import get_room, list_at_work, list_entries, list_rooms
from services.domain.tenancy.transaction import tenant_transaction
from services.kit.environment import environment

PAGE_SIZE = 100


@page
@require_http_methods(["GET", "HEAD", "POST"])
def rooms(request: PageRequest) -> HttpResponse:
    """List the rooms, the last written in first; a posted name opens one."""
    form = RoomForm(request.POST or None)
    made: list[Chat] = []
    if request.method == "POST" and form.submit(
        lambda given: made.append(open_room(request.actor, given["title"]))
    ):
        messages.success(request, "The room is open. Bring an agent in.")
        return redirect("dashboard:room", room_id=made[0].id)
    return show(
        request,
        "dashboard/rooms/list.html",
        lambda: {"form": form, "rooms": _by_last_message(request)},
        status=form.status,
    )


@page
@require_http_methods(["GET", "HEAD", "POST"])
def room(request: PageRequest, room_id: uuid.UUID) -> HttpResponse:
    """Show a room; what is posted is written in it, by a form or by the page's script, which stays on it."""
    form = RoomMessageForm(request.POST or None)
    if request.method == "POST":
        _find(request, room_id)
        is_accepted = form.submit(
            lambda given: write_message(request.actor, room_id, given["text"], key=given["key"])
        )
        if wants_json(request):
            body = {} if is_accepted else {"error": {"message": form.refusal}}
            return JsonResponse(body, status=202 if is_accepted else 400)
        if is_accepted:
            return redirect("dashboard:room", room_id=room_id)
    return show(
        request, "dashboard/rooms/room.html", lambda: _context(request, room_id, form), status=form.status
    )


@page
@require_safe
def entries(request: PageRequest, room_id: uuid.UUID) -> HttpResponse:
    """Show what was said: a part of the room's page, asked for when that changes."""
    return show(request, "dashboard/rooms/entries.html", lambda: _said(request, room_id))


@page
@require_POST
def bring(request: PageRequest, room_id: uuid.UUID) -> HttpResponse:
    """Have an agent in the room."""
    form = RoomAgentForm(request.POST, agents=_agents(request))
    if form.is_valid():
        given = form.cleaned_data
        attempt(
            request,
            lambda: bring_agent(
                request.actor, room_id, given["agent_id"], answers_all=given["answers"] == "all"
            ),
            "The agent is in the room.",
        )
    else:
        _find(request, room_id)
        messages.error(request, "Choose an agent.")
    return redirect("dashboard:room", room_id=room_id)


@page
@require_POST
def press(request: PageRequest, room_id: uuid.UUID) -> HttpResponse:
    """Press a button below a message."""
    message_id, value = request.POST.get("message_id", ""), request.POST.get("value", "")

    def give() -> None:
        press_button(request.actor, room_id, message_id, value)

    if wants_json(request):
        give()
        return JsonResponse({}, status=202)
    attempt(request, give, "Pressed.")
    return redirect("dashboard:room", room_id=room_id)


@page
@require_POST
def delete(request: PageRequest, room_id: uuid.UUID) -> HttpResponse:
    """Delete a room."""
    if attempt(request, lambda: close_room(request.actor, room_id), "The room is deleted."):
        return redirect("dashboard:rooms")
    return redirect("dashboard:room", room_id=room_id)


def _find(request: PageRequest, room_id: uuid.UUID) -> Chat:
    with tenant_transaction(request.actor.org_id):
        return get_room(request.actor, room_id)


def _agents(request: PageRequest) -> list[Any]:
    with tenant_transaction(request.actor.org_id):
        return list(list_agents_by_name(request.actor))


def _by_last_message(request: PageRequest) -> list[Chat]:
    rows: list[Any] = list(list_rooms(request.actor)[:200])
    return sorted(rows, key=lambda row: row.last_message_at or row.created_at, reverse=True)


def _context(request: PageRequest, room_id: uuid.UUID, form: RoomMessageForm) -> dict[str, Any]:
    # The stream's head first: what comes while the page is made is told again, never missed.
    stream = f"org:{request.actor.org_id}"
    _, head = get_heads([stream]).get(stream, (1, 0))
    agents = list(list_agents_by_name(request.actor))
    return {
        **_said(request, room_id),
        "form": form,
        "agent_form": RoomAgentForm(agents=agents),
        "stream": stream,
        "seq": head,
        "realtime": environment().realtime_public_url,
    }


def _said(request: PageRequest, room_id: uuid.UUID) -> dict[str, Any]:
    shown = list_entries(request.actor, room_id, limit=PAGE_SIZE)
    return {
        "room": get_room(request.actor, room_id),
        "entries": shown,
        "at_work": list_at_work(request.actor, room_id),
        "own_id": str(request.actor.user_id),
    }
