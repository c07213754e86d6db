"""The command that has something done again and again, with the answer coming to this chat."""

from __future__ import annotations

import zoneinfo
from typing import ClassVar

from django.db.models import QuerySet

from services.domain.actors import Actor
from services.domain.chat_commands.base import Asked, Command, Who, wrong_usage
from services.domain.chat_commands.conversation import NOBODY
from services.domain.chat_commands.place import list_seats
from services.domain.chat_commands.times import EXAMPLES, read_plan
from services.domain.chats.models import Chat
from services.domain.contacts.quiet import get_quiet_hours
from services.domain.errors import PlaybookMissing
from services.domain.playbooks.actions import PlaybookFields, create_playbook, delete_playbook
from services.domain.playbooks.models import Playbook
from services.domain.playbooks.queries import list_playbooks
from services.kit.clock import now

MAX_LISTED = 30
_REMOVING = ("remove", "delete", "cancel", "off")


class Schedule(Command):
    """Make, list and remove the playbooks whose answers come to this chat."""

    name: ClassVar[str] = "schedule"
    help: ClassVar[str] = (
        "Have something done at set times, with the answer here; alone it lists what there is"
    )
    usage: ClassVar[str] = "[<when> <what> | remove <code>]"
    who: ClassVar[Who] = Who.MEMBER

    def run(self, asked: Asked) -> str:
        """List, make or remove. Raises: ScheduleInvalid, PlaybookMissing, ScopeMissing, and what a playbook's does."""
        words = asked.args.split()
        if not words:
            return _listed(asked.member(), asked.message.chat)
        if words[0].lower() in _REMOVING:
            if len(words) != 2:
                raise wrong_usage(self, "Which one? `/schedule` lists them with their codes.")
            return _removed(asked.member(), asked.message.chat, words[1])
        return _made(asked)


def _made(asked: Asked) -> str:
    message, person = asked.message, asked.member()
    planned = read_plan(asked.args)
    seats = list_seats(message.chat, message.thread_id)
    if not seats:
        return NOBODY
    agent = seats[0].agent
    zone = get_quiet_hours(person).time_zone
    fields = PlaybookFields(
        agent_id=agent.id,
        name=" ".join(planned.prompt.split())[:80],
        prompt=planned.prompt,
        cron=planned.cron,
        timezone=zone,
        deliver_to={"chat_id": str(message.chat_id), "thread_id": message.thread_id},
    )
    playbook, _ = create_playbook(person, fields)
    return f"**{agent.name}** does it {_when(playbook)}. `/schedule remove {_code(playbook)}` ends it."


def _listed(person: Actor, chat: Chat) -> str:
    rows = list(_of_chat(person, chat).order_by("id")[:MAX_LISTED])
    if not rows:
        return f"Nothing is scheduled for this chat. Write `/schedule <when> <what>`; when can be {EXAMPLES}."
    lines = [f"- `{_code(row)}` {row.name} ({row.agent.name}): {_when(row)}" for row in rows]
    return "\n".join([*lines, "", "`/schedule remove <code>` ends one."])


def _removed(person: Actor, chat: Chat, code: str) -> str:
    wanted = code.lower().lstrip("#")
    found = [row for row in _of_chat(person, chat) if _code(row) == wanted or str(row.id) == wanted]
    if len(found) != 1:
        raise PlaybookMissing(f"Nothing with the code {code[:20]!r} is scheduled for this chat.")
    delete_playbook(person, found[0].id)
    return f"Ended: {found[0].name}"


def _of_chat(person: Actor, chat: Chat) -> QuerySet[Playbook]:
    """Return what is scheduled to answer here."""
    there = list_playbooks(person).filter(deliver_to__chat_id=str(chat.id))
    return there.exclude(cron="", run_at=None)


def _code(playbook: Playbook) -> str:
    # The end of the id is its random part.
    return playbook.id.hex[-6:]


def _when(playbook: Playbook) -> str:
    if not playbook.is_enabled or playbook.next_run_at is None:
        return f"`{playbook.cron}`, switched off" if playbook.cron else "switched off"
    next_at = playbook.next_run_at.astimezone(zoneinfo.ZoneInfo(playbook.timezone))
    day = "today" if next_at.date() == now().astimezone(next_at.tzinfo).date() else f"{next_at:%a %Y-%m-%d}"
    pattern = f"`{playbook.cron}`, " if playbook.cron else ""
    return f"{pattern}next {day} at {next_at:%H:%M} ({playbook.timezone})"
