"""Reading a command out of what somebody wrote. Pure.

`/name@bot arguments` is the common form. Slack and others take what begins with a slash for themselves, so `!name`
is as good. Source: https://core.telegram.org/bots/features#commands (1 to 32 characters a-z, 0-9, underscore).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, cast

_FORM = re.compile(
    r"(?P<sign>[/!])(?P<name>[a-z][a-z0-9_]{0,31})(?:@(?P<target>[a-z0-9_.-]{1,64}))?(?:\s+(?P<args>.*))?",
    re.IGNORECASE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Spoken:
    """A command as it was written: its name in lower case, what follows it, and the bot that it names, if it does."""

    sign: Literal["/", "!"]
    name: str
    args: str = ""
    target: str = ""

    def is_for(self, bot_name: str) -> bool:
        """Say whether it may be meant for a bot of this name: it names that one, or none."""
        return not self.target or self.target.lower() == bot_name.lower().removeprefix("@")


def read_command(text: str) -> Spoken | None:
    """Return the command that a text is; None for anything else, also for a sign before something that is no name."""
    found = _FORM.fullmatch(text.strip())
    if found is None:
        return None
    return Spoken(
        sign=cast(Literal["/", "!"], found["sign"]),
        name=found["name"].lower(),
        args=(found["args"] or "").strip(),
        target=found["target"] or "",
    )
