"""The senders that a link remembers, over REST."""

from __future__ import annotations

import uuid
from typing import Literal

from services.api.http.bodies import Closed
from services.api.http.operations import Call, Endpoint, operation
from services.api.http.paging import PageQuery, page_of
from services.api.http.shapes import Moment, Page, Shape
from services.domain.contacts.models import SenderStanding
from services.domain.contacts.senders import decide_sender, forget_sender, get_sender, list_senders
from services.domain.errors import ApprovalClosed, Conflict, LinkMissing, Missing, RoleMissing


class SenderDecision(Closed):
    """What becomes of what somebody writes from now on."""

    standing: Literal["allowed", "denied"]


class SenderShape(Shape):
    """Somebody who was nobody here when they wrote, and what was said about them.

    `waiting_messages` wait for a person's word; `refused_messages` reached no agent. `chat_id` is where they wrote
    last.
    """

    id: uuid.UUID
    link_id: uuid.UUID
    chat_id: uuid.UUID
    platform_user_id: str
    display_name: str
    standing: SenderStanding
    waiting_messages: int
    refused_messages: int
    last_heard_at: Moment
    decided_by_id: uuid.UUID | None
    decided_at: Moment | None
    created_at: Moment


class Senders(Endpoint):
    """The senders of a link."""

    tag = "chats"

    @operation(errors=(LinkMissing,))
    def get(self, call: Call, link_id: uuid.UUID, query: PageQuery) -> Page[SenderShape]:
        """List who wrote and was nobody here, newest first."""
        return page_of(list_senders(call.actor, link_id), query, SenderShape.model_validate)


class OneSender(Endpoint):
    """One sender of a link."""

    tag = "chats"

    @operation(errors=(LinkMissing, Missing))
    def get(self, call: Call, link_id: uuid.UUID, sender_id: uuid.UUID) -> SenderShape:
        """Show a sender."""
        return SenderShape.model_validate(get_sender(call.actor, link_id, sender_id))

    @operation(errors=(LinkMissing, Missing, RoleMissing, ApprovalClosed))
    def patch(
        self, call: Call, link_id: uuid.UUID, sender_id: uuid.UUID, body: SenderDecision
    ) -> SenderShape:
        """Allow or deny a sender from now on; an open approval about them is decided by it. Admins only."""
        decided = decide_sender(call.actor, link_id, sender_id, body.standing)
        return SenderShape.model_validate(decided)

    @operation(errors=(LinkMissing, Missing, RoleMissing, Conflict))
    def delete(self, call: Call, link_id: uuid.UUID, sender_id: uuid.UUID) -> None:
        """Forget what was said about a sender, who is unknown again. Admins only."""
        forget_sender(call.actor, link_id, sender_id)
