"""Destinations, and a person's own accounts and quiet hours, over REST."""

from __future__ import annotations

import uuid
from datetime import time
from typing import Self

from pydantic import Field

from services.api.http.operations import Call, Endpoint, operation
from services.api.http.paging import PageQuery, one_of, page_of
from services.api.http.shapes import Changes, Moment, Page, Shape
from services.api.linking import list_chat_addresses
from services.domain.actors import Actor
from services.domain.contacts.accounts import (
    issue_account_code,
    list_accounts,
    unlink_account,
)
from services.domain.contacts.destinations import (
    DestinationFields,
    create_destination,
    delete_destination,
    get_destination,
    list_destinations,
    update_destination,
)
from services.domain.contacts.models import Destination, PlatformAccount
from services.domain.contacts.quiet import QuietHours, get_quiet_hours, set_quiet_hours
from services.domain.errors import (
    AgentArchived,
    AgentMissing,
    ChatMissing,
    ConfigInvalid,
    DestinationMissing,
    LinkMissing,
    Missing,
    NameTaken,
    NotPermitted,
    RateLimited,
)


class DestinationChanges(Changes):
    """The fields to change; whose a destination is stays."""

    name: str = Field(default="", min_length=1, max_length=60)
    description: str = Field(default="", max_length=200)
    chat_id: uuid.UUID | None = None
    thread_id: str = Field(default="", max_length=120)
    person_id: uuid.UUID | None = None
    agent_id: uuid.UUID | None = None
    agent_ids: list[uuid.UUID] = Field(default_factory=list, max_length=50)


class DestinationShape(Shape):
    """A name that agents may send to. `owner_id` null is shared by the organisation; no `agent_ids` means all."""

    id: uuid.UUID
    name: str
    description: str
    owner_id: uuid.UUID | None
    chat_id: uuid.UUID | None
    thread_id: str
    person_id: uuid.UUID | None
    agent_id: uuid.UUID | None
    agent_ids: list[uuid.UUID]
    created_at: Moment

    @classmethod
    def of(cls, row: Destination) -> Self:
        """Show a row."""
        return cls.model_validate(row)


class Destinations(Endpoint):
    """All destinations."""

    tag = "destinations"

    @operation()
    def get(self, call: Call, query: PageQuery) -> Page[DestinationShape]:
        """List the shared destinations and one's own, newest first."""
        return page_of(list_destinations(call.actor), query, DestinationShape.of)

    @operation(
        status=201, errors=(ChatMissing, Missing, AgentMissing, AgentArchived, NameTaken, ConfigInvalid)
    )
    def post(self, call: Call, body: DestinationFields) -> DestinationShape:
        """Let agents send to a chat, a person or another agent, by a name."""
        return DestinationShape.of(create_destination(call.actor, body))


class OneDestination(Endpoint):
    """One destination."""

    tag = "destinations"

    @operation(errors=(DestinationMissing,))
    def get(self, call: Call, destination_id: uuid.UUID) -> DestinationShape:
        """Show a destination."""
        return DestinationShape.of(get_destination(call.actor, destination_id))

    @operation(
        errors=(
            DestinationMissing,
            ChatMissing,
            Missing,
            AgentMissing,
            AgentArchived,
            NameTaken,
            ConfigInvalid,
        )
    )
    def patch(self, call: Call, destination_id: uuid.UUID, body: DestinationChanges) -> DestinationShape:
        """Change a destination."""
        changes = body.model_dump(exclude_unset=True)
        return DestinationShape.of(update_destination(call.actor, destination_id, changes))

    @operation(errors=(DestinationMissing,))
    def delete(self, call: Call, destination_id: uuid.UUID) -> None:
        """Remove a destination; no agent can send there by it any more."""
        delete_destination(call.actor, destination_id)


class NotificationsShape(Shape):
    """When the caller wants no messages in their chats, in their own time zone. Both times null: always welcome."""

    time_zone: str
    quiet_from: time | None
    quiet_to: time | None


class MyNotifications(Endpoint):
    """The caller's quiet hours."""

    tag = "me"

    @operation()
    def get(self, call: Call) -> NotificationsShape:
        """Show the caller's quiet hours."""
        return NotificationsShape.model_validate(get_quiet_hours(call.actor))

    @operation(errors=(NotPermitted,))
    def put(self, call: Call, body: QuietHours) -> NotificationsShape:
        """Set the caller's quiet hours. What is urgent goes through; the rest waits until they are over."""
        return NotificationsShape.model_validate(set_quiet_hours(call.actor, body))


class AccountShape(Shape):
    """An account on a platform that is the caller's."""

    id: uuid.UUID
    link_id: uuid.UUID
    platform: str
    display_name: str
    created_at: Moment

    @classmethod
    def of(cls, row: PlatformAccount) -> Self:
        """Show a row."""
        return cls(
            id=row.id,
            link_id=row.link_id,
            platform=row.link.kind,
            display_name=row.display_name,
            created_at=row.created_at,
        )


class ChatAddressShape(Shape):
    """A web address that opens a direct chat with a bot and has the code sent."""

    link_id: uuid.UUID
    kind: str
    name: str
    url: str


class CodeShape(Shape):
    """A code to send to a bot in a direct chat, as `/link <code>`. It is shown this once and good once.

    `addresses` are of the connected bots whose platform has such addresses.
    """

    code: str
    expires_at: Moment
    addresses: list[ChatAddressShape]

    @classmethod
    def issue(cls, actor: Actor, link_id: uuid.UUID | None = None) -> Self:
        """Make a code, good on all of the organisation's bots or on one, and show it."""
        issued = issue_account_code(actor, link_id)
        addresses = list_chat_addresses(actor, issued.code, link_id)
        return cls(
            code=issued.code,
            expires_at=issued.expires_at,
            addresses=[ChatAddressShape.model_validate(address) for address in addresses],
        )


class Accounts(Endpoint):
    """The caller's accounts on chat platforms."""

    tag = "me"

    @operation()
    def get(self, call: Call, query: PageQuery) -> Page[AccountShape]:
        """List the caller's linked accounts, newest first."""
        return page_of(list_accounts(call.actor), query, AccountShape.of)


class AccountCodes(Endpoint):
    """Codes that link an account."""

    tag = "me"

    @operation(status=201, errors=(NotPermitted, RateLimited))
    def post(self, call: Call) -> CodeShape:
        """Make a code; whoever sends it to a bot of the organisation in a direct chat is the caller from then on."""
        return CodeShape.issue(call.actor)


class LinkPairing(Endpoint):
    """Pairing one's own account on one bot's platform."""

    tag = "me"

    @operation(status=201, errors=(NotPermitted, RateLimited, LinkMissing))
    def post(self, call: Call, link_id: uuid.UUID) -> CodeShape:
        """Make a code for this bot alone; whoever sends it there in a direct chat is the caller from then on."""
        return CodeShape.issue(call.actor, link_id)


class OneAccount(Endpoint):
    """One of the caller's accounts."""

    tag = "me"

    @operation(errors=(Missing,))
    def get(self, call: Call, account_id: uuid.UUID) -> AccountShape:
        """Show one of the caller's linked accounts."""
        return AccountShape.of(one_of(list_accounts(call.actor), account_id, Missing, what="account"))

    @operation(errors=(Missing,))
    def delete(self, call: Call, account_id: uuid.UUID) -> None:
        """Unlink an account."""
        unlink_account(call.actor, account_id)
