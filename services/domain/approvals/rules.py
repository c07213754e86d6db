"""What becomes of a tool call: allowed, held for a person, or denied. Pure; docs/approvals.md says it in prose."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from services.domain.approvals.matching import ArgumentMatcher, exactness, is_tool, matches

Effect = Literal["allow", "hold", "deny"]
DeciderRole = Literal["member", "admin", "owner"]

MAX_MATCHERS = 20
MAX_DECIDERS = 50
DEFAULT_LIFETIME_S = 7 * 86_400
LONGEST_LIFETIME_S = 30 * 86_400
# Of two rules that are equally specific the stricter one counts.
_STRICTNESS: dict[Effect, int] = {"allow": 0, "hold": 1, "deny": 2}


@dataclass(frozen=True, slots=True)
class Terms:
    """How an approval is decided: by how many people, by whom, and until when."""

    people: int = 1
    decider_role: DeciderRole = "member"
    decider_ids: tuple[uuid.UUID, ...] = ()
    may_decide_own: bool = True
    lifetime: timedelta = timedelta(seconds=DEFAULT_LIFETIME_S)


class RuleFields(BaseModel):
    """What a person may set on a rule. What is left out is not looked at: no agent means every agent.

    `people` must agree, each a member of `decider_role` at least, or if there are `decider_ids` one of those.
    Without `may_decide_own` the person that the work is for cannot decide it alone.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    name: str = Field(default="", max_length=120)
    effect: Effect
    tool: str = Field(
        min_length=1, max_length=200, description="`gmail.gmail_send`, `github.*`, `*.*_delete`."
    )
    agent_id: uuid.UUID | None = None
    chat_id: uuid.UUID | None = None
    arguments: list[ArgumentMatcher] = Field(default_factory=list, max_length=MAX_MATCHERS)
    priority: int = Field(default=0, ge=-100, le=100)
    people: Literal[1, 2] = 1
    decider_role: DeciderRole = "member"
    decider_ids: list[uuid.UUID] = Field(default_factory=list, max_length=MAX_DECIDERS)
    may_decide_own: bool = True
    lifetime_s: int = Field(default=DEFAULT_LIFETIME_S, ge=60, le=LONGEST_LIFETIME_S)
    is_enabled: bool = True


class Rule(RuleFields):
    """A stored rule."""

    id: uuid.UUID

    @property
    def terms(self) -> Terms:
        """Return how an approval of what it holds is decided."""
        return Terms(
            self.people,
            self.decider_role,
            tuple(self.decider_ids),
            self.may_decide_own,
            timedelta(seconds=self.lifetime_s),
        )


@dataclass(frozen=True, slots=True)
class ToolUse:
    """A call as rules see it. `is_risky`: the tool sends, deletes or pays outside, and is held where no rule speaks.

    Without an agent it is a person's own program that calls.
    """

    server: str
    tool: str
    arguments: Mapping[str, Any] = field(repr=False)
    agent_id: uuid.UUID | None
    chat_id: uuid.UUID | None = None
    is_risky: bool = False

    @property
    def name(self) -> str:
        """Return the tool's name among all servers."""
        return f"{self.server}.{self.tool}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of a call, and the rule that says so; None when it is the tool's own default."""

    effect: Effect
    rule: Rule | None = None

    @property
    def terms(self) -> Terms:
        """Return how an approval is decided, where the call is held."""
        return self.rule.terms if self.rule else Terms()


def judge(rules: Iterable[Rule], use: ToolUse) -> Verdict:
    """Return what becomes of a call: the most specific rule that is about it says so."""
    speaking = [rule for rule in rules if is_about(rule, use)]
    if not speaking:
        return Verdict("hold" if use.is_risky else "allow")
    # The oldest of equal ones, so that the answer never depends on the order of rows.
    found = max(sorted(speaking, key=lambda rule: rule.id), key=specificity)
    return Verdict(found.effect, found)


def is_about(rule: Rule, use: ToolUse) -> bool:
    """Say whether a rule is about a call."""
    return (
        rule.is_enabled
        and rule.agent_id in (None, use.agent_id)
        and (rule.chat_id is None or rule.chat_id == use.chat_id)
        and is_tool(rule.tool, use.name)
        and all(
            matches(matcher, use.arguments, is_strict=rule.effect == "allow") for matcher in rule.arguments
        )
    )


def specificity(rule: Rule) -> tuple[int, ...]:
    """Return what orders rules: priority, tool, arguments, chat, agent, and last the stricter effect."""
    return (
        rule.priority,
        exactness(rule.tool),
        len(rule.arguments),
        int(rule.chat_id is not None),
        int(rule.agent_id is not None),
        _STRICTNESS[rule.effect],
    )
