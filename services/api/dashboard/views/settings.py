"""Secrets, API tokens and members."""

from __future__ import annotations

import uuid

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from services.api.dashboard.forms.settings import SecretForm, TokenForm
from services.api.dashboard.pages import PageRequest, attempt, page, show
from services.domain.agents.models import Agent
from services.domain.agents.queries import list_agents_by_name
from services.domain.identity.actions import create_token, remove_member, revoke_token
from services.domain.identity.queries import list_members, list_tokens
from services.domain.tenancy.transaction import tenant_transaction
from services.domain.vault.actions import create_secret, delete_secret, list_secrets


@page
@sensitive_post_parameters("value")
@require_http_methods(["GET", "HEAD", "POST"])
def secrets(request: PageRequest) -> HttpResponse:
    """List the secrets by name; a posted one is sealed."""
    agents = _agents(request)
    names = {agent.id: agent.name for agent in agents}
    form = SecretForm(request.POST or None, agents=agents)
    if request.method == "POST" and form.submit(lambda given: create_secret(request.actor, **given)):
        messages.success(request, f"The secret {form.cleaned_data['name']} is sealed.")
        return redirect("dashboard:secrets")
    return show(
        request,
        "dashboard/secrets.html",
        lambda: {
            "form": form,
            "secrets": [
                (secret, [names[agent_id] for agent_id in secret.agent_ids or [] if agent_id in names])
                for secret in sorted(list_secrets(request.actor), key=lambda row: row.name)
            ],
        },
        status=form.status,
    )


@page
@require_POST
def remove_secret(request: PageRequest, secret_id: uuid.UUID) -> HttpResponse:
    """Delete a secret."""
    attempt(request, lambda: delete_secret(request.actor, secret_id), "The secret is deleted.")
    return redirect("dashboard:secrets")


@page
@require_http_methods(["GET", "HEAD", "POST"])
def tokens(request: PageRequest) -> HttpResponse:
    """List the tokens; a new one's text is shown in the answer to the post, and never again."""
    form = TokenForm(request.POST or None)
    made: list[str] = []
    if request.method == "POST" and form.submit(
        lambda given: made.append(create_token(request.actor, **given)[1])
    ):
        form = TokenForm()
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
    return show(request, "dashboard/members.html", lambda: {"members": list_members(request.actor)})


@page
@require_POST
def remove(request: PageRequest, user_id: uuid.UUID) -> HttpResponse:
    """Remove a member."""
    attempt(request, lambda: remove_member(request.actor, user_id), "The member is removed.")
    return redirect("dashboard:members")


def _agents(request: PageRequest) -> list[Agent]:
    with tenant_transaction(request.actor.org_id):
        return list_agents_by_name(request.actor)
