"""Rules about tool calls: which one speaks, what its patterns match, and what is refused when it is saved."""

from __future__ import annotations

import time
import uuid
from typing import Any

import pytest
from pydantic import ValidationError

from conftest import Tenant, recorded
from services.domain.actors import Actor
from services.domain.approvals.matching import ArgumentMatcher, check_matcher, check_tool_glob, matches
from services.domain.approvals.models import ApprovalRule
from services.domain.approvals.rule_actions import MAX_RULES, create_rule, delete_rule, update_rule
from services.domain.approvals.rule_queries import get_rule, list_rules, list_rules_in_force
from services.domain.approvals.rules import Rule, RuleFields, ToolUse, judge
from services.domain.errors import (
    AgentMissing,
    ApprovalRuleMissing,
    ArgumentPathInvalid,
    ChatMissing,
    Invalid,
    PatternInvalid,
    PatternTooCostly,
    QueueFull,
    RoleMissing,
    ScopeMissing,
)
from services.domain.tenancy.transaction import tenant_transaction

AGENT, OTHER_AGENT, CHAT = uuid.UUID(int=1), uuid.UUID(int=2), uuid.UUID(int=3)


def rule(number: int, effect: str, tool: str, *arguments: dict[str, Any], **fields: Any) -> Rule:
    return Rule.model_validate(
        {"id": uuid.UUID(int=number), "effect": effect, "tool": tool, "arguments": arguments, **fields}
    )


def use(arguments: dict[str, Any] | None = None, **fields: Any) -> ToolUse:
    defaults: dict[str, Any] = {"server": "gmail", "tool": "gmail_send", "agent_id": AGENT, "chat_id": CHAT}
    return ToolUse(**{**defaults, "arguments": arguments or {}, **fields})


TO_US = {"path": "to.*", "test": "glob", "value": "*@acme.example"}
TO_THEM = {"path": "to.*", "test": "glob", "value": "*@globex.example"}


@pytest.mark.parametrize(
    ("rules", "call", "effect", "by"),
    [
        # Where no rule speaks, the tool's own risk does.
        ([], use(), "allow", None),
        ([], use(is_risky=True), "hold", None),
        ([rule(1, "deny", "github.*")], use(is_risky=True), "hold", None),
        # One rule speaks for what it names.
        ([rule(1, "deny", "*")], use(), "deny", 1),
        ([rule(1, "hold", "gmail.*")], use(), "hold", 1),
        ([rule(1, "hold", "*.gmail_send")], use(), "hold", 1),
        ([rule(1, "allow", "gmail.gmail_send")], use(is_risky=True), "allow", 1),
        ([rule(1, "hold", "gmail.GMAIL_SEND")], use(), "allow", None),
        ([rule(1, "hold", "mail.*")], use(), "allow", None),
        ([rule(1, "deny", "*", is_enabled=False)], use(), "allow", None),
        ([rule(1, "deny", "*", agent_id=OTHER_AGENT)], use(), "allow", None),
        ([rule(1, "deny", "*", agent_id=AGENT)], use(), "deny", 1),
        ([rule(1, "deny", "*", chat_id=CHAT)], use(), "deny", 1),
        ([rule(1, "deny", "*", chat_id=CHAT)], use(chat_id=None), "allow", None),
        # The more exact tool, then more arguments, then the chat, then the agent.
        ([rule(1, "deny", "*"), rule(2, "allow", "gmail.*")], use(), "allow", 2),
        ([rule(1, "hold", "gmail.gmail_send"), rule(2, "allow", "gmail.gmail_*")], use(), "hold", 1),
        ([rule(1, "hold", "gmail.gmail_send"), rule(2, "allow", "*", agent_id=AGENT)], use(), "hold", 1),
        ([rule(1, "hold", "gmail.*"), rule(2, "allow", "gmail.*", agent_id=AGENT)], use(), "allow", 2),
        (
            [rule(1, "allow", "gmail.*", agent_id=AGENT), rule(2, "deny", "gmail.*", chat_id=CHAT)],
            use(), "deny", 2,
        ),
        (
            [rule(1, "hold", "gmail.*", chat_id=CHAT, agent_id=AGENT), rule(2, "allow", "gmail.*", TO_US)],
            use({"to": ["a@acme.example"]}), "allow", 2,
        ),
        # A priority comes before all of that.
        ([rule(1, "hold", "gmail.gmail_send"), rule(2, "allow", "*", priority=1)], use(), "allow", 2),
        ([rule(1, "hold", "gmail.gmail_send"), rule(2, "allow", "gmail.gmail_send", priority=-1)], use(), "hold", 1),
        # Equal ones: the stricter, and of those the older.
        ([rule(1, "allow", "gmail.*"), rule(2, "hold", "gmail.*")], use(), "hold", 2),
        ([rule(1, "hold", "gmail.*"), rule(2, "deny", "gmail.*")], use(), "deny", 2),
        ([rule(2, "hold", "gmail.*"), rule(1, "hold", "gmail.*")], use(), "hold", 1),
        # To allow, all must fit; to hold or deny, one.
        ([rule(1, "allow", "*", TO_US)], use({"to": ["a@acme.example", "B@ACME.example"]}, is_risky=True), "allow", 1),
        ([rule(1, "allow", "*", TO_US)], use({"to": ["a@acme.example", "x@y.z"]}, is_risky=True), "hold", None),
        ([rule(1, "allow", "*", TO_US)], use({"to": []}, is_risky=True), "hold", None),
        ([rule(1, "deny", "*", TO_THEM)], use({"to": ["a@acme.example", "x@globex.example"]}), "deny", 1),
        ([rule(1, "deny", "*", TO_THEM)], use({"to": ["a@acme.example"]}), "allow", None),
    ],
)  # fmt: skip
def test_the_most_specific_rule_says_what_becomes_of_a_call(rules, call, effect, by):
    for order in (rules, rules[::-1]):
        verdict = judge(order, call)
        assert (verdict.effect, verdict.rule.id.int if verdict.rule else None) == (effect, by)


@pytest.mark.parametrize(
    ("path", "test", "value", "arguments", "strictly", "loosely"),
    [
        ("a", "equals", "x", {"a": "x"}, True, True),
        ("a", "equals", "x", {"a": "X"}, False, False),
        ("a", "equals", 100, {"a": 100.0}, True, True),
        ("a", "equals", 100, {"a": "100"}, False, True),
        ("a", "equals", True, {"a": True}, True, True),
        ("a", "equals", True, {"a": 1}, False, False),
        ("a", "equals", False, {"a": None}, False, False),
        ("a.b", "equals", "x", {"a": {"b": "x"}}, True, True),
        ("a.1", "equals", "x", {"a": ["y", "x"]}, True, True),
        ("a.9", "equals", "x", {"a": ["y", "x"]}, False, False),
        ("a.*.b", "equals", "x", {"a": [{"b": "x"}, {"b": "y"}]}, False, True),
        ("a.*", "equals", "x", {"a": {"p": "x", "q": "x"}}, True, True),
        ("a", "equals", "x", {"a": ["x", ["x"]]}, True, True),
        ("a", "equals", "x", {"a": {"deep": [{"er": "x"}, 3]}}, False, True),
        ("a", "glob", "*.pdf", {"a": "x\ny.PDF"}, True, True),
        ("a", "glob", "a?c", {"a": "abc"}, True, True),
        ("a", "glob", "a?c", {"a": "abbc"}, False, False),
        ("a", "glob", "a.c+(d)[e]", {"a": "a.c+(d)[e]"}, True, True),
        ("a", "glob", "a.c", {"a": "abc"}, False, False),
        ("a", "glob", "12*", {"a": 123}, True, True),
        ("a", "glob", "true", {"a": True}, True, True),
        ("a", "regex", r"\d{3}", {"a": "123"}, True, True),
        ("a", "regex", r"\d{3}", {"a": "1234"}, False, False),
        ("a", "regex", r"\d{3}", {"a": "123\n"}, False, False),
        ("a", "regex", r"x|y", {"a": "xz"}, False, False),
        ("a", "regex", r"(?i)x", {"a": "X"}, True, True),
        ("a", "present", None, {"a": 0}, True, True),
        ("a", "present", None, {"a": None}, False, False),
        ("a", "present", None, {}, False, False),
        ("a.b", "present", None, {"a": "text"}, False, False),
        ("a", "absent", None, {}, True, True),
        ("a", "absent", None, {"a": None}, True, True),
        ("a", "absent", None, {"a": ""}, False, False),
        # What cannot be looked at is no reason to allow, and reason enough to hold or deny.
        ("a", "glob", "nothing like it", {"a": "x" * 20_001}, False, True),
        ("a", "glob", "*", {"a": "x" * 20_001}, False, True),
        ("a", "equals", "x", {"a": ["x"] * 1_001}, False, True),
        ("a", "glob", "nothing like it", {"a": "\ud800"}, False, True),
        ("a", "glob", "x", {"a": "\x00"}, False, False),
    ],
)  # fmt: skip
def test_a_matcher_finds_what_it_names(path, test, value, arguments, strictly, loosely):
    matcher = ArgumentMatcher(path=path, test=test, value=value)
    check_matcher(matcher, "arguments.0")
    assert matches(matcher, arguments, is_strict=True) is strictly
    assert matches(matcher, arguments, is_strict=False) is loosely


def test_a_pattern_made_to_be_slow_is_not():
    matcher = ArgumentMatcher(path="a", test="regex", value="(a|aa)+(a|aa)+(a+)+b")
    check_matcher(matcher, "arguments.0")
    began = time.perf_counter()
    assert not matches(matcher, {"a": "a" * 20_000}, is_strict=True)
    assert time.perf_counter() - began < 1


@pytest.mark.parametrize(
    ("pattern", "error"),
    [
        (r"(a)\1", PatternInvalid), (r"(?=a)b", PatternInvalid), (r"(?<!a)b", PatternInvalid), ("(", PatternInvalid),
        (r"a)|(b", PatternInvalid), ("(?x)a #", PatternInvalid), ("*", PatternInvalid), ("a{1001}", PatternTooCostly),
        ("(a{40}){40}", PatternTooCostly), ("((a{0,9}){0,9}){50}", PatternTooCostly), (r"[z-a]", PatternInvalid),
    ],
)  # fmt: skip
def test_a_regular_expression_that_cannot_be_used_is_refused(pattern, error):
    with pytest.raises(error) as caught:
        check_matcher(ArgumentMatcher(path="a", test="regex", value=pattern), "arguments.0")
    assert "arguments.0" in caught.value.details["fields"]


@pytest.mark.parametrize("path", ["a..b", ".a", "a.", ".", "a." * 10 + "a", "a\x00", "x" * 101])
def test_a_path_that_names_nothing_is_refused(path):
    with pytest.raises(ArgumentPathInvalid):
        check_matcher(ArgumentMatcher(path=path, test="present"), "arguments.0")


@pytest.mark.parametrize("glob", ["gmail send", "gmail.(a|b)", "gmail.*\n", "ж.*", "a?b"])
def test_a_tool_pattern_that_names_no_tools_is_refused(glob):
    with pytest.raises(PatternInvalid):
        check_tool_glob(glob)


@pytest.mark.parametrize(
    "given",
    [
        {"path": "a", "test": "equals"}, {"path": "a", "test": "present", "value": 1}, {"path": "a", "test": "like"},
        {"path": "a", "test": "glob", "value": 1}, {"path": "a", "test": "glob", "value": ""},
        {"path": "a", "test": "regex", "value": "x" * 201}, {"path": "a", "test": "equals", "value": "x" * 201},
        {"path": "", "test": "absent"}, {"path": "a", "test": "equals", "value": float("inf")},
        {"path": "a", "test": "equals", "value": ["x"]}, {"path": "a", "test": "present", "is": 1},
        {"path": "a", "test": "equals", "value": 10**300},
    ],
)  # fmt: skip
def test_a_matcher_that_says_nothing_is_refused(given):
    with pytest.raises(ValidationError):
        ArgumentMatcher.model_validate(given)


# --- the actions -------------------------------------------------------------------------------------


def hold(**fields: Any) -> RuleFields:
    return RuleFields.model_validate({"effect": "hold", "tool": "gmail.*", **fields})


def test_a_rule_is_made_changed_and_removed_and_the_organisation_is_told(acme: Tenant) -> None:
    with recorded() as seen:
        made = create_rule(acme.owner, hold(agent_id=acme.agent.id, arguments=[TO_US], people=2))
        update_rule(acme.owner, made.id, {"effect": "deny", "priority": 3})
        with tenant_transaction(acme.organisation.id):
            assert get_rule(acme.owner, made.id).priority == 3
            (stored,) = list_rules_in_force()
        delete_rule(acme.owner, made.id)
    assert (stored.effect, stored.people, stored.arguments[0].value) == ("deny", 2, "*@acme.example")
    assert [event.stream for event in seen.events] == [f"org:{acme.organisation.id}"] * 3
    assert [(event.type, event.data["change"]) for event in seen.events] == [
        ("approval_rule.changed", "created"),
        ("approval_rule.changed", "updated"),
        ("approval_rule.changed", "deleted"),
    ]
    assert seen.events[0].data["user_id"] == str(acme.owner.user_id)
    with pytest.raises(ApprovalRuleMissing):
        update_rule(acme.owner, made.id, {"effect": "allow"})


def test_what_a_rule_names_must_be_there(acme: Tenant, globex: Tenant) -> None:
    for fields, error in (
        ({"agent_id": globex.agent.id}, AgentMissing),
        ({"chat_id": uuid.uuid4()}, ChatMissing),
        ({"decider_ids": [globex.users["mallory"].pk]}, Invalid),
        ({"decider_ids": [acme.users["bob"].pk], "people": 2}, Invalid),
        ({"tool": "gmail send"}, PatternInvalid),
        ({"arguments": [{"path": "a", "test": "regex", "value": "("}]}, PatternInvalid),
    ):
        with pytest.raises(error):
            create_rule(acme.owner, hold(**fields))
    create_rule(acme.owner, hold(decider_ids=[acme.users["bob"].pk, acme.users["alice"].pk], people=2))


def test_only_admins_make_rules_and_nobody_elses(acme: Tenant, globex: Tenant) -> None:
    made = create_rule(acme.owner, hold())
    bob = acme.people["bob"]
    agent = Actor(acme.organisation.id, "agent", "member", scopes=frozenset({"agents:read"}))
    for actor in (bob, agent):
        with pytest.raises((RoleMissing, ScopeMissing)):
            create_rule(actor, hold())
        with pytest.raises((RoleMissing, ScopeMissing)):
            delete_rule(actor, made.id)
    for act in (
        lambda: update_rule(globex.owner, made.id, {"effect": "allow"}),
        lambda: delete_rule(globex.owner, made.id),
    ):
        with pytest.raises(ApprovalRuleMissing):
            act()
    with tenant_transaction(globex.organisation.id):
        assert list_rules_in_force() == []
        assert list(list_rules(globex.owner)) == []
    with tenant_transaction(acme.organisation.id):
        assert [found.id for found in list_rules(bob)] == [made.id]


def test_an_organisation_has_only_so_many_rules(acme: Tenant) -> None:
    with tenant_transaction(acme.organisation.id):
        ApprovalRule.objects.bulk_create(
            ApprovalRule(org_id=acme.organisation.id, effect="hold", tool="*", lifetime_s=60)
            for _ in range(MAX_RULES)
        )
    with pytest.raises(QueueFull):
        create_rule(acme.owner, hold())
