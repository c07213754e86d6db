"""API tokens and members."""

from __future__ import annotations

import uuid

from django.http import HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from services.api.dashboard.forms.settings import TokenForm
from services.api.dashboard.pages import PageRequest, attempt, page, show
from services.domain.identity.actions import change_role, create_token, remove_member, revoke_token
from services.domain.identity.models import Role
from services.domain.identity.queries import list_members, list_tokens
from services.domain.oauth.resources import list_servers


@page
@require_http_methods(["GET", "HEAD", "POST"])
def tokens(request: PageRequest) -> HttpResponse:
    """List the tokens; a new one's text is shown in the answer to the post, and never again."""
    servers = [server for server, _ in list_servers(request.actor)]
    form = TokenForm(request.POST or None, servers=servers)
    made: list[str] = []
    if request.method == "POST" and form.submit(
        lambda given: made.append(create_token(request.actor, **given)[1])
    ):
        form = TokenForm(servers=servers)
    return show(
        request,
        "dashboard/tokens.html",
        lambda: {"form": form, "tokens": list_tokens(request.actor), "made": made[0] if made else None},
        status=form.status,
    )


@page
@require_POST
def remove_token(request: PageRequest, token_id: uuid.UUID) -> HttpResponse:
    """Revoke a token."""
    attempt(request, lambda: revoke_token(request.actor, token_id), "The token is revoked.")
    return redirect("dashboard:tokens")


@page
@require_safe
def members(request: PageRequest) -> HttpResponse:
    """List the members."""
    return show(
        request,
        "dashboard/members.html",
        lambda: {"members": list_members(request.actor), "roles": Role.values},
    )


@page
@require_POST
def give_role(request: PageRequest, user_id: uuid.UUID) -> HttpResponse:
    """Give a member another role."""
    role = request.POST.get("role", "")
    attempt(request, lambda: change_role(request.actor, user_id, role), "The role is changed.")
    return redirect("dashboard:members")


@page
@require_POST
def remove(request: PageRequest, user_id: uuid.UUID) -> HttpResponse:
    """Remove a member."""
    attempt(request, lambda: remove_member(request.actor, user_id), "The member is removed.")
    return redirect("dashboard:members")
