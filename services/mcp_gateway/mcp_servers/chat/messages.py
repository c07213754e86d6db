"""The tools about messages: send, edit, delete, react, and where one may send to."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from services.domain.actors import require
from services.domain.agents.models import Agent
from services.domain.chats.models import Delivery, DeliveryKind
from services.domain.chats.sending import (
    SAID_BY_AGENT,
    Piece,
    Spot,
    Written,
    batch_key,
    get_own_delivery,
    get_single,
    write_change,
    write_message,
)
from services.domain.contacts.between_agents import Said, say_to_agent, say_to_asker
from services.domain.contacts.destinations import (
    HERE,
    find_agent_of,
    find_origin,
    list_usable_destinations,
    resolve_destination,
)
from services.domain.contacts.reactions import write_reaction
from services.domain.errors import DestinationMissing, Invalid
from services.domain.ports.chat_abilities import Ability, Reacts
from services.domain.tasks.models import Task
from services.domain.tenancy.transaction import tenant_transaction
from services.mcp_gateway.callers import Caller
from services.mcp_gateway.mcp_servers.chat.models import (
    Destinations,
    DestinationShown,
    EditInput,
    MessageInput,
    NoInput,
    ReactInput,
    SendInput,
    Sent,
)
from services.mcp_gateway.mcp_servers.chat.platforms import adapter_of, list_abilities, require_ability
from services.mcp_gateway.mcp_servers.tools import Tool
from services.mcp_gateway.threads import run_in_thread


def spot_for(task: Task, to: str, thread: str | None = None) -> Spot:
    """Return where a tool sends to. A thread that is named replaces the usual one. Raises: DestinationMissing."""
    spot = resolve_destination(task, to)
    return spot if thread is None else replace(spot, thread_id=thread, reply_to="")


def _send_now(caller: Caller, given: SendInput) -> Sent:
    require(caller.actor, "tasks:write")
    with tenant_transaction(caller.actor.org_id):
        said = say_to_other(caller, given.to, given.text, given.text, given.key)
        if said is not None:
            return Sent.to_agent(said)
        spot = spot_for(caller.task, given.to, given.thread)
        if given.reply_to is not None:
            answered = get_own_delivery(caller.task, given.reply_to)
            if answered.chat_id != spot.chat.id:
                raise Invalid(
                    "The message to answer is in another chat.", fields={"reply_to": "another chat"}
                )
            spot = replace(spot, reply_to=answered.platform_message_id)
        parts = adapter_of(spot.chat.link.kind).render(given.text)
        batch = batch_key(
            f"{SAID_BY_AGENT}{caller.task.id}",
            spot.chat.id,
            spot.thread_id,
            given.text,
            given.reply_to,
            given.key,
        )
        return Sent.of(write_message(spot, [Piece(part) for part in parts], batch=batch, task=caller.task))


def say_to_other(caller: Caller, to: str, text: str, *content: str | None) -> Said | None:
    """Say something to another agent, if `to` is one, once for each `content`; None when it is a chat or a person."""
    key = batch_key(f"{SAID_BY_AGENT}{caller.task.id}", to.strip().lower(), *content)
    agent_id = find_agent_of(caller.task, to)
    if agent_id is not None:
        return say_to_agent(caller.actor, agent_id, text, key=key)
    return say_to_asker(caller.actor, text, key=key) if is_for_asker(caller.task, to) else None


def is_for_asker(task: Task, to: str) -> bool:
    """Say whether `to` is the agent that asked for a task. In the tenant's transaction."""
    is_here = to.strip().lower() in ("", HERE)
    return is_here and task.return_to_id is not None and find_origin(task) is None


def _edit_now(caller: Caller, given: EditInput) -> Sent:
    require(caller.actor, "tasks:write")
    with tenant_transaction(caller.actor.org_id):
        row = get_single(get_own_delivery(caller.task, given.message_id))
        if row.kind == DeliveryKind.FILE:
            raise Invalid("A file's words cannot be edited.", fields={"message_id": "a file"})
        parts = require_ability(row.link.kind, Ability.EDIT).render(given.text)
        if len(parts) > 1:
            limit = adapter_of(row.link.kind).manifest.max_text
            raise Invalid(
                f"An edited message is one message of at most {limit} characters.",
                fields={"text": f"takes {len(parts)} messages"},
            )
        return Sent.of(write_change(row, DeliveryKind.EDIT, text=parts[0], task=caller.task))


def _delete_now(caller: Caller, given: MessageInput) -> Sent:
    require(caller.actor, "tasks:write")
    with tenant_transaction(caller.actor.org_id):
        row = get_own_delivery(caller.task, given.message_id)
        require_ability(row.link.kind, Ability.DELETE)
        parts = Delivery.objects.filter(batch=row.batch).order_by("part")
        written = [write_change(part, DeliveryKind.DELETE, task=caller.task) for part in parts]
        is_repeat = all(one.is_repeat for one in written)
        return Sent.of(Written([one.first for one in written], is_repeat))


def _react_now(caller: Caller, given: ReactInput) -> Sent:
    require(caller.actor, "tasks:write")
    with tenant_transaction(caller.actor.org_id):
        target = get_own_delivery(caller.task, given.message_id) if given.message_id else None
        origin = find_origin(caller.task)
        spot = Spot(target.chat, target.thread_id) if target else origin
        if spot is None or (target is None and not spot.reply_to):
            raise DestinationMissing("No message asked you, so there is none to react to. Give a message_id.")
        kind = spot.chat.link.kind
        adapter = require_ability(kind, Ability.REACT)
        emoji = adapter.find_emoji(given.emoji) if isinstance(adapter, Reacts) else None
        if emoji is None:
            raise Invalid(
                f"{adapter.manifest.label} does not take this emoji as a reaction. Try 👍 👎 ❤ 🔥 👏 🎉 🤔 👀 🙏 💯.",
                fields={"emoji": "not taken"},
            )
        return Sent.of(write_reaction(spot, emoji, target=target, task=caller.task))


def _list_now(caller: Caller) -> Destinations:
    require(caller.actor, "tasks:read")
    with tenant_transaction(caller.actor.org_id):
        origin = find_origin(caller.task)
        shown = []
        asker = caller.task.return_to
        if origin is None and asker is not None:
            shown.append(_show_agent(HERE, "here", asker.agent, "The agent that asked you."))
        if origin is not None:
            shown.append(_show(HERE, "here", origin, "The chat that asked you."))
        for row in list_usable_destinations(caller.task):
            if row.agent is not None:
                shown.append(_show_agent(row.name, "agent", row.agent, row.description))
                continue
            if row.chat is not None:
                shown.append(_show(row.name, "chat", Spot(row.chat), row.description))
                continue
            shown.append(_show_person(caller.task, row.name, row.description))
        return Destinations(destinations=shown)


def _show(name: str, kind: str, spot: Spot, description: str) -> DestinationShown:
    platform = spot.chat.link.kind
    return DestinationShown(
        name=name,
        kind=kind,
        platform=platform,
        title=spot.chat.title,
        description=description,
        can=list_abilities(platform),
    )


def _show_agent(
    name: str, kind: Literal["here", "agent"], agent: Agent, description: str
) -> DestinationShown:
    words = description or agent.description
    return DestinationShown(name=name, kind=kind, platform=None, title=agent.name, description=words, can=[])


def _show_person(task: Task, name: str, description: str) -> DestinationShown:
    try:
        return _show(name, "person", resolve_destination(task, name), description)
    except DestinationMissing:
        words = f"{description} Has linked no chat yet: nothing can be sent there.".strip()
        return DestinationShown(name=name, kind="person", platform=None, title="", description=words, can=[])


async def _send(caller: Caller, given: SendInput) -> Sent:
    return await run_in_thread(_send_now, caller, given)


async def _edit(caller: Caller, given: EditInput) -> Sent:
    return await run_in_thread(_edit_now, caller, given)


async def _delete(caller: Caller, given: MessageInput) -> Sent:
    return await run_in_thread(_delete_now, caller, given)


async def _react(caller: Caller, given: ReactInput) -> Sent:
    return await run_in_thread(_react_now, caller, given)


async def _list(caller: Caller, given: NoInput) -> Destinations:
    return await run_in_thread(_list_now, caller)


MESSAGE_TOOLS = (
    Tool(
        "list_destinations",
        "Show where you may send to: the chat that asked you, and the names that people have given you. In your final "
        'answer, <message to="name">…</message> goes to that destination, and all else to the chat that asked you.',
        NoInput,
        Destinations,
        _list,
        reads_only=True,
    ),
    Tool(
        "send_message",
        "Send a message to a chat now, while you go on working: progress, a finding, something for somebody else. It "
        "is sent once, even if you call this again with the same content. Do not send your final answer with it.",
        SendInput,
        Sent,
        _send,
    ),
    Tool(
        "edit_message",
        "Replace the text of a message that you sent, for example to keep one line of progress up to date.",
        EditInput,
        Sent,
        _edit,
    ),
    Tool(
        "delete_message",
        "Take back a message that you sent. Platforms limit for how long: Telegram to 48 hours.",
        MessageInput,
        Sent,
        _delete,
        destroys=True,
    ),
    Tool(
        "add_reaction",
        "React with an emoji to the message that asked you, or to one of yours: a quiet way to say that you saw it.",
        ReactInput,
        Sent,
        _react,
    ),
)
