"""What is going on where a command was given: who answers there, in which conversation, and the work at hand."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from django.db.models import Q

from services.domain.agents.models import Agent
from services.domain.chat_commands.models import ConversationSetting
from services.domain.chats.models import Chat, Conversation, Wiring
from services.domain.chats.routing import conversation_scope
from services.domain.tasks.models import Task
from services.domain.workspaces.models import Workspace


@dataclass(frozen=True, slots=True)
class Seat:
    """An agent that answers in a place, and the conversation that a message there belongs to."""

    wiring: Wiring
    agent: Agent
    scope: str
    workspace: Workspace | None


def list_seats(chat: Chat, thread_id: str) -> list[Seat]:
    """List who answers in a place, the highest priority first. Inside the tenant's transaction."""
    wirings = (
        Wiring.objects.select_related("agent")
        .filter(chat=chat, is_enabled=True, agent__archived_at=None)
        .order_by("-priority", "id")
    )
    return [_seat(wiring, chat, thread_id) for wiring in wirings]


def list_work(chat: Chat, thread_id: str) -> list[Task]:
    """List the work that has not ended and whose answer goes to a place, the oldest first.

    In a thread it is that thread's, elsewhere all of the chat's. Inside the tenant's transaction.
    """
    there = Q(deliver_to__chat_id=str(chat.id))
    if thread_id:
        there &= Q(deliver_to__thread_id=thread_id)
    return list(Task.objects.select_related("agent").filter(there, finished_at=None).order_by("id"))


def is_talking(chat: Chat, thread_id: str) -> bool:
    """Say whether a thread is a conversation with an agent already, so that what is said there is said to it."""
    if not thread_id:
        return False
    scope = conversation_scope("per-thread", chat_id=chat.id, thread_id=thread_id)
    return Conversation.objects.filter(scope=scope).exists() or bool(list_work(chat, thread_id))


def find_setting(agent_id: uuid.UUID, scope: str) -> ConversationSetting | None:
    """Return what people chose for a conversation, None when nothing. Inside the tenant's transaction."""
    return ConversationSetting.objects.filter(agent_id=agent_id, scope=scope).first()


def name_agents(seats: Sequence[Seat]) -> str:
    """Name the agents of a place as a sentence does."""
    names = [f"**{seat.agent.name}**" for seat in seats]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _seat(wiring: Wiring, chat: Chat, thread_id: str) -> Seat:
    scope = conversation_scope(wiring.session_mode, chat_id=chat.id, thread_id=thread_id)
    talk = (
        Conversation.objects.select_related("workspace")
        .filter(agent_id=wiring.agent_id, scope=scope, workspace__archived_at=None)
        .first()
    )
    return Seat(wiring, wiring.agent, scope, talk.workspace if talk else None)
