"""Making, changing and removing the rules about tool calls."""

from __future__ import annotations

import uuid
from typing import Any, Literal

from services.domain.actors import Actor, require
from services.domain.agents.models import Agent
from services.domain.approvals.matching import check_matcher, check_tool_glob
from services.domain.approvals.models import ApprovalRule
from services.domain.approvals.rules import RuleFields
from services.domain.audit.models import AuditAction
from services.domain.audit.recording import Subject, record_audit
from services.domain.chats.models import Chat
from services.domain.errors import AgentMissing, ApprovalRuleMissing, ChatMissing, Invalid, QueueFull
from services.domain.events.announcing import announce
from services.domain.events.types import ApprovalRuleChanged
from services.domain.identity.models import Membership
from services.domain.tenancy.transaction import tenant_transaction
from services.kit.clock import now

MAX_RULES = 500


def create_rule(actor: Actor, fields: RuleFields) -> ApprovalRule:
    """Make a rule. Emits: ApprovalRuleChanged.

    Raises: RoleMissing, PatternInvalid, PatternTooCostly, ArgumentPathInvalid, AgentMissing, ChatMissing, Invalid,
    QueueFull.
    """
    require(actor, "agents:write", role="admin")
    with tenant_transaction(actor.org_id):
        if ApprovalRule.objects.count() >= MAX_RULES:
            raise QueueFull(f"An organisation has at most {MAX_RULES} rules.", limit=MAX_RULES)
        rule = ApprovalRule(org_id=actor.org_id, created_by_id=actor.user_id)
        _assign(rule, fields)
        rule.save(force_insert=True)
        _tell(actor, rule, "created")
        return rule


def update_rule(actor: Actor, rule_id: uuid.UUID, changes: dict[str, Any]) -> ApprovalRule:
    """Change some fields; what is asked already stays as it was asked. Locks: the rule. Emits: ApprovalRuleChanged.

    Raises: ApprovalRuleMissing, and what `create_rule` raises.
    """
    require(actor, "agents:write", role="admin")
    with tenant_transaction(actor.org_id):
        rule = _lock(rule_id)
        current = {name: getattr(rule, name) for name in RuleFields.model_fields}
        _assign(rule, RuleFields.model_validate(current | changes))
        rule.updated_at = now()
        rule.save()
        _tell(actor, rule, "updated")
        return rule


def delete_rule(actor: Actor, rule_id: uuid.UUID) -> None:
    """Remove a rule. Emits: ApprovalRuleChanged. Raises: ApprovalRuleMissing, RoleMissing."""
    require(actor, "agents:write", role="admin")
    with tenant_transaction(actor.org_id):
        rule = _lock(rule_id)
        _tell(actor, rule, "deleted")
        rule.delete()


def _lock(rule_id: uuid.UUID) -> ApprovalRule:
    rule = ApprovalRule.objects.select_for_update().filter(id=rule_id).first()
    if rule is None:
        raise ApprovalRuleMissing("There is no such rule.")
    return rule


def _assign(rule: ApprovalRule, fields: RuleFields) -> None:
    check_tool_glob(fields.tool)
    for number, matcher in enumerate(fields.arguments):
        check_matcher(matcher, f"arguments.{number}")
    if fields.agent_id is not None and not Agent.objects.filter(id=fields.agent_id).exists():
        raise AgentMissing("There is no such agent.")
    if fields.chat_id is not None and not Chat.objects.filter(id=fields.chat_id).exists():
        raise ChatMissing("There is no such chat.")
    _check_deciders(fields)
    for name, value in fields.model_dump().items():
        setattr(rule, name, value)


def _check_deciders(fields: RuleFields) -> None:
    named = set(fields.decider_ids)
    if not named:
        return
    members = Membership.objects.filter(user_id__in=named).exclude(role="viewer")
    if members.count() != len(named):
        raise Invalid("Only members decide.", fields={"decider_ids": "not all of them are members"})
    if len(named) < fields.people:
        raise Invalid("Two people cannot be one.", fields={"decider_ids": f"name {fields.people} at least"})


def _tell(actor: Actor, rule: ApprovalRule, change: Literal["created", "updated", "deleted"]) -> None:
    event = ApprovalRuleChanged(
        rule_id=str(rule.id),
        change=change,
        effect=rule.effect,
        tool=rule.tool,
        user_id=str(actor.user_id) if actor.user_id else None,
    )
    announce(event)
    action = AuditAction.APPROVAL_RULE_DELETED if change == "deleted" else AuditAction.APPROVAL_RULE_CHANGED
    record_audit(
        actor,
        action,
        Subject("approval_rule", rule.id, rule.tool),
        change=change,
        effect=rule.effect,
        is_enabled=rule.is_enabled,
    )
