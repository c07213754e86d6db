"""Rooms: where several people and agents write to each other."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

from django.contrib import messages
from django.http import HttpResponse, JsonResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.http import urlencode
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from services.api.dashboard.forms.rooms import RoomAgentForm, RoomForm, RoomMessageForm
from services.api.dashboard.pages import PageRequest, attempt, page, show, wants_json
from services.api.http.operations import streamed
from services.api.room_files import download_file, keep_upload
from services.domain.agents.queries import list_agents_by_name
from services.domain.chats.models import Chat
from services.domain.errors import ChatMessageMissing, Invalid
from services.domain.events.log import get_heads
from services.domain.rooms.actions import bring_agent, close_room, open_room
from services.domain.rooms.files import MAX_FILES
from services.domain.rooms.queries import find_message, get_room, list_at_work, list_entries, list_rooms
from services.domain.rooms.writing import Words, add_reaction, press_button, remove_reaction, write_message
from services.domain.tenancy.transaction import tenant_transaction
from services.kit.environment import environment

PAGE_SIZE = 100
QUICK = ("👍", "❤", "🎉", "👀", "✅", "🙏")
"""What a click reacts with; over REST, and by agents, any emoji goes."""


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
        is_accepted = form.submit(lambda given: _write(request, room_id, given))
        if wants_json(request):
            body = {} if is_accepted else {"error": {"message": form.refusal}}
            return JsonResponse(body, status=202 if is_accepted else 400)
        if is_accepted:
            return redirect(_address(room_id, request.POST.get("thread_id", "")))
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
    return _do(request, room_id, lambda: press_button(request.actor, room_id, message_id, value))


@page
@require_POST
def react(request: PageRequest, room_id: uuid.UUID) -> HttpResponse:
    """React to a message, or take the reaction back that `taken_back` names."""
    message_id = request.POST.get("message_id", "")
    emoji, taken_back = request.POST.get("emoji", ""), request.POST.get("taken_back", "")
    if taken_back:
        return _do(request, room_id, lambda: remove_reaction(request.actor, room_id, message_id, taken_back))
    return _do(request, room_id, lambda: add_reaction(request.actor, room_id, message_id, emoji))


@page
@require_safe
def file(request: PageRequest, room_id: uuid.UUID, file_id: uuid.UUID) -> HttpResponseBase:
    """Download a file of a message."""
    return streamed(download_file(request.actor, room_id, file_id))


@page
@require_POST
def delete(request: PageRequest, room_id: uuid.UUID) -> HttpResponse:
    """Delete a room."""
    if attempt(request, lambda: close_room(request.actor, room_id), "The room is deleted."):
        return redirect("dashboard:rooms")
    return redirect("dashboard:room", room_id=room_id)


def _do(request: PageRequest, room_id: uuid.UUID, action: Callable[[], None]) -> HttpResponse:
    """Do something to a message, for the page's script or for a form without it, which comes back to its thread."""
    if wants_json(request):
        action()
        return JsonResponse({}, status=202)
    attempt(request, action, "Done.")
    return redirect(_address(room_id, request.POST.get("thread_id", "")))


def _address(room_id: uuid.UUID, thread_id: str) -> str:
    address = reverse("dashboard:room", args=[room_id])
    return f"{address}?{urlencode({'thread': thread_id})}" if thread_id else address


def _write(request: PageRequest, room_id: uuid.UUID, given: dict[str, Any]) -> None:
    uploads = [one for one in request.FILES.getlist("files") if one.size]
    if len(uploads) > MAX_FILES:
        raise Invalid(f"A message has at most {MAX_FILES} files.")
    kept = [
        keep_upload(request.actor, room_id, one.name or "file", one.chunks(), one.size or 0)
        for one in uploads
    ]
    words = Words(given["text"], tuple(row.id for row in kept), given["thread_id"])
    write_message(request.actor, room_id, words, key=given["key"])


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
    said = _said(request, room_id)
    form.initial["thread_id"] = said["thread_id"]
    return {
        **said,
        "form": form,
        "agent_form": RoomAgentForm(agents=agents),
        "stream": stream,
        "seq": head,
        "realtime": environment().realtime_public_url,
    }


def _said(request: PageRequest, room_id: uuid.UUID) -> dict[str, Any]:
    thread_id = request.GET.get("thread") or request.POST.get("thread_id", "")
    shown = list_entries(request.actor, room_id, thread_id=thread_id, limit=PAGE_SIZE)
    room = get_room(request.actor, room_id)
    if thread_id and find_message(room, thread_id) is None:
        raise ChatMessageMissing("There is no such thread in this room.")
    return {
        "room": room,
        "entries": shown,
        "thread_id": thread_id,
        "emojis": QUICK,
        "at_work": list_at_work(request.actor, room_id, thread_id=thread_id),
        "own_id": str(request.actor.user_id),
    }
