"""Commands that choose who answers, and with which model."""

from __future__ import annotations

import uuid
from typing import ClassVar

from services.domain.agents.models import Agent
from services.domain.agents.queries import list_agents_by_name
from services.domain.chat_commands.base import Asked, Command, Who, refuse_unless_permitted
from services.domain.chat_commands.conversation import NOBODY
from services.domain.chat_commands.models import ConversationSetting
from services.domain.chat_commands.place import Seat, find_setting, list_seats, name_agents
from services.domain.chats.models import Engage, SessionMode, Wiring
from services.domain.chats.wirings import WiringFields, create_wiring, delete_wiring
from services.domain.errors import AgentMissing, Conflict, Invalid
from services.domain.llm.catalogue import list_usable_models
from services.domain.llm.patterns import is_allowed
from services.domain.llm.policy import choose_model
from services.kit.clock import now

MAX_LISTED = 30
USUAL = ("default", "usual", "reset")


class ChooseAgent(Command):
    """Show who answers here, or choose."""

    name: ClassVar[str] = "agent"
    help: ClassVar[str] = "Show which agent answers here, or choose another"
    usage: ClassVar[str] = "[name]"

    def run(self, asked: Asked) -> str:
        """Without a name show, with one choose. Raises: RoleMissing, NotPermitted, AgentMissing, Conflict."""
        message = asked.message
        seats = list_seats(message.chat, message.thread_id)
        if not asked.args:
            return _show_agents(asked, seats)
        refuse_unless_permitted(self, asked, Who.OWN)
        agent = _find_agent(asked, asked.args)
        if any(seat.agent.id == agent.id for seat in seats) and len(seats) == 1:
            return f"**{agent.name}** answers here already."
        _seat_agent(asked, seats, agent)
        return f"**{agent.name}** answers here from now on."


class ChooseModel(Command):
    """Show the model of this conversation, or choose."""

    name: ClassVar[str] = "model"
    help: ClassVar[str] = "Show the model of this conversation, or choose another that is allowed"
    usage: ClassVar[str] = "[name | default]"

    def run(self, asked: Asked) -> str:
        """Without a name show, with one choose. Raises: RoleMissing, NotPermitted, ModelNotAllowed, Invalid."""
        message = asked.message
        seats = list_seats(message.chat, message.thread_id)
        if not seats:
            return NOBODY
        if not asked.args:
            return "\n".join(_show_model(asked, seat) for seat in seats)
        refuse_unless_permitted(self, asked, Who.OWN)
        words = asked.args.split()
        if len(words) != 1:
            raise Invalid("A model's name is one word.")
        model = "" if words[0].lower() in USUAL else words[0]
        for seat in seats:
            if model:
                choose_model(seat.agent, model)  # refuses what is not allowed
            _set_model(seat, model)
        if not model:
            return f"{name_agents(seats)}: the usual model again, from the next message on."
        return f"{name_agents(seats)}: `{model}` in this conversation, from the next message on."


def _show_agents(asked: Asked, seats: list[Seat]) -> str:
    here = f"Here answers {name_agents(seats)}." if seats else NOBODY
    if asked.person is None:
        return here
    usable = list_agents_by_name(asked.person)[:MAX_LISTED]
    lines = [f"- `{agent.slug}` {agent.name}" for agent in usable]
    return "\n".join([here, "", "There are:", *lines, "", "Choose with `/agent <name>`."]) if lines else here


def _find_agent(asked: Asked, name: str) -> Agent:
    wanted = name.strip().lower()
    usable = list_agents_by_name(asked.member())
    found = [agent for agent in usable if wanted in (agent.slug, agent.name.lower(), str(agent.id))]
    if not found:
        raise AgentMissing(f"There is no agent {name.strip()[:60]!r}. `/agent` lists them.")
    return found[0]


def _seat_agent(asked: Asked, seats: list[Seat], agent: Agent) -> None:
    """Put an agent in the place of the one that answers here, on the same terms."""
    if len(seats) > 1:
        raise Conflict(
            f"{name_agents(seats)} answer here, each by its own rule. Change these on the dashboard's page of the chat."
        )
    person, chat = asked.member(), asked.message.chat
    terms = _terms_of(seats[0].wiring) if seats else _usual_terms(is_direct=asked.is_direct)
    for seat in seats:
        delete_wiring(person, seat.wiring.id)
    # One that was switched off, or whose agent was archived, would be in the way.
    for wiring_id in Wiring.objects.filter(chat=chat, agent=agent).values_list("id", flat=True):
        delete_wiring(person, wiring_id)
    create_wiring(person, WiringFields(**terms, chat_id=chat.id, agent_id=agent.id))


def _terms_of(wiring: Wiring) -> dict[str, object]:
    return {
        name: getattr(wiring, name)
        for name in WiringFields.model_fields
        if name not in ("chat_id", "agent_id")
    }


def _usual_terms(*, is_direct: bool) -> dict[str, object]:
    if is_direct:
        return {"engage": Engage.ALWAYS, "session_mode": SessionMode.SHARED}
    return {"engage": Engage.MENTION, "session_mode": SessionMode.PER_THREAD}


def _show_model(asked: Asked, seat: Seat) -> str:
    setting = find_setting(seat.agent.id, seat.scope)
    chosen = setting.model if setting is not None else ""
    model = choose_model(seat.agent, chosen or None) or "its own usual model"
    line = f"**{seat.agent.name}** works with `{model}`" + (", chosen here." if chosen else ".")
    if asked.person is None:
        return line
    listed = [
        one.model
        for one in list_usable_models(asked.person)
        if is_allowed(one.model, seat.agent.allowed_models)
    ]
    if not listed:
        return line
    return f"{line}\nAllowed: {', '.join(f'`{model}`' for model in listed[:MAX_LISTED])}. `/model <name>` chooses."


def _set_model(seat: Seat, model: str) -> None:
    values = {"model": model, "updated_at": now()}
    ConversationSetting.objects.update_or_create(
        agent=seat.agent,
        scope=seat.scope,
        defaults=values,
        create_defaults={**values, "org_id": seat.agent.org_id},
    )


def find_chosen_model(agent_id: uuid.UUID, scope: str) -> str | None:
    """Return the model that a conversation asks for, None for the agent's usual one."""
    setting = find_setting(agent_id, scope)
    return (setting.model or None) if setting is not None else None
