"""Rules about tool calls over REST: what is allowed, held for a person, or denied."""

from __future__ import annotations

import uuid
from typing import Literal, Self

from pydantic import Field

from services.api.http.operations import Call, Endpoint, operation
from services.api.http.paging import PageQuery, page_of
from services.api.http.shapes import Changes, Moment, Page, Shape
from services.domain.approvals.matching import ArgumentMatcher
from services.domain.approvals.models import ApprovalRule
from services.domain.approvals.rule_actions import create_rule, delete_rule, update_rule
from services.domain.approvals.rule_queries import get_rule, list_rules
from services.domain.approvals.rules import DeciderRole, Effect, RuleFields
from services.domain.errors import (
    AgentMissing,
    ApprovalRuleMissing,
    ArgumentPathInvalid,
    ChatMissing,
    Invalid,
    PatternInvalid,
    PatternTooCostly,
    QueueFull,
)

_REFUSALS = (AgentMissing, ChatMissing, PatternInvalid, PatternTooCostly, ArgumentPathInvalid, Invalid)


class RuleChanges(RuleFields, Changes):
    """The fields to change; those that are not sent stay as they are."""

    effect: Effect = "hold"
    tool: str = Field(default="", min_length=1, max_length=200)


class RuleShape(Shape):
    """A rule about tool calls. Of those that are about a call the most specific one says what becomes of it."""

    id: uuid.UUID
    name: str
    effect: Effect
    tool: str
    agent_id: uuid.UUID | None
    chat_id: uuid.UUID | None
    arguments: list[ArgumentMatcher]
    priority: int
    people: Literal[1, 2]
    decider_role: DeciderRole
    decider_ids: list[uuid.UUID]
    may_decide_own: bool
    lifetime_s: int
    is_enabled: bool
    created_by_id: uuid.UUID | None
    created_at: Moment
    updated_at: Moment

    @classmethod
    def of(cls, rule: ApprovalRule) -> Self:
        """Show a row."""
        return cls.model_validate(rule)


class RuleQuery(PageQuery):
    """Which rules."""

    effect: Effect | None = None
    agent_id: uuid.UUID | None = None
    chat_id: uuid.UUID | None = None


class Rules(Endpoint):
    """All rules."""

    tag = "approvals"

    @operation()
    def get(self, call: Call, query: RuleQuery) -> Page[RuleShape]:
        """List the rules about tool calls, newest first."""
        return page_of(list_rules(call.actor), query, RuleShape.of)

    @operation(status=201, errors=(*_REFUSALS, QueueFull))
    def post(self, call: Call, body: RuleFields) -> RuleShape:
        """Make a rule about tool calls."""
        return RuleShape.of(create_rule(call.actor, body))


class OneRule(Endpoint):
    """One rule."""

    tag = "approvals"

    @operation(errors=(ApprovalRuleMissing,))
    def get(self, call: Call, rule_id: uuid.UUID) -> RuleShape:
        """Show a rule."""
        return RuleShape.of(get_rule(call.actor, rule_id))

    @operation(errors=(ApprovalRuleMissing, *_REFUSALS))
    def patch(self, call: Call, rule_id: uuid.UUID, body: RuleChanges) -> RuleShape:
        """Change a rule's fields; what is asked already stays as it was asked."""
        return RuleShape.of(update_rule(call.actor, rule_id, body.model_dump(exclude_unset=True)))

    @operation(errors=(ApprovalRuleMissing,))
    def delete(self, call: Call, rule_id: uuid.UUID) -> None:
        """Remove a rule."""
        delete_rule(call.actor, rule_id)
