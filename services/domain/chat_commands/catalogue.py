"""The one list of commands: for what people write, for `/help`, and for what platforms are told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from services.domain.chat_commands.base import Asked, Command, Who
from services.domain.chat_commands.choosing import ChooseAgent, ChooseModel
from services.domain.chat_commands.claiming import Claim
from services.domain.chat_commands.conversation import New, Status, Stop
from services.domain.chat_commands.linking import Link
from services.domain.chat_commands.scheduling import Schedule
from services.domain.chat_commands.spending import Usage
from services.domain.ports.chat_abilities import CommandHint

_NOTES = {Who.MEMBER: " (members)", Who.OWN: " (admins; you in your own direct chat)"}


class Help(Command):
    """List the commands."""

    name: ClassVar[str] = "help"
    help: ClassVar[str] = "List what I understand"
    who: ClassVar[Who] = Who.ANYONE

    def run(self, asked: Asked) -> str:
        """List every command with its line of help."""
        lines = [f"- `{_form(command)}` {command.help}{_NOTES.get(command.who, '')}" for command in COMMANDS]
        return "\n".join(
            [
                "All else that you write to me is for the agent.",
                "",
                *lines,
                "",
                "`!help` is as good as `/help`.",
            ]
        )


class Start(Command):
    """What a chat with a bot of Telegram's begins with: with a code when it was opened by a link that carries one.

    Source: https://core.telegram.org/bots/features#deep-linking
    """

    name: ClassVar[str] = "start"
    help: ClassVar[str] = "Begin"
    usage: ClassVar[str] = "[<code>]"
    who: ClassVar[Who] = Who.ANYONE

    def run(self, asked: Asked) -> str:
        """Link the account with the code, or say what there is."""
        return Link().run(asked) if asked.args else Help().run(asked)


COMMANDS: tuple[Command, ...] = (
    Help(),
    New(),
    Stop(),
    Status(),
    ChooseAgent(),
    ChooseModel(),
    Link(),
    Claim(),
    Usage(),
    Schedule(),
)
_BY_NAME: dict[str, Command] = {command.name: command for command in (*COMMANDS, Start())}


def find_command(name: str) -> Command | None:
    """Return the command of a name, None when there is none."""
    return _BY_NAME.get(name)


def list_hints() -> Sequence[CommandHint]:
    """Return the list as platforms are told it."""
    return [CommandHint(command.name, command.help, command.usage) for command in COMMANDS]


def _form(command: Command) -> str:
    return f"/{command.name} {command.usage}".rstrip()
