"""The command by which what was delivered here goes on here."""

from __future__ import annotations

from typing import ClassVar

from services.domain.chat_commands.base import Asked, Command, Who
from services.domain.chats.claiming_threads import claim_here


class Claim(Command):
    """Go on with what was delivered here."""

    name: ClassVar[str] = "claim"
    help: ClassVar[str] = (
        "Go on here with the work whose answer came last, or that you reply to; /new lets it go"
    )
    who: ClassVar[Who] = Who.MEMBER

    def run(self, asked: Asked) -> str:
        """Make its workspace the one that this place talks with. Raises: Missing, NotPermitted, AgentMissing."""
        claim = claim_here(asked.message, asked.member())
        return (
            f"What you say here now goes on in **{claim.workspace.name or claim.workspace.agent.name}**, with "
            f"{claim.workspace.agent.name}. `/new` lets it go."
        )
