"""Taking a message that is a command: who may, what it does, what is said, what is put on record."""

from __future__ import annotations

from dataclasses import dataclass

from services.domain.chat_commands.base import Asked, Command, Who, refuse_unless_permitted
from services.domain.chat_commands.catalogue import find_command
from services.domain.chat_commands.conversation import New
from services.domain.chat_commands.parsing import Spoken, read_command
from services.domain.chat_commands.place import is_talking
from services.domain.chats.models import Engage, InboundMessage, Wiring
from services.domain.contacts.accounts import find_person
from services.domain.contacts.gate import Standing
from services.domain.contacts.holding import find_standing, may_be_answer
from services.domain.errors import SlipwayError
from services.domain.ports.chat import ChatKind
from services.domain.tenancy.transaction import tenant_transaction

COMMAND = "command:"
"""How the outcome of a message begins that was a command. It is context for no agent."""
BEGUN = f"{COMMAND} {New.name}"
"""The outcome of a message by which a conversation began anew: what was said before is no context any more."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of a command, and what is said about it, in Markdown."""

    outcome: str
    words: str


def take_command(message: InboundMessage) -> Taken | None:
    """Do what a message commands; None for one that is no command, or not for this bot, or not from who is heard.

    What a stranger commands goes the way of what a stranger writes. An unknown command is text for the agent, unless
    nobody would read it. Inside the tenant's transaction; what a refused command had begun is undone.
    """
    spoken = read_command(message.text)
    if spoken is None or not spoken.is_for(message.link.platform_identity):
        return None
    if not _is_spoken_to(message):
        return None
    command = find_command(spoken.name)
    if command is None:
        return _unknown(message, spoken)
    if not _is_heard(message, command):
        return None
    return _run(message, command, spoken)


def _run(message: InboundMessage, command: Command, spoken: Spoken) -> Taken:
    asked = Asked(message, spoken.args, find_person(message.link_id, message.sender_id))
    try:
        with tenant_transaction(message.org_id):
            refuse_unless_permitted(command, asked, command.who)
            return Taken(f"{COMMAND} {command.name}", command.run(asked))
    except SlipwayError as error:
        return Taken(f"{COMMAND} {command.name} refused: {error.code}", error.message)


def _unknown(message: InboundMessage, spoken: Spoken) -> Taken | None:
    """Say that nobody understands a command, where no agent would be told it either."""
    is_wired = Wiring.objects.filter(chat=message.chat_id, is_enabled=True, agent__archived_at=None).exists()
    if spoken.sign != "/" or is_wired or not may_be_answer(message):
        return None
    return Taken(f"{COMMAND} unknown", f"I know no command `/{spoken.name}`. `/help` lists what I know.")


def _is_spoken_to(message: InboundMessage) -> bool:
    """Say whether a message is a person's to this bot: other bots have commands, too."""
    if message.is_bot:
        return False
    if message.chat.kind == ChatKind.DIRECT or message.is_mention:
        return True
    # Where an agent answers whatever is said, or is talking already, it is said to it.
    hears_all = Wiring.objects.filter(chat=message.chat_id, is_enabled=True, engage=Engage.ALWAYS)
    return hears_all.exists() or is_talking(message.chat, message.thread_id)


def _is_heard(message: InboundMessage, command: Command) -> bool:
    if command.who != Who.ANYONE:
        return may_be_answer(message)
    return find_standing(message.link_id, message.sender_id) != Standing.DENIED
