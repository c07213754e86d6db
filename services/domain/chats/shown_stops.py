"""An answer that somebody stopped where it is shown, on a platform that says so only to whoever shows it."""

from __future__ import annotations

from services.domain.chats.changes import store_stops
from services.domain.chats.inbound import LinkHandle
from services.domain.chats.models import InboundMessage
from services.domain.chats.shows import Show
from services.domain.ports.chat import ChatKind, InboundStop, Sender
from services.domain.tenancy.transaction import tenant_transaction


def stop_shown(show: Show) -> bool:
    """Keep such a stop, once, as one of the person whose chat it is; False when that is not known.

    The platform does not say who it was, so only a chat with one person has its stop. Queues: HandleInboundEvent.
    """
    person = _person_of(show)
    if person is None:
        return False
    stop = InboundStop(f"stop:{show.task_id}", show.place, person)
    return bool(store_stops(LinkHandle(show.org_id, show.link_id, show.kind, show.config), [stop]))


def _person_of(show: Show) -> Sender | None:
    if show.chat_kind is not ChatKind.DIRECT:
        return None
    with tenant_transaction(show.org_id):
        messages = InboundMessage.objects.filter(chat_id=show.chat_id, is_bot=False)
        last = messages.order_by("-id").first()
    return Sender(last.sender_id, last.sender_name) if last is not None else None
