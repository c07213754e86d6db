"""MCP servers of others: what they are, which of their tools wait for a look, and how they are connected."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST, require_safe
from pydantic import SecretStr

from services.api.dashboard.accesses import newest_accesses
from services.api.dashboard.authorizing import show_way_there, take_back
from services.api.dashboard.forms.mcp_servers import CredentialForm, McpServerForm
from services.api.dashboard.pages import PageRequest, attempt, page, show
from services.api.upstreams import (
    add_server,
    change_server,
    connect_server,
    finish_connecting,
    refresh_server,
)
from services.domain.tenancy.transaction import tenant_transaction
from services.domain.upstreams.actions import NewUpstream, approve_tools, delete_upstream
from services.domain.upstreams.models import UpstreamAuth, UpstreamServer
from services.domain.upstreams.queries import get_upstream, list_upstream_accesses, list_upstreams
from services.domain.upstreams.tools import Listing, ToolState, tool_states

_WORDS = re.compile(r"\s+|\w+|[^\w\s]")


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a tool's text: `same`, `gone` or `come` since it was reviewed."""

    kind: str
    text: str


@page
@sensitive_post_parameters("credential")
@require_http_methods(["GET", "HEAD", "POST"])
def mcp_servers(request: PageRequest) -> HttpResponse:
    """List the servers; a posted one is registered and asked for its tools."""
    form = McpServerForm(request.POST or None)
    made: list[UpstreamServer] = []
    if request.method == "POST" and form.submit(
        lambda given: made.append(add_server(request.actor, NewUpstream.model_validate(given)))
    ):
        messages.success(request, f"The MCP server {made[0].name} is registered.")
        return redirect("dashboard:mcp-server", server_id=made[0].id)
    return show(
        request,
        "dashboard/mcp_servers/list.html",
        lambda: {"form": form, "servers": list(list_upstreams(request.actor).order_by("name"))},
        status=form.status,
    )


@page
@require_safe
def mcp_server(request: PageRequest, server_id: uuid.UUID) -> HttpResponse:
    """Show a server and its tools, with what has changed in those that wait."""
    return show(
        request,
        "dashboard/mcp_servers/server.html",
        lambda: _context(request, get_upstream(request.actor, server_id)),
    )


@page
@require_POST
def refresh(request: PageRequest, server_id: uuid.UUID) -> HttpResponse:
    """Ask a server for its tools."""
    attempt(request, lambda: refresh_server(request.actor, server_id), "The server was asked.")
    return redirect("dashboard:mcp-server", server_id=server_id)


@page
@require_POST
def approve(request: PageRequest, server_id: uuid.UUID) -> HttpResponse:
    """Accept the tools that were on the page."""
    digest = request.POST.get("digest", "")
    attempt(request, lambda: approve_tools(request.actor, server_id, digest), "The tools are accepted.")
    return redirect("dashboard:mcp-server", server_id=server_id)


@page
@require_POST
def connect(request: PageRequest, server_id: uuid.UUID) -> HttpResponse:
    """Begin an authorization."""
    return show_way_there(
        request,
        lambda browser: connect_server(request.actor, server_id, browser),
        "dashboard/mcp_servers/connect.html",
        lambda: {"server": get_upstream(request.actor, server_id)},
        back=redirect("dashboard:mcp-server", server_id=server_id),
    )


@page
@require_safe
def come_back(request: PageRequest) -> HttpResponse:
    """Take what an authorization server sent a person back with."""
    return take_back(
        request,
        finish_connecting,
        all_of_them="dashboard:mcp-servers",
        place_of=lambda row: redirect("dashboard:mcp-server", server_id=row.id),
    )


@page
@sensitive_post_parameters("credential")
@require_POST
def credential(request: PageRequest, server_id: uuid.UUID) -> HttpResponse:
    """Replace a server's credential."""
    with tenant_transaction(request.actor.org_id):
        get_upstream(request.actor, server_id)
    form = CredentialForm(request.POST)
    is_taken = form.submit(
        lambda given: change_server(request.actor, server_id, {"credential": SecretStr(given["credential"])})
    )
    if is_taken:
        messages.success(request, "The credential is sealed.")
    else:
        messages.error(request, " ".join(str(text) for texts in form.errors.values() for text in texts))
    return redirect("dashboard:mcp-server", server_id=server_id)


@page
@require_POST
def delete(request: PageRequest, server_id: uuid.UUID) -> HttpResponse:
    """Remove a server."""
    attempt(request, lambda: delete_upstream(request.actor, server_id), "The MCP server is removed.")
    return redirect("dashboard:mcp-servers")


def list_choices(request: PageRequest) -> list[str]:
    """Return the names that this person's agents may list besides the platform's own servers."""
    with tenant_transaction(request.actor.org_id):
        return sorted(server.name for server in list_upstreams(request.actor))


def _context(request: PageRequest, server: UpstreamServer) -> dict[str, object]:
    states = tool_states(server)
    is_own = server.owner_id is not None and server.owner_id == request.actor.user_id
    return {
        "server": server,
        "tools": [tool for tool in states if tool.state in ("served", "hidden")],
        "waiting": [(tool, _difference(tool)) for tool in states if tool.state in ("new", "changed")],
        "may_change": request.actor.role in ("owner", "admin") or (is_own and request.actor.role != "viewer"),
        "is_oauth": server.auth == UpstreamAuth.OAUTH,
        "is_opened": server.auth != UpstreamAuth.NONE,
        "accesses": newest_accesses(request.actor, list_upstream_accesses(request.actor, server.id)),
        "form": CredentialForm() if server.auth == UpstreamAuth.HEADER else None,
    }


def _difference(tool: ToolState) -> list[Piece]:
    """Return a tool's texts in pieces, by what has become of them since the review."""
    after = _texts_of(tool.listing)
    if tool.before is None:
        return [Piece("same", text) for text in after]
    return [piece for pair in zip(_texts_of(tool.before), after, strict=True) for piece in _compare(*pair)]


def _compare(before: str, after: str) -> Iterator[Piece]:
    """Say where two texts begin to differ and where they end to: in one walk, because a stranger wrote both."""
    old, new = _WORDS.findall(before), _WORDS.findall(after)
    shortest = min(len(old), len(new))
    head = next((n for n in range(shortest) if old[n] != new[n]), shortest)
    tail = next((n for n in range(shortest - head) if old[-1 - n] != new[-1 - n]), shortest - head)
    pieces = (
        Piece("same", "".join(old[:head])),
        Piece("gone", "".join(old[head : len(old) - tail])),
        Piece("come", "".join(new[head : len(new) - tail])),
        Piece("same", "".join(old[len(old) - tail :])),
    )
    yield from (piece for piece in pieces if piece.text)


def _texts_of(listing: Listing) -> tuple[str, str]:
    """Return what a model reads of a tool: its description, and all the rest."""
    rest = {key: value for key, value in listing.items() if key not in ("name", "description")}
    return f"{listing.get('description', '')}\n\n", json.dumps(
        rest, indent=2, sort_keys=True, ensure_ascii=False
    )
