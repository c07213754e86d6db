"""Giving a message to an agent: as new work, into the turn that is at work, or not, as the agent is set."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Literal

from django.db.models import Q

from services.domain.actors import Actor, require, system_actor
from services.domain.agents.actions import get_usable_agent
from services.domain.agents.models import Agent, WhenBusy
from services.domain.chat_commands.choosing import find_chosen_model
from services.domain.chats.models import Conversation, InboundMessage, SessionMode
from services.domain.chats.prompting import prompt_of, said_before
from services.domain.chats.routing import Rule, conversation_scope
from services.domain.contacts.saying import say
from services.domain.errors import AgentMissing, NotPermitted, SlipwayError, TaskFinished, Temporary
from services.domain.media.inbox import put_in_inbox
from services.domain.ports.chat import ChatKind
from services.domain.tasks.messages import send_message, submit_all_left
from services.domain.tasks.models import ACTIVE, Task, TaskMode, TaskStatus
from services.domain.tasks.submit import TaskOrder, cancel_task, submit_task
from services.domain.tenancy.transaction import tenant_transaction
from services.domain.workspaces.models import Workspace

NOT_FOR_YOU = "I may not work for you: that needs the role member, and an agent that is shared with you."
AT_WORK = (
    "I am still at work on what was said before, and have not taken this. Send it again when that is done."
)


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of a message for one agent. `detail` is the code of what refused it."""

    becomes: Literal["task", "steered", "refused", "rejected"]
    task_id: uuid.UUID | None = None
    detail: str = ""

    @property
    def outcome(self) -> str:
        """Return it as the message's outcome says it."""
        return f"{self.becomes}: {self.task_id or self.detail}"


def engage(message: InboundMessage, rule: Rule, person: Actor | None) -> Taken:
    """Give a message to the agent of a wiring; a refusal is told to its writer. Inside the routing's transaction.

    Locks: the conversation. Emits and queues: what submitting, sending or cancelling does. Raises: Temporary.
    """
    scope = conversation_scope(rule.session_mode, chat_id=message.chat_id, thread_id=message.thread_id)
    actor = _asker(message, rule, person)
    conversation = (
        Conversation.objects.select_for_update(of=("self",))
        .select_related("workspace")
        .filter(_of_same_person(actor), agent_id=rule.agent_id, scope=scope, workspace__archived_at=None)
        .first()
    )
    workspace = conversation.workspace if conversation else None
    try:
        with tenant_transaction(message.org_id):
            if person is not None:
                # A member is held to their own rights wherever they write, whoever the work is for.
                require(person, "tasks:write")
                get_usable_agent(person, rule.agent_id)
            if workspace is not None:
                submit_all_left(message.org_id, workspace.id)
            taken = _double_text(message, rule, actor, workspace) if workspace is not None else None
            if taken is not None:
                return taken
            task = _submit(message, rule, actor, workspace, find_chosen_model(rule.agent_id, scope))
    except Temporary:
        raise
    except (NotPermitted, AgentMissing) as error:
        say(message, NOT_FOR_YOU)
        return Taken("refused", detail=error.code)
    except SlipwayError as error:
        say(message, f"I could not take this: {error.message}")
        return Taken("refused", detail=error.code)
    put_in_inbox(task, [*said_before(message, rule.agent_id), message])
    _remember(message, rule.agent_id, scope, task.workspace)
    return Taken("task", task.id)


def _submit(
    message: InboundMessage, rule: Rule, actor: Actor, workspace: Workspace | None, model: str | None
) -> Task:
    order = TaskOrder(
        agent_id=rule.agent_id,
        workspace_id=workspace.id if workspace else None,
        prompt=prompt_of(message, rule.agent_id),
        model=model,
        mode=TaskMode.SESSION,
        deliver_to={
            "chat_id": str(message.chat_id),
            "thread_id": message.thread_id,
            "reply_to": message.platform_message_id,
        },
    )
    return submit_task(actor, order, source=message.link.kind, idempotency_key=_key(message, rule))


def _double_text(message: InboundMessage, rule: Rule, actor: Actor, workspace: Workspace) -> Taken | None:
    """Do what the agent is set to do with a message that comes while it works there; None to submit it."""
    unfinished = list(
        Task.objects.filter(workspace=workspace, status__in=(TaskStatus.QUEUED, *ACTIVE)).order_by("id")
    )
    if not unfinished:
        return None
    # What is asked for elsewhere, or by somebody else, is neither steered nor interrupted from here.
    here = [task for task in unfinished if _is_same_talk(task, message, actor)]
    match Agent.objects.values_list("when_busy", flat=True).get(id=rule.agent_id):
        case WhenBusy.STEER:
            running = next(
                (task for task in here if task.status in ACTIVE and not task.cancel_requested_at), None
            )
            return _steer(message, rule, actor, running) if running is not None else None
        case WhenBusy.INTERRUPT:
            for task in here:
                _interrupt(task)
        case WhenBusy.REJECT:
            say(message, AT_WORK)
            return Taken("rejected", detail="at_work")
    return None


def _steer(message: InboundMessage, rule: Rule, actor: Actor, running: Task) -> Taken | None:
    try:
        with tenant_transaction(message.org_id):
            text = prompt_of(message, rule.agent_id)
            put_in_inbox(running, [*said_before(message, rule.agent_id), message])
            send_message(actor, running.id, text, idempotency_key=_key(message, rule))
    except TaskFinished:
        return None
    return Taken("steered", running.id)


def _interrupt(task: Task) -> None:
    try:
        with tenant_transaction(task.org_id):
            cancel_task(system_actor(task.org_id), task.id)
    except TaskFinished:
        return


def _is_same_talk(task: Task, message: InboundMessage, actor: Actor) -> bool:
    place = task.deliver_to or {}
    is_here = (place.get("chat_id"), place.get("thread_id")) == (str(message.chat_id), message.thread_id)
    return is_here and task.user_id == actor.user_id


def _key(message: InboundMessage, rule: Rule) -> str:
    return f"inbound:{message.id}:{rule.wiring_id}"


def _asker(message: InboundMessage, rule: Rule, person: Actor | None) -> Actor:
    """Return whose work a message becomes: the member's in a direct chat of their own, nobody's anywhere else.

    Where others write too, or their files lie, work for a person would put that person's secrets, accounts and
    memories within their reach.
    """
    is_alone = message.chat.kind == ChatKind.DIRECT and rule.session_mode != SessionMode.AGENT_SHARED
    if person is not None and is_alone:
        return person
    return Actor(org_id=message.org_id, kind="system", role="member")


def _of_same_person(actor: Actor) -> Q:
    """Return in which workspaces a conversation may go on: never in one of somebody else's.

    One of nobody's was begun in the same direct chat, before the account was linked.
    """
    of_nobody = Q(workspace__user=None)
    return of_nobody if actor.user_id is None else of_nobody | Q(workspace__user=actor.user_id)


def _remember(message: InboundMessage, agent_id: uuid.UUID, scope: str, workspace: Workspace) -> None:
    Conversation.objects.update_or_create(
        agent_id=agent_id,
        scope=scope,
        defaults={"workspace": workspace},
        create_defaults={"workspace": workspace, "org_id": message.org_id},
    )
