"""The senders that a link remembers: whom it hears, whom it does not, and how a person changes that."""

from __future__ import annotations

import uuid
from typing import Literal

from django.db.models import Count, Q, QuerySet

from services.domain.actors import Actor, require
from services.domain.approvals.actions import decide_approval
from services.domain.approvals.models import Approval
from services.domain.audit.models import AuditAction
from services.domain.audit.recording import Subject, record_audit
from services.domain.chats.queries import get_link
from services.domain.contacts.holding import allow_sender, deny_sender, open_questions_about, tell_changed
from services.domain.contacts.models import HeldMessageState, LinkSender
from services.domain.errors import Conflict, Missing
from services.domain.tenancy.transaction import tenant_transaction
from services.kit.clock import now

SHOWN = 100


def list_senders(actor: Actor, link_id: uuid.UUID) -> QuerySet[LinkSender]:
    """Return the senders of a link, each with how many messages wait as `waiting_messages`; in the transaction.

    Raises: LinkMissing.
    """
    get_link(actor, link_id)
    waiting = Count("held_messages", filter=Q(held_messages__state=HeldMessageState.WAITING))
    return LinkSender.objects.filter(link_id=link_id).annotate(waiting_messages=waiting)


def get_sender(actor: Actor, link_id: uuid.UUID, sender_id: uuid.UUID) -> LinkSender:
    """Return one sender of a link. Raises: LinkMissing, Missing."""
    sender = list_senders(actor, link_id).filter(id=sender_id).first()
    if sender is None:
        raise Missing("There is no such sender.")
    return sender


def list_last_senders(actor: Actor, link_id: uuid.UUID) -> list[LinkSender]:
    """List the senders of a link that were heard last. Raises: LinkMissing."""
    return list(list_senders(actor, link_id).select_related("decided_by").order_by("-last_heard_at")[:SHOWN])


def decide_sender(
    actor: Actor, link_id: uuid.UUID, sender_id: uuid.UUID, standing: Literal["allowed", "denied"]
) -> LinkSender:
    """Hear a sender from now on, or no more. An open question about them is decided by it.

    Locks: the approval or the sender. Emits: SenderChanged, and what deciding an approval does. Queues: RouteMessage.
    Raises: RoleMissing, LinkMissing, Missing, and what `decide_approval` raises.
    """
    require(actor, "chats:write", role="admin")
    with tenant_transaction(actor.org_id):
        sender = get_sender(actor, link_id, sender_id)
        asked = _find_question(sender)
        if asked is not None:
            decide_approval(actor, asked.id, "allow" if standing == "allowed" else "deny", "always")
        else:
            locked = LinkSender.objects.select_for_update().get(id=sender_id)
            if standing == "allowed":
                allow_sender(locked, None, actor.user_id)
            else:
                deny_sender(locked, actor.user_id)
        subject = Subject("sender", sender.id, sender.display_name)
        record_audit(actor, AuditAction.SENDER_DECIDED, subject, standing=standing, link=str(link_id))
        return get_sender(actor, link_id, sender_id)


def forget_sender(actor: Actor, link_id: uuid.UUID, sender_id: uuid.UUID) -> None:
    """Forget what was said about a sender: who writes again is unknown again. Emits: SenderChanged.

    Raises: RoleMissing, LinkMissing, Missing, Conflict while a question about them is open.
    """
    require(actor, "chats:write", role="admin")
    with tenant_transaction(actor.org_id):
        sender = get_sender(actor, link_id, sender_id)
        locked = LinkSender.objects.select_for_update().get(id=sender_id)
        if _find_question(sender) is not None:
            raise Conflict("Messages of this sender wait for an answer. Allow or deny them first.")
        tell_changed(locked, "forgotten", actor.user_id)
        subject = Subject("sender", sender.id, sender.display_name)
        record_audit(actor, AuditAction.SENDER_FORGOTTEN, subject, link=str(link_id))
        locked.delete()


def _find_question(sender: LinkSender) -> Approval | None:
    return open_questions_about(sender).filter(expires_at__gt=now()).first()
