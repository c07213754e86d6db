"""Accounts elsewhere: which are connected, for whom, and how they are connected again."""

from __future__ import annotations

import uuid

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from services.adapters.accounts.registry import find_kind, list_kinds
from services.api.accounts import (
    add_account,
    change_account,
    check_account,
    checked_new,
    connect_account,
    finish_connecting,
    redirect_uri,
    remove_account,
)
from services.api.dashboard.accesses import newest_accesses
from services.api.dashboard.authorizing import show_way_there, take_back
from services.api.dashboard.forms.accounts import AccountForm, ScopeForm, SettingsForm
from services.api.dashboard.pages import PageRequest, attempt, page, show
from services.domain.agents.models import Agent
from services.domain.agents.queries import list_agents_by_name
from services.domain.errors import Missing
from services.domain.integrations.models import Integration
from services.domain.integrations.queries import get_integration, list_account_accesses, list_integrations
from services.domain.ports.accounts import AccountAuth
from services.domain.tenancy.transaction import tenant_transaction


@page
@require_safe
def accounts(request: PageRequest) -> HttpResponse:
    """List the connected accounts, and the kinds that can be connected."""
    return show(
        request,
        "dashboard/accounts/list.html",
        lambda: {
            "accounts": list(list_integrations(request.actor).order_by("kind", "name")),
            "kinds": [kind.manifest for kind in list_kinds()],
        },
    )


@page
@sensitive_post_parameters()
@require_http_methods(["GET", "HEAD", "POST"])
def new_account(request: PageRequest, kind: str) -> HttpResponse:
    """Keep an account and try it; its page shows what came of it."""
    found = find_kind(kind)
    if found is None:
        raise Missing("There is no such kind of account.")
    form = AccountForm(request.POST or None, kind=found, agents=_agents(request))
    made: list[Integration] = []
    if request.method == "POST" and form.submit(
        lambda given: made.append(add_account(request.actor, checked_new(kind=kind, **given)))
    ):
        messages.success(request, f"{made[0].name} is added.")
        return redirect("dashboard:account", integration_id=made[0].id)
    is_oauth = found.manifest.auth == AccountAuth.OAUTH
    return show(
        request,
        "dashboard/accounts/new.html",
        lambda: {
            "form": form,
            "kind": found.manifest,
            "redirect_uri": redirect_uri() if is_oauth else "",
        },
        status=form.status,
    )


@page
@require_http_methods(["GET", "HEAD", "POST"])
def account(request: PageRequest, integration_id: uuid.UUID) -> HttpResponse:
    """Show an account; a posted form changes its name and who may use it."""
    with tenant_transaction(request.actor.org_id):
        row = get_integration(request.actor, integration_id)
    form = ScopeForm(request.POST or None, initial=ScopeForm.initial_of(row), agents=_agents(request))
    if request.method == "POST" and form.submit(
        lambda given: change_account(request.actor, integration_id, given)
    ):
        messages.success(request, "Saved.")
        return redirect("dashboard:account", integration_id=integration_id)
    return show(
        request, "dashboard/accounts/account.html", lambda: _context(request, row, form), status=form.status
    )


@page
@sensitive_post_parameters()
@require_http_methods(["GET", "HEAD", "POST"])
def account_settings(request: PageRequest, integration_id: uuid.UUID) -> HttpResponse:
    """Change an account's settings, or replace what opens it, and try it."""
    with tenant_transaction(request.actor.org_id):
        row = get_integration(request.actor, integration_id)
    kind = find_kind(row.kind)
    if kind is None:
        raise Missing("There is no such kind of account.")
    form = SettingsForm(request.POST or None, kind=kind, row=row)
    if request.method == "POST" and form.submit(
        lambda given: change_account(request.actor, integration_id, given)
    ):
        messages.success(request, "Saved, and the account was tried.")
        return redirect("dashboard:account", integration_id=integration_id)
    return show(
        request,
        "dashboard/accounts/settings.html",
        lambda: {"account": row, "form": form, "kind": kind.manifest},
        status=form.status,
    )


@page
@require_POST
def check(request: PageRequest, integration_id: uuid.UUID) -> HttpResponse:
    """Try an account."""
    attempt(request, lambda: check_account(request.actor, integration_id), "The account was tried.")
    return redirect("dashboard:account", integration_id=integration_id)


@page
@require_POST
def switch(request: PageRequest, integration_id: uuid.UUID) -> HttpResponse:
    """Switch an account off, or on again."""
    is_enabled = request.POST.get("is_enabled") == "true"
    done = "The account is switched on." if is_enabled else "The account is switched off."
    attempt(request, lambda: change_account(request.actor, integration_id, {"is_enabled": is_enabled}), done)
    return redirect("dashboard:account", integration_id=integration_id)


@page
@require_POST
def connect(request: PageRequest, integration_id: uuid.UUID) -> HttpResponse:
    """Begin an authorization."""
    return show_way_there(
        request,
        lambda browser: connect_account(request.actor, integration_id, browser),
        "dashboard/accounts/connect.html",
        lambda: {"account": get_integration(request.actor, integration_id)},
        back=redirect("dashboard:account", integration_id=integration_id),
    )


@page
@require_safe
def come_back(request: PageRequest) -> HttpResponse:
    """Take what a provider sent a person back with."""
    return take_back(
        request,
        finish_connecting,
        all_of_them="dashboard:accounts",
        place_of=lambda row: redirect("dashboard:account", integration_id=row.id),
    )


@page
@require_POST
def delete(request: PageRequest, integration_id: uuid.UUID) -> HttpResponse:
    """Disconnect an account."""
    attempt(request, lambda: remove_account(request.actor, integration_id), "The account is disconnected.")
    return redirect("dashboard:accounts")


def _agents(request: PageRequest) -> list[Agent]:
    with tenant_transaction(request.actor.org_id):
        return list_agents_by_name(request.actor)


def _context(request: PageRequest, row: Integration, form: ScopeForm) -> dict[str, object]:
    is_own = row.owner_id is not None and row.owner_id == request.actor.user_id
    kind = find_kind(row.kind)
    return {
        "account": row,
        "form": form,
        "kind": kind.manifest if kind else None,
        "settings": sorted(row.settings.items()),
        "accesses": newest_accesses(request.actor, list_account_accesses(request.actor, row.id)),
        "is_oauth": kind is not None and kind.manifest.auth == AccountAuth.OAUTH,
        "may_change": request.actor.role in ("owner", "admin") or (is_own and request.actor.role != "viewer"),
    }
