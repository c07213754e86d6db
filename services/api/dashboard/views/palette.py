"""What the command palette finds: things of the organisation by name. Pages and commands it knows by itself."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TypeVar

from django.db.models import Model, QuerySet
from django.http import HttpResponse, JsonResponse
from django.urls import reverse
from django.views.decorators.http import require_safe

from services.api.dashboard.pages import PageRequest, page
from services.domain.agents.queries import list_agents
from services.domain.chats.queries import list_chats
from services.domain.playbooks.queries import list_playbooks
from services.domain.rooms.queries import list_rooms
from services.domain.tenancy.transaction import tenant_transaction
from services.domain.workspaces.queries import list_recent_workspaces

EACH = 6
MAX_TEXT = 100


RowT = TypeVar("RowT", bound=Model)


@dataclass(frozen=True, slots=True)
class Found:
    """One line of the palette."""

    label: str
    kind: str
    icon: str
    url: str


@page
@require_safe
def find(request: PageRequest) -> HttpResponse:
    """Find what has the text in its name, the last active first where there is such an order."""
    text = request.GET.get("q", "").strip()[:MAX_TEXT]
    with tenant_transaction(request.actor.org_id):
        found = _find(request, text)
    return JsonResponse({"items": [asdict(line) for line in found]})


def _find(request: PageRequest, text: str) -> list[Found]:
    actor = request.actor
    workspaces = list_recent_workspaces(actor, text=text, limit=EACH)
    lines = [_line(row.name, "Workspace", "workspaces", "workspace", row) for row in workspaces]
    if not text:
        return lines
    lines += [_line(row.name, "Agent", "agent", "agent", row) for row in _named(list_agents(actor), text)]
    lines += [
        _line(row.name, "Playbook", "playbook", "playbook", row)
        for row in _named(list_playbooks(actor), text)
    ]
    lines += [
        _line(row.title, "Room", "room", "room", row)
        for row in _named(list_rooms(actor), text, field="title")
    ]
    lines += [
        _line(row.title, "Chat", "chat", "chat", row)
        for row in _named(list_chats(actor).exclude(link__kind="web"), text, field="title")
    ]
    return lines


def _named(rows: QuerySet[RowT], text: str, *, field: str = "name") -> list[RowT]:
    return list(rows.filter(**{f"{field}__icontains": text})[:EACH])


def _line(name: str, kind: str, icon: str, view: str, row: Model) -> Found:
    return Found(name or "Untitled", kind, icon, reverse(f"dashboard:{view}", args=[row.pk]))
