"""What a command is: a name, a line of help, who may, and what it does."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import ClassVar

from services.domain.actors import Actor
from services.domain.chats.models import InboundMessage
from services.domain.errors import Invalid, NotPermitted, RoleMissing
from services.domain.ports.chat import ChatKind


class Who(enum.StrEnum):
    """Who may use a command. Nobody who is not heard may use any but those for anyone."""

    ANYONE = "anyone"
    HEARD = "heard"
    MEMBER = "member"
    OWN = "own"
    """An admin anywhere; in a direct chat the member whose it is."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A command that somebody gave: the message, what follows the name, and the member who wrote it, if one did."""

    message: InboundMessage
    args: str
    person: Actor | None

    @property
    def is_direct(self) -> bool:
        """Say whether nobody else reads along."""
        return self.message.chat.kind == ChatKind.DIRECT

    def member(self) -> Actor:
        """Return the member who asks. Raises: NotPermitted for anybody else."""
        if self.person is None:
            raise NotPermitted(
                "This is for members. If you are one, link this account first: your settings on the dashboard give you "
                "a code for it."
            )
        return self.person


class Command:
    """One command. `usage` is what may follow the name; `help` one line without a full stop."""

    name: ClassVar[str]
    help: ClassVar[str]
    usage: ClassVar[str] = ""
    who: ClassVar[Who] = Who.HEARD
    other_names: ClassVar[tuple[str, ...]] = ()

    def run(self, asked: Asked) -> str:
        """Do it, inside the tenant's transaction; returns what to say, in Markdown. Raises: SlipwayError to refuse."""
        raise NotImplementedError


def refuse_unless_permitted(command: Command, asked: Asked, who: Who) -> None:
    """Refuse who may not do what a command does, with the reason. Raises: NotPermitted, RoleMissing."""
    if who in (Who.ANYONE, Who.HEARD):
        return
    person = asked.member()
    if who == Who.OWN and not asked.is_direct and person.role not in ("owner", "admin"):
        raise RoleMissing(
            f"/{command.name} changes this chat for all who are in it, so it is for admins. You are "
            f"{a_role(person.role)}.",
            role="admin",
        )


def a_role(role: str) -> str:
    """Word a role."""
    return f"an {role}" if role[0] in "ao" else f"a {role}"


def wrong_usage(command: Command, reason: str) -> Invalid:
    """Word what is wrong with what followed a command's name."""
    return Invalid(f"{reason}\nWrite it so: `/{command.name} {command.usage}`".rstrip())
