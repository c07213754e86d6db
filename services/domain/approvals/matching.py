"""Whether a tool's name and a call's arguments are what a rule is about. Pure, and bounded whatever is asked of it.

Patterns run on an engine without backtracking: its time grows with pattern times text, and both are limited. What
cannot be looked at, because it is too long or too much, always counts against the call: it is no reason to
allow, and reason enough to hold or to deny.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from services.domain.errors import ArgumentPathInvalid, PatternInvalid, PatternTooCostly
from services.kit.linear_regex import count_repetitions, find_fault, is_found

MAX_PATTERN_CHARS = 200
MAX_REPETITIONS = 1_000
MAX_TEXT_CHARS = 20_000
MAX_VALUES = 1_000
MAX_PATH_PARTS = 10
ANY = "*"

Scalar = str | int | float | bool | None

_TOOL_GLOB = re.compile(r"[A-Za-z0-9_./*-]{1,200}")
_PATH_PART = re.compile(r"[^.\x00]{1,100}")
_SPECIAL = re.compile(r"([\\.+*?()|\[\]{}^$#&~-])")
_WILD = {"*": ".*", "?": "."}
_SURROGATE = re.compile("[\ud800-\udfff]")


class ArgumentMatcher(BaseModel):
    """What one argument must be like. `path` names it: `to`, `message.subject`, `to.*`, where * is each one there.

    `equals` compares a single value; `glob` takes * and ?, whatever the case; `regex` must cover the whole text.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    path: str = Field(min_length=1, max_length=200)
    test: Literal["equals", "glob", "regex", "present", "absent"]
    value: Scalar = None

    @model_validator(mode="after")
    def _value_fits(self) -> Self:
        match self.test:
            case "present" | "absent":
                is_fit = self.value is None
            case "glob" | "regex":
                is_fit = isinstance(self.value, str) and 0 < len(self.value) <= MAX_PATTERN_CHARS
            case _:
                is_fit = self.value is not None and len(str(self.value)) <= MAX_PATTERN_CHARS
        if not is_fit:
            raise ValueError(
                f"`present` and `absent` take no value, the others one of at most {MAX_PATTERN_CHARS} characters"
            )
        if isinstance(self.value, float) and not math.isfinite(self.value):
            raise ValueError("a number must be finite")
        return self


def check_tool_glob(glob: str) -> None:
    """Refuse what names no tools. Raises: PatternInvalid."""
    if not _TOOL_GLOB.fullmatch(glob):
        raise PatternInvalid(
            "A tool is named <server>.<tool>, with * for any part of it.", fields={"tool": "not a pattern"}
        )


def check_matcher(matcher: ArgumentMatcher, field: str) -> None:
    """Refuse what could not be matched with. Raises: ArgumentPathInvalid, PatternInvalid, PatternTooCostly."""
    parts = matcher.path.split(".")
    if len(parts) > MAX_PATH_PARTS or not all(_PATH_PART.fullmatch(part) for part in parts):
        raise ArgumentPathInvalid(
            "A path names an argument, part by part with dots between them.",
            fields={field: f"1 to {MAX_PATH_PARTS} parts"},
        )
    if matcher.test != "regex" or not isinstance(matcher.value, str):
        return
    if count_repetitions(matcher.value) > MAX_REPETITIONS:
        raise PatternTooCostly(
            f"A pattern repeats at most {MAX_REPETITIONS} times in all.", fields={field: "repeats too often"}
        )
    # By itself first: what is no pattern must not become one inside of ours.
    fault = find_fault(matcher.value) or find_fault(rf"\A(?:{matcher.value})\z")
    if fault is not None:
        raise PatternInvalid("This is no regular expression that can be used.", fields={field: fault})


def is_tool(glob: str, tool: str) -> bool:
    """Say whether a tool, as `server.tool`, is one that a glob names."""
    return is_found(_from_glob(glob, flags="s"), tool)


def exactness(glob: str) -> int:
    """Return how exactly a glob names tools: the characters that are not *, and more than all of these for one tool."""
    literal = len(glob.replace(ANY, ""))
    return literal if ANY in glob else literal + 1_000


def matches(matcher: ArgumentMatcher, arguments: Mapping[str, Any], *, is_strict: bool) -> bool:
    """Say whether arguments are as a matcher says.

    Strict, to allow: every value at the path fits, and there is one. Otherwise, to hold or deny: one that fits is
    enough, and so is one that cannot be looked at.
    """
    found = list(_at(arguments, matcher.path.split(".")))
    if matcher.test == "present":
        return bool(found)
    if matcher.test == "absent":
        return not found
    leaves: list[Scalar] = []
    for value in found:
        for leaf in _leaves(value):
            leaves.append(leaf)
            if len(leaves) > MAX_VALUES or not _can_be_looked_at(leaf):
                return not is_strict
    fits = [_fits(matcher, leaf, is_strict=is_strict) for leaf in leaves]
    return bool(fits) and all(fits) if is_strict else any(fits)


def _fits(matcher: ArgumentMatcher, leaf: Scalar, *, is_strict: bool) -> bool:
    match matcher.test:
        case "equals":
            return _is_same(matcher.value, leaf) or (not is_strict and _text(matcher.value) == _text(leaf))
        case "glob":
            pattern = _from_glob(str(matcher.value), flags="is")
        case _:
            pattern = rf"\A(?:{matcher.value})\z"
    return is_found(pattern, _text(leaf))


def _is_same(wanted: Scalar, leaf: Scalar) -> bool:
    """Compare as JSON does: true is not 1, and 1.0 is 1."""
    return isinstance(wanted, bool) == isinstance(leaf, bool) and wanted == leaf


def _at(value: Any, parts: list[str]) -> Iterator[Any]:
    """Yield what is at a path; null is nothing."""
    if not parts:
        if value is not None:
            yield value
        return
    part, rest = parts[0], parts[1:]
    if isinstance(value, dict):
        inner = list(value.values()) if part == ANY else [value[part]] if part in value else []
    elif isinstance(value, list):
        is_index = part.isascii() and part.isdigit() and len(part) < 6 and int(part) < len(value)
        inner = value if part == ANY else [value[int(part)]] if is_index else []
    else:
        inner = []
    for item in inner:
        yield from _at(item, rest)


def _leaves(value: Any) -> Iterator[Scalar]:
    """Yield the single values in a value, however it is nested; without recursion, because a stranger made it."""
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            waiting.extend(item.values())
        elif isinstance(item, list):
            waiting.extend(item)
        elif item is not None:
            yield item


def _can_be_looked_at(leaf: Scalar) -> bool:
    # The engine takes no lone surrogates, which a server elsewhere may read as something.
    return not isinstance(leaf, str) or (len(leaf) <= MAX_TEXT_CHARS and not _SURROGATE.search(leaf))


def _text(leaf: Scalar) -> str:
    return leaf if isinstance(leaf, str) else json.dumps(leaf)


def _from_glob(glob: str, *, flags: str) -> str:
    parts = (_WILD.get(part) or _SPECIAL.sub(r"\\\1", part) for part in re.split(r"([*?])", glob))
    return rf"(?{flags})\A{''.join(parts)}\z"
