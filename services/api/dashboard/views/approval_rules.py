"""Rules about tool calls: list, add, change, remove."""

from __future__ import annotations

import uuid
from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from services.api.dashboard.forms.approval_rules import RuleForm, show_matcher
from services.api.dashboard.pages import PageRequest, attempt, page, show
from services.domain.agents.queries import list_agents_by_name
from services.domain.approvals.models import ApprovalRule
from services.domain.approvals.rule_actions import create_rule, delete_rule, update_rule
from services.domain.approvals.rule_queries import get_rule, list_rules, to_rule
from services.domain.approvals.rules import RuleFields, specificity
from services.domain.chats.queries import list_chats
from services.domain.identity.queries import list_members
from services.domain.tenancy.transaction import tenant_transaction


@page
@require_safe
def rules(request: PageRequest) -> HttpResponse:
    """List the rules in the order in which they are looked at."""
    return show(request, "dashboard/approval_rules/list.html", lambda: {"rules": _in_order(request)})


@page
@require_http_methods(["GET", "HEAD", "POST"])
def new_rule(request: PageRequest) -> HttpResponse:
    """Add a rule."""
    form = RuleForm(request.POST or None, **_choices(request))
    if request.method == "POST" and form.submit(
        lambda given: create_rule(request.actor, RuleFields.model_validate(given))
    ):
        messages.success(request, "The rule is added.")
        return redirect("dashboard:approval-rules")
    return show(request, "dashboard/approval_rules/form.html", lambda: {"form": form}, status=form.status)


@page
@require_http_methods(["GET", "HEAD", "POST"])
def rule(request: PageRequest, rule_id: uuid.UUID) -> HttpResponse:
    """Show a rule, and change it."""
    with tenant_transaction(request.actor.org_id):
        found = get_rule(request.actor, rule_id)
    form = RuleForm(request.POST or None, initial=RuleForm.initial_of(found), **_choices(request))
    if request.method == "POST" and form.submit(lambda given: update_rule(request.actor, rule_id, given)):
        messages.success(request, "Saved.")
        return redirect("dashboard:approval-rules")
    return show(
        request,
        "dashboard/approval_rules/form.html",
        lambda: {"form": form, "rule": found},
        status=form.status,
    )


@page
@require_POST
def delete(request: PageRequest, rule_id: uuid.UUID) -> HttpResponse:
    """Remove a rule."""
    attempt(request, lambda: delete_rule(request.actor, rule_id), "The rule is removed.")
    return redirect("dashboard:approval-rules")


def _in_order(request: PageRequest) -> list[tuple[ApprovalRule, str]]:
    ordered = sorted(
        list_rules(request.actor), key=lambda row: (specificity(to_rule(row)), -row.id.int), reverse=True
    )
    return [(row, "; ".join(show_matcher(matcher) for matcher in to_rule(row).arguments)) for row in ordered]


def _choices(request: PageRequest) -> dict[str, Any]:
    with tenant_transaction(request.actor.org_id):
        return {
            "agents": list_agents_by_name(request.actor),
            "chats": sorted(list_chats(request.actor), key=lambda row: row.title.lower()),
            "members": list_members(request.actor),
        }
