"""The commands by which somebody says who they are."""

from __future__ import annotations

from typing import ClassVar

from services.domain.chat_commands.base import Asked, Command, Who, wrong_usage
from services.domain.contacts.accounts import find_person, redeem_code
from services.domain.contacts.holding import welcome


class Link(Command):
    """Say whose an account is."""

    name: ClassVar[str] = "link"
    help: ClassVar[str] = "Say who you are, with a code from your settings on the dashboard"
    usage: ClassVar[str] = "<code>"
    who: ClassVar[Who] = Who.ANYONE

    def run(self, asked: Asked) -> str:
        """Redeem a code. Raises: Invalid without one."""
        message = asked.message
        if not asked.args:
            raise wrong_usage(self, "A code is needed: your settings on the dashboard give you one.")
        words = redeem_code(message, asked.args)
        if find_person(message.link_id, message.sender_id) is not None:
            welcome(message)
        return words
