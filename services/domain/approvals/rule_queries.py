"""Reading the rules about tool calls."""

from __future__ import annotations

import uuid

from django.db.models import QuerySet

from services.domain.actors import Actor, require
from services.domain.agents.queries import of_named_agents
from services.domain.approvals.models import ApprovalRule
from services.domain.approvals.rules import Rule, RuleFields
from services.domain.errors import ApprovalRuleMissing


def list_rules(actor: Actor) -> QuerySet[ApprovalRule]:
    """Return the rules that the actor may see; to be read in the tenant's transaction."""
    require(actor, "agents:read")
    return ApprovalRule.objects.select_related("agent", "chat").filter(of_named_agents(actor))


def get_rule(actor: Actor, rule_id: uuid.UUID) -> ApprovalRule:
    """Return one rule. Raises: ApprovalRuleMissing."""
    rule = list_rules(actor).filter(id=rule_id).first()
    if rule is None:
        raise ApprovalRuleMissing("There is no such rule.")
    return rule


def list_rules_in_force() -> list[Rule]:
    """Return the rules that calls are judged by, in the tenant's transaction."""
    return [to_rule(row) for row in ApprovalRule.objects.filter(is_enabled=True)]


def to_rule(row: ApprovalRule) -> Rule:
    """Return a row as the pure functions take it."""
    return Rule.model_validate(
        {"id": row.id, **{name: getattr(row, name) for name in RuleFields.model_fields}}
    )
