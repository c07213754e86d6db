"""API tokens, members, invitations, the organisation itself, its audit log."""

from __future__ import annotations

import uuid
from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from services.api.dashboard.forms.settings import AuditForm, InvitationForm, OrganisationForm, TokenForm
from services.api.dashboard.pages import PageRequest, attempt, page, show
from services.domain.agents.queries import list_agents_by_name
from services.domain.audit.queries import list_audit
from services.domain.identity.deletion import cancel_deletion, plan_deletion
from services.domain.identity.exports import list_exports, order_export
from services.domain.identity.invitations import invite, join_address, list_invitations, revoke_invitation
from services.domain.identity.members import change_role, leave_organisation, remove_member
from services.domain.identity.models import Invitation, Role
from services.domain.identity.organisations import rename_organisation
from services.domain.identity.queries import list_members, list_tokens
from services.domain.identity.tokens import create_token, revoke_token, rotate_token
from services.domain.oauth.resources import list_servers
from services.domain.tenancy.transaction import tenant_transaction
from services.kit.environment import environment

AUDIT_PAGE = 100


@page
@require_http_methods(["GET", "HEAD", "POST"])
def tokens(request: PageRequest) -> HttpResponse:
    """List the tokens; a new one's text is shown in the answer to the post, and never again."""
    form = _token_form(request, request.POST or None)
    made: list[str] = []
    if request.method == "POST" and form.submit(
        lambda given: made.append(create_token(request.actor, **given)[1])
    ):
        form = _token_form(request)
    return show(
        request,
        "dashboard/tokens.html",
        lambda: {"form": form, "tokens": list_tokens(request.actor), "made": made[0] if made else None},
        status=form.status,
    )


@page
@require_POST
def rotate(request: PageRequest, token_id: uuid.UUID) -> HttpResponse:
    """Give a token another text, which is shown in this answer and never again."""
    made: list[str] = []
    is_done = attempt(
        request,
        lambda: made.append(rotate_token(request.actor, token_id)[1]),
        "The key before works for 24 hours more.",
    )
    if not is_done:
        return redirect("dashboard:tokens")
    form = _token_form(request)
    return show(
        request,
        "dashboard/tokens.html",
        lambda: {"form": form, "tokens": list_tokens(request.actor), "made": made[0]},
    )


def _token_form(request: PageRequest, data: Any = None) -> TokenForm:
    """Return the form for a new token, with the agents that it could be narrowed to."""
    with tenant_transaction(request.actor.org_id):
        agents = [(str(agent.id), agent.name) for agent in list_agents_by_name(request.actor)]
    servers = [server for server, _ in list_servers(request.actor)]
    return TokenForm(data, servers=servers, agents=agents)


@page
@require_POST
def remove_token(request: PageRequest, token_id: uuid.UUID) -> HttpResponse:
    """Revoke a token."""
    attempt(request, lambda: revoke_token(request.actor, token_id), "The token is revoked.")
    return redirect("dashboard:tokens")


@page
@require_http_methods(["GET", "HEAD", "POST"])
def members(request: PageRequest) -> HttpResponse:
    """List the members and the open invitations; a new one's link is shown once, unless it was mailed."""
    form = InvitationForm(request.POST or None)
    made: list[tuple[Invitation, str | None]] = []
    if request.method == "POST" and form.submit(lambda given: made.append(invite(request.actor, **given))):
        form = InvitationForm()
    return show(
        request,
        "dashboard/members.html",
        lambda: {
            "members": list_members(request.actor),
            "roles": Role.values,
            "form": form,
            "made": made[0][0] if made else None,
            "made_link": join_address(made[0][1]) if made and made[0][1] else None,
            "invitations": _invitations(request),
        },
        status=form.status,
    )


def _invitations(request: PageRequest) -> list[Invitation]:
    is_admin = request.actor.role in ("owner", "admin")
    return list(list_invitations(request.actor).order_by("-id")) if is_admin else []


@page
@require_POST
def take_back(request: PageRequest, invitation_id: uuid.UUID) -> HttpResponse:
    """Revoke an invitation."""
    attempt(request, lambda: revoke_invitation(request.actor, invitation_id), "The invitation is revoked.")
    return redirect("dashboard:members")


@page
@require_http_methods(["GET", "HEAD", "POST"])
def organisation(request: PageRequest) -> HttpResponse:
    """Show the organisation's names, and let its owners change them."""
    row = request.organisation
    form = OrganisationForm(request.POST or None, initial={"name": row.name, "slug": row.slug})
    if request.method == "POST" and form.submit(lambda given: rename_organisation(request.actor, given)):
        messages.success(request, "The organisation is renamed.")
        return redirect("dashboard:organisation")
    is_owner = request.actor.role == "owner"
    return show(
        request,
        "dashboard/organisation.html",
        lambda: {
            "form": form,
            "exports": list(list_exports(request.actor).order_by("-id")[:5]) if is_owner else [],
            "grace_days": environment().deletion_grace_days,
        },
        status=form.status,
    )


@page
@require_POST
def export(request: PageRequest) -> HttpResponse:
    """Have an archive made."""
    attempt(request, lambda: order_export(request.actor), "The export is being made.")
    return redirect("dashboard:organisation")


@page
@require_POST
def end(request: PageRequest) -> HttpResponse:
    """Plan the organisation's deletion, or take that back."""
    if request.POST.get("to") == "keep":
        attempt(request, lambda: cancel_deletion(request.actor), "The organisation stays.")
    else:
        attempt(request, lambda: plan_deletion(request.actor), "The deletion is planned.")
    return redirect("dashboard:organisation")


@page
@require_POST
def leave(request: PageRequest) -> HttpResponse:
    """Leave the organisation."""
    is_out = attempt(request, lambda: leave_organisation(request.actor), "You have left the organisation.")
    return redirect("dashboard:home" if is_out else "dashboard:organisation")


@page
@require_safe
def audit(request: PageRequest) -> HttpResponse:
    """Show what changed who may do what, newest first."""

    def build() -> dict[str, Any]:
        people = [(str(member.user_id), member.user.email) for member in list_members(request.actor)]
        form = AuditForm(request.GET, people=people)
        rows = list_audit(request.actor).order_by("-id")
        if form.is_valid():
            wanted = {"action": form.cleaned_data["action"], "user_id": form.cleaned_data["user"]}
            rows = rows.filter(**{name: value for name, value in wanted.items() if value})
        before = _uuid_or_none(request.GET.get("before", ""))
        found = list(rows.filter(id__lt=before)[: AUDIT_PAGE + 1] if before else rows[: AUDIT_PAGE + 1])
        shown = found[:AUDIT_PAGE]
        return {"form": form, "records": shown, "next": shown[-1].id if len(found) > AUDIT_PAGE else None}

    return show(request, "dashboard/audit.html", build)


def _uuid_or_none(text: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(text)
    except ValueError:
        return None


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
