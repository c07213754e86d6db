"""Going on with delivered work: who replies to its answer, or claims it by word, talks in its workspace."""

from __future__ import annotations

from django.db.models import Q, QuerySet

from services.domain.actors import Actor, require
from services.domain.agents.actions import get_usable_agent
from services.domain.chats.models import (
    Chat,
    Conversation,
    Delivery,
    DeliveryStatus,
    InboundMessage,
    SessionMode,
    ThreadClaim,
)
from services.domain.chats.routing import conversation_scope
from services.domain.contacts.accounts import find_person
from services.domain.contacts.saying import say
from services.domain.errors import Missing, NotPermitted, SlipwayError
from services.domain.events.log import record_event
from services.domain.events.types import WorkspaceClaimed
from services.domain.media.inbox import put_in_inbox
from services.domain.media.offering import AWAITING, ask_for_files
from services.domain.media.telling import with_files
from services.domain.ports.chat import ChatKind
from services.domain.tasks.models import TaskMode
from services.domain.tasks.submit import TaskOrder, submit_task
from services.domain.tenancy.transaction import tenant_transaction
from services.domain.workspaces.models import Workspace
from services.domain.workspaces.queries import lock_workspace

CLAIMED = "claimed:"
"""How the outcome of a message begins that went on in a claimed workspace."""


def go_on_in_claim(message: InboundMessage) -> str | None:
    """Give a message to the workspace that its place is claimed by, or whose answer it replies to; None for others.

    To be asked before the wirings are judged, inside the tenant's transaction; returns what became of the message.
    A reply claims, if its writer is a member who may. Emits and queues: what `submit_task` does, WorkspaceClaimed.
    """
    person = find_person(message.link_id, message.sender_id)
    if person is None or not message.text.strip():
        return None
    claim = _find_claim(message)
    workspace = claim.workspace if claim is not None else _find_answered(message)
    if workspace is None:
        return None
    try:
        with tenant_transaction(message.org_id):
            if claim is None:
                claim = _claim(message, workspace, person, message.thread_id or message.reply_to)
            return _submit(message, claim, person)
    except SlipwayError as error:
        if isinstance(error, NotPermitted | Missing) and not message.is_mention:
            # People talk to one another below somebody else's work. Nobody spoke to us.
            return None
        say(message, error.message)
        return f"{CLAIMED} refused: {error.code}"


def claim_here(message: InboundMessage, person: Actor) -> ThreadClaim:
    """Claim for a place what a message replies to, or else what was delivered there last. Emits: WorkspaceClaimed.

    Inside the tenant's transaction. Raises: Missing, NotPermitted, AgentMissing, ScopeMissing.
    """
    workspace = _find_answered(message) or _find_last(message)
    if workspace is None:
        raise Missing("Nothing was delivered here that could be claimed.")
    return _claim(message, workspace, person, message.thread_id)


def release_place(chat: Chat, thread_id: str) -> bool:
    """Let go what a place was claimed by; says whether it was. Inside the tenant's transaction."""
    deleted, _ = ThreadClaim.objects.filter(chat=chat, thread_id=thread_id).delete()
    return deleted > 0


def _find_claim(message: InboundMessage) -> ThreadClaim | None:
    """Return by what a message's place is claimed. Where there are no threads, by what is said to the bot only."""
    claims = ThreadClaim.objects.select_related("workspace__agent").filter(
        chat=message.chat_id, workspace__archived_at=None
    )
    if message.reply_to and (replied := claims.filter(thread_id=message.reply_to).first()):
        return replied
    if message.thread_id:
        return claims.filter(thread_id=message.thread_id).first()
    return claims.filter(thread_id="").first() if message.is_mention and not message.reply_to else None


def _find_answered(message: InboundMessage) -> Workspace | None:
    """Return the workspace whose delivered answer a message replies to, in the answer's thread or by naming it.

    One that the chat's own conversation is in is not to be claimed.
    """
    named = [name for name in (message.reply_to, message.thread_id) if name]
    if not named:
        return None
    sent = Delivery.objects.filter(chat=message.chat_id, platform_message_id__in=named)
    return _claimable(message, sent.filter(status=DeliveryStatus.SENT))


def _find_last(message: InboundMessage) -> Workspace | None:
    sent = Delivery.objects.filter(
        chat=message.chat_id, thread_id=message.thread_id, status=DeliveryStatus.SENT
    )
    return _claimable(message, sent)


def _claimable(message: InboundMessage, sent: QuerySet[Delivery]) -> Workspace | None:
    own = Conversation.objects.filter(
        Q(scope=conversation_scope(SessionMode.AGENT_SHARED, chat_id=message.chat_id, thread_id=""))
        | Q(scope__startswith=conversation_scope(SessionMode.SHARED, chat_id=message.chat_id, thread_id=""))
    )
    rows = (
        sent.filter(task__workspace__archived_at=None)
        .exclude(task=None)
        .exclude(task__workspace__in=own.values("workspace_id"))
        .select_related("task__workspace__agent")
        .order_by("-id")
    )
    row = rows.first()
    return row.task.workspace if row is not None and row.task is not None else None


def _claim(message: InboundMessage, workspace: Workspace, person: Actor, thread_id: str) -> ThreadClaim:
    """Claim a workspace for a thread; in a direct chat it becomes the person's. Emits: WorkspaceClaimed.

    Locks: the workspace. Raises: NotPermitted, AgentMissing, ScopeMissing, WorkspaceMissing.
    """
    require(person, "tasks:write")
    locked = lock_workspace(workspace.id)
    get_usable_agent(person, locked.agent_id)
    if locked.user_id not in (None, person.user_id):
        raise NotPermitted("This is somebody else's work, which only they go on with.")
    locked.is_persistent = True
    if message.chat.kind == ChatKind.DIRECT:
        locked.user_id = person.user_id
    locked.save(update_fields=["is_persistent", "user"])
    earlier = ThreadClaim.objects.filter(chat=message.chat, workspace=locked)
    if thread_id and (claim := earlier.select_related("workspace__agent").first()) is not None:
        return claim
    values = {"workspace": locked, "user_id": person.user_id}
    claim, is_new = ThreadClaim.objects.update_or_create(
        chat=message.chat,
        thread_id=thread_id,
        defaults=values,
        create_defaults={**values, "org_id": message.org_id},
    )
    if is_new:
        told = WorkspaceClaimed(
            user_id=str(person.user_id), chat_id=str(message.chat_id), thread_id=thread_id
        )
        record_event(locked.stream, told)
    return claim


def _submit(message: InboundMessage, claim: ThreadClaim, person: Actor) -> str:
    """Submit what a member says where a workspace is claimed: as theirs if it is theirs, else as nobody's."""
    workspace = claim.workspace
    if workspace.user_id not in (None, person.user_id):
        raise NotPermitted("This thread goes on in somebody else's work, which only they go on with.")
    require(person, "tasks:write")
    get_usable_agent(person, workspace.agent_id)
    if ask_for_files([message], workspace.agent_id):
        return AWAITING
    nobody = Actor(org_id=message.org_id, kind="system", role="member")
    task = submit_task(
        person if workspace.user_id is not None else nobody,
        TaskOrder(
            workspace_id=workspace.id,
            prompt=with_files([message])[0],
            mode=TaskMode.SESSION,
            deliver_to={
                "chat_id": str(message.chat_id),
                "thread_id": message.thread_id,
                "reply_to": message.platform_message_id,
            },
        ),
        source=message.link.kind,
        idempotency_key=f"inbound:{message.id}:claim",
    )
    put_in_inbox(task, [message])
    return f"{CLAIMED} task: {task.id}"
