"""Secrets: who may have them, where they may go, their versions, and who had them."""

from __future__ import annotations

import uuid
from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST
from pydantic import SecretStr

from services.api.dashboard.accesses import newest_accesses
from services.api.dashboard.forms.secrets import SecretChangeForm, SecretForm, SecretValueForm, initial_of
from services.api.dashboard.pages import PageRequest, attempt, page, show
from services.domain.agents.models import Agent
from services.domain.agents.queries import list_agents_by_name
from services.domain.tenancy.transaction import tenant_transaction
from services.domain.vault.actions import (
    create_secret,
    delete_secret,
    list_secrets,
    put_secret_value,
    roll_back_secret,
    update_secret,
)
from services.domain.vault.bindings import read_bindings, show_binding
from services.domain.vault.fields import NewSecret
from services.domain.vault.models import Secret
from services.domain.vault.queries import (
    get_secret,
    list_secret_accesses,
    list_secret_versions,
    may_change,
)


@page
@sensitive_post_parameters("value")
@require_http_methods(["GET", "HEAD", "POST"])
def secrets(request: PageRequest) -> HttpResponse:
    """List the secrets by name; a posted one is sealed."""
    agents = _agents(request)
    form = SecretForm(request.POST or None, agents=agents)
    if request.method == "POST" and form.submit(
        lambda given: create_secret(request.actor, NewSecret.model_validate(given))
    ):
        messages.success(request, f"The secret {form.cleaned_data['name']} is sealed.")
        return redirect("dashboard:secrets")
    return show(
        request,
        "dashboard/secrets/list.html",
        lambda: {
            "form": form,
            "secrets": [
                (secret, _granted(secret, agents))
                for secret in sorted(list_secrets(request.actor), key=lambda row: row.name)
            ],
        },
        status=form.status,
    )


@page
@sensitive_post_parameters("value")
@require_http_methods(["GET", "HEAD", "POST"])
def secret(request: PageRequest, secret_id: uuid.UUID) -> HttpResponse:
    """Show a secret, its versions and its uses; what is posted changes where it may go."""
    agents = _agents(request)
    with tenant_transaction(request.actor.org_id):
        found = get_secret(request.actor, secret_id)
    form = SecretChangeForm(request.POST or None, agents=agents, initial=initial_of(found))

    def change(given: dict[str, Any]) -> None:
        value = given.pop("value")
        update_secret(request.actor, secret_id, given, value)

    if request.method == "POST" and form.submit(change):
        messages.success(request, "The secret is changed.")
        return redirect("dashboard:secret", secret_id=secret_id)
    return show(
        request,
        "dashboard/secrets/secret.html",
        lambda: _context(request, get_secret(request.actor, secret_id), form, agents),
        status=form.status,
    )


@page
@sensitive_post_parameters("value")
@require_POST
def value(request: PageRequest, secret_id: uuid.UUID) -> HttpResponse:
    """Seal another value."""
    with tenant_transaction(request.actor.org_id):
        get_secret(request.actor, secret_id)
    form = SecretValueForm(request.POST)
    is_taken = form.submit(
        lambda given: put_secret_value(request.actor, secret_id, SecretStr(given["value"]))
    )
    if is_taken:
        messages.success(request, "The new value is sealed.")
    else:
        messages.error(request, " ".join(str(text) for texts in form.errors.values() for text in texts))
    return redirect("dashboard:secret", secret_id=secret_id)


@page
@require_POST
def roll_back(request: PageRequest, secret_id: uuid.UUID) -> HttpResponse:
    """Go back to a version."""
    given = request.POST.get("version", "")
    number = int(given) if given.isdecimal() and len(given) < 10 else 0
    attempt(
        request, lambda: roll_back_secret(request.actor, secret_id, number), f"Version {number} is in use."
    )
    return redirect("dashboard:secret", secret_id=secret_id)


@page
@require_POST
def delete(request: PageRequest, secret_id: uuid.UUID) -> HttpResponse:
    """Delete a secret."""
    attempt(request, lambda: delete_secret(request.actor, secret_id), "The secret is deleted.")
    return redirect("dashboard:secrets")


def _context(
    request: PageRequest, found: Secret, form: SecretChangeForm, agents: list[Agent]
) -> dict[str, object]:
    return {
        "secret": found,
        "granted": _granted(found, agents),
        "bindings": [show_binding(binding) for binding in read_bindings(found.bindings)],
        "versions": list(list_secret_versions(request.actor, found.id).order_by("-number")),
        "accesses": newest_accesses(request.actor, list_secret_accesses(request.actor, found.id)),
        "may_change": may_change(request.actor, found),
        "may_delete": may_change(request.actor, found) or request.actor.role in ("owner", "admin"),
        "form": form,
        "value_form": SecretValueForm(),
    }


def _granted(found: Secret, agents: list[Agent]) -> list[str]:
    names = {agent.id: agent.name for agent in agents}
    return [names[agent_id] for agent_id in found.agent_ids or [] if agent_id in names]


def _agents(request: PageRequest) -> list[Agent]:
    with tenant_transaction(request.actor.org_id):
        return list_agents_by_name(request.actor)
