"""Models: the rules, the organisation's own keys, and budgets with what is spent of them."""

from __future__ import annotations

import uuid
from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from services.api.dashboard.accesses import newest_accesses
from services.api.dashboard.forms.models import BudgetForm, ModelKeyForm, PolicyForm
from services.api.dashboard.pages import PageRequest, attempt, page, show
from services.api.models import add_key, check_again
from services.domain.agents.queries import list_agents_by_name
from services.domain.identity.queries import list_members
from services.domain.llm.actions import update_policy
from services.domain.llm.budgets import (
    BudgetFields,
    BudgetState,
    delete_budget,
    list_budgets,
    put_budget,
    state_of,
)
from services.domain.llm.keys import NewKey, delete_key, get_key, list_key_accesses, list_keys, update_key
from services.domain.llm.models import BudgetLevel
from services.domain.llm.policy import get_policy
from services.domain.llm.spending import dollars
from services.domain.playbooks.queries import list_playbooks
from services.domain.tenancy.transaction import tenant_transaction

_ADMINS = ("owner", "admin")
Subject = tuple[str, uuid.UUID, str]


@page
@sensitive_post_parameters("key")
@require_http_methods(["GET", "HEAD", "POST"])
def models(request: PageRequest) -> HttpResponse:
    """Show everything about models; what is posted says by `form` which of the three forms it is of."""
    posted = request.POST.get("form") if request.method == "POST" else None
    with tenant_transaction(request.actor.org_id):
        policy, subjects = get_policy(request.actor), _subjects(request)
    rules = PolicyForm(request.POST if posted == "rules" else None, initial=PolicyForm.initial_of(policy))
    key = ModelKeyForm(request.POST if posted == "key" else None)
    budget = BudgetForm(request.POST if posted == "budget" else None, subjects=subjects)
    if posted == "rules" and rules.submit(lambda given: update_policy(request.actor, given)):
        messages.success(request, "The rules hold from the next call on.")
        return redirect("dashboard:models")
    if posted == "key" and key.submit(lambda given: add_key(request.actor, NewKey.model_validate(given))):
        messages.success(request, f"The key {key.cleaned_data['name']} is sealed.")
        return redirect("dashboard:models")
    if posted == "budget" and budget.submit(
        lambda given: put_budget(request.actor, BudgetFields.model_validate(given))
    ):
        messages.success(request, "The budget is set.")
        return redirect("dashboard:models")
    return show(
        request,
        "dashboard/models.html",
        lambda: {
            "policy": policy,
            "rules": rules,
            "key_form": key,
            "budget_form": budget,
            "keys": list(list_keys(request.actor).order_by("priority", "id")),
            "budgets": _budgets(request, subjects),
            "may_change": request.actor.role in _ADMINS,
        },
        status=max(form.status for form in (rules, key, budget)),
    )


@page
@require_safe
def model_key(request: PageRequest, key_id: uuid.UUID) -> HttpResponse:
    """Show one key without its text, and its uses."""
    return show(
        request,
        "dashboard/model_key.html",
        lambda: {
            "key": get_key(request.actor, key_id),
            "accesses": newest_accesses(request.actor, list_key_accesses(request.actor, key_id)),
        },
    )


@page
@require_POST
def check_key(request: PageRequest, key_id: uuid.UUID) -> HttpResponse:
    """Ask a key's vendor anew."""
    attempt(request, lambda: check_again(request.actor, key_id), "The vendor was asked.")
    return redirect("dashboard:models")


@page
@require_POST
def switch_key(request: PageRequest, key_id: uuid.UUID) -> HttpResponse:
    """Switch a key off or on."""
    is_enabled = request.POST.get("is_enabled") == "yes"
    attempt(
        request,
        lambda: update_key(request.actor, key_id, {"is_enabled": is_enabled}),
        "The key is on." if is_enabled else "The key is off.",
    )
    return redirect("dashboard:models")


@page
@require_POST
def remove_key(request: PageRequest, key_id: uuid.UUID) -> HttpResponse:
    """Forget a key."""
    attempt(request, lambda: delete_key(request.actor, key_id), "The key is deleted.")
    return redirect("dashboard:models")


@page
@require_POST
def remove_budget(request: PageRequest, budget_id: uuid.UUID) -> HttpResponse:
    """Remove a budget."""
    attempt(request, lambda: delete_budget(request.actor, budget_id), "The budget is removed.")
    return redirect("dashboard:models")


def _subjects(request: PageRequest) -> list[Subject]:
    """Return whose budgets there can be besides the organisation's."""
    actor = request.actor
    people = [
        (BudgetLevel.PERSON.value, member.user_id, member.user.email)
        for member in list_members(actor)
        if actor.role in _ADMINS or member.user_id == actor.user_id
    ]
    agents = [(BudgetLevel.AGENT.value, agent.id, agent.name) for agent in list_agents_by_name(actor)]
    playbooks = [
        (BudgetLevel.PLAYBOOK.value, playbook.id, playbook.name)
        for playbook in list_playbooks(actor).order_by("name")
    ]
    return [*agents, *playbooks, *people]


def _budgets(request: PageRequest, subjects: list[Subject]) -> list[dict[str, Any]]:
    names = {subject: name for _, subject, name in subjects}
    states = [state_of(budget) for budget in list_budgets(request.actor).order_by("level", "period", "id")]
    return [_shown(state, names) for state in states]


def _shown(state: BudgetState, names: dict[uuid.UUID, str]) -> dict[str, Any]:
    budget = state.budget
    name = names.get(budget.subject_id, "") if budget.subject_id is not None else ""
    used = state.spent_microusd + state.reserved_microusd
    return {
        "id": budget.id,
        "title": f"{budget.get_level_display()} {name}".strip(),
        "period": budget.get_period_display().lower(),
        "limit": dollars(budget.limit_microusd),
        "spent": dollars(state.spent_microusd),
        "reserved": dollars(state.reserved_microusd) if state.reserved_microusd else "",
        "remaining": dollars(state.remaining_microusd),
        "share": min(100, used * 100 // budget.limit_microusd) if budget.limit_microusd else 100,
        "renews_at": state.renews_at,
    }
