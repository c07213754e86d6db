"""Links, chats, wirings and deliveries over REST."""

from __future__ import annotations

import uuid
from datetime import time
from typing import Any, Self

from pydantic import Field

from services.api.http.bodies import Closed
from services.api.http.operations import Call, Endpoint, operation
from services.api.http.paging import PageQuery, page_of
from services.api.http.shapes import Changes, Moment, Page, Shape
from services.api.linking import (
    add_link,
    begin_chat,
    change_link,
    check_link,
    connect_link,
    remove_link,
    setup_steps,
)
from services.domain.chats.actions import retry_delivery
from services.domain.chats.health import hook_url, list_history
from services.domain.chats.models import (
    Chat,
    Delivery,
    DeliveryKind,
    DeliveryStatus,
    Engage,
    Link,
    LinkHealth,
    ListenerStatus,
    LiveAnswers,
    SenderScope,
    SessionMode,
    Unanswered,
    UnknownSenders,
    Wiring,
)
from services.domain.chats.queries import (
    get_chat,
    get_delivery,
    get_link,
    get_wiring,
    list_chats,
    list_deliveries,
    list_links,
    list_wirings,
)
from services.domain.chats.wirings import (
    WiringFields,
    WiringRules,
    create_wiring,
    delete_wiring,
    update_wiring,
)
from services.domain.errors import (
    AgentArchived,
    AgentMissing,
    ChatMissing,
    ConfigInvalid,
    Conflict,
    DeliveryMissing,
    LinkMissing,
    Missing,
    NameTaken,
    PatternInvalid,
    PatternTooCostly,
    PlatformAway,
    PlatformRefused,
    PlatformThrottled,
    RoleMissing,
)


class LinkBody(Closed):
    """A bot account. `config` is what its platform needs; it is sealed and never read back."""

    kind: str = Field(min_length=1, max_length=30, examples=["telegram", "slack"])
    name: str = Field(min_length=1, max_length=80)
    config: dict[str, Any]
    default_agent_id: uuid.UUID | None = Field(
        default=None, description="Unknown chats are wired to this agent."
    )
    unknown_senders: UnknownSenders = Field(
        default=UnknownSenders.REQUEST_APPROVAL,
        description="Whether people whom nobody here knows are answered, asked about, or refused.",
    )


class LinkChanges(Changes):
    """The fields to change; a config replaces the whole one, and has to be connected again."""

    name: str = Field(default="", min_length=1, max_length=80)
    config: dict[str, Any] = Field(default_factory=dict)
    default_agent_id: uuid.UUID | None = None
    unknown_senders: UnknownSenders = UnknownSenders.REQUEST_APPROVAL


class ListenerShape(Shape):
    """How it goes where messages come over a connection of ours. `last_seen_at` is its last sign of life."""

    status: ListenerStatus
    last_seen_at: Moment | None
    last_error: str

    @classmethod
    def of(cls, link: Link) -> Self | None:
        """Show who listens to a link, if anybody ever did."""
        listener = getattr(link, "listener", None)
        return None if listener is None else cls.model_validate(listener)


class LinkShape(Shape):
    """A bot account without its configuration. `hook_url` is where its platform sends updates.

    `status` is `pending` until it was connected, then `connected` or `failed`, as the last check found it, with the
    reason in `last_error`; `reached_at` is when the platform last answered. `setup` says what a person does there.
    """

    id: uuid.UUID
    kind: str
    name: str
    status: str
    platform_identity: str
    default_agent_id: uuid.UUID | None
    unknown_senders: UnknownSenders
    last_error: str
    unknown_updates: int
    checked_at: Moment | None
    reached_at: Moment | None
    hook_url: str
    setup: list[str]
    listener: ListenerShape | None
    created_at: Moment

    @classmethod
    def of(cls, link: Link) -> Self:
        """Show a row."""
        made = {
            "hook_url": hook_url(link),
            "setup": setup_steps(link),
            "listener": ListenerShape.of(link),
        }
        return cls(**{name: getattr(link, name) for name in cls.model_fields if name not in made}, **made)


class LinkHealthShape(Shape):
    """From when on a link worked, or did not, and why."""

    id: uuid.UUID
    created_at: Moment
    status: str
    reason: str

    @classmethod
    def of(cls, row: LinkHealth) -> Self:
        """Show a row."""
        return cls.model_validate(row)


class ChatShape(Shape):
    """A place on a platform."""

    id: uuid.UUID
    link_id: uuid.UUID
    platform_chat_id: str
    kind: str
    title: str
    created_at: Moment

    @classmethod
    def of(cls, chat: Chat) -> Self:
        """Show a row."""
        return cls.model_validate(chat)


class WiringChanges(WiringRules, Changes):
    """The fields to change; a wiring stays with its chat and agent. Both quiet hours are given, or neither."""


class WiringShape(Shape):
    """When an agent answers in a chat, and in which workspace."""

    id: uuid.UUID
    chat_id: uuid.UUID
    agent_id: uuid.UUID
    engage: Engage
    pattern: str
    command: str
    sender_scope: SenderScope
    people: list[uuid.UUID]
    session_mode: SessionMode
    unanswered: Unanswered
    priority: int
    is_exclusive: bool
    bot_turns: int
    time_zone: str
    quiet_from: time | None
    quiet_to: time | None
    is_enabled: bool
    live_answers: LiveAnswers
    created_at: Moment

    @classmethod
    def of(cls, wiring: Wiring) -> Self:
        """Show a row."""
        return cls.model_validate(wiring)


class DeliveryShape(Shape):
    """One part of an answer on its way to a chat."""

    id: uuid.UUID
    link_id: uuid.UUID
    chat_id: uuid.UUID
    task_id: uuid.UUID | None
    thread_id: str
    part: int
    kind: DeliveryKind
    text: str
    status: DeliveryStatus
    attempts: int
    next_attempt_at: Moment
    platform_message_id: str
    error: str
    created_at: Moment
    sent_at: Moment | None
    reached: str
    reached_at: Moment | None
    expires_at: Moment | None

    @classmethod
    def of(cls, delivery: Delivery) -> Self:
        """Show a row."""
        return cls.model_validate(delivery)


class AttemptShape(Shape):
    """One attempt to deliver. An empty `outcome` is one under way; `unknown` one whose sender died."""

    started_at: Moment
    finished_at: Moment | None
    outcome: str
    note: str


class DeliveryDetail(DeliveryShape):
    """A delivery with its custody: every attempt, the first one first."""

    custody: list[AttemptShape]

    @classmethod
    def of(cls, delivery: Delivery) -> Self:
        """Show a row whose custody is at hand."""
        same = {name: getattr(delivery, name) for name in cls.model_fields if name != "custody"}
        return cls(**same, custody=[AttemptShape.model_validate(one) for one in delivery.custody.all()])


class LinkQuery(PageQuery):
    """Which links."""

    kind: str | None = Field(default=None, max_length=30)


class NewChatBody(Closed):
    """With whom: as the platform names people, such as a member's id, or an e-mail address."""

    person_id: str = Field(min_length=1, max_length=200)


class ChatQuery(PageQuery):
    """Which chats."""

    link_id: uuid.UUID | None = None


class WiringQuery(PageQuery):
    """Which wirings."""

    chat_id: uuid.UUID | None = None
    agent_id: uuid.UUID | None = None


class DeliveryQuery(PageQuery):
    """Which deliveries."""

    status: DeliveryStatus | None = None
    chat_id: uuid.UUID | None = None
    task_id: uuid.UUID | None = None


class Links(Endpoint):
    """All links."""

    tag = "chats"

    @operation()
    def get(self, call: Call, query: LinkQuery) -> Page[LinkShape]:
        """List the links, newest first."""
        return page_of(list_links(call.actor), query, LinkShape.of)

    @operation(status=201, errors=(ConfigInvalid, AgentMissing, AgentArchived, RoleMissing))
    def post(self, call: Call, body: LinkBody) -> LinkShape:
        """Keep a bot's configuration; connecting it is a call of its own."""
        return LinkShape.of(add_link(call.actor, **dict(body)))


class OneLink(Endpoint):
    """One link."""

    tag = "chats"

    @operation(errors=(LinkMissing,))
    def get(self, call: Call, link_id: uuid.UUID) -> LinkShape:
        """Show a link."""
        return LinkShape.of(get_link(call.actor, link_id))

    @operation(errors=(LinkMissing, ConfigInvalid, AgentMissing, AgentArchived, RoleMissing))
    def patch(self, call: Call, link_id: uuid.UUID, body: LinkChanges) -> LinkShape:
        """Change a link."""
        return LinkShape.of(change_link(call.actor, link_id, body.model_dump(exclude_unset=True)))

    @operation(is_waiting=True, errors=(LinkMissing,))
    def delete(self, call: Call, link_id: uuid.UUID) -> None:
        """Delete a link with its chats, wirings and deliveries."""
        remove_link(call.actor, link_id)


class LinkConnect(Endpoint):
    """Connecting one link."""

    tag = "chats"

    @operation(is_waiting=True, errors=(LinkMissing, PlatformRefused, PlatformAway, PlatformThrottled))
    def post(self, call: Call, link_id: uuid.UUID) -> LinkShape:
        """Have the platform check the credentials and send its updates here."""
        return LinkShape.of(connect_link(call.actor, link_id))


class LinkCheck(Endpoint):
    """Checking one link."""

    tag = "chats"

    @operation(is_waiting=True, errors=(LinkMissing, Conflict))
    def post(self, call: Call, link_id: uuid.UUID) -> LinkShape:
        """Ask the platform now whether the link works; every link is asked about by itself, too."""
        return LinkShape.of(check_link(call.actor, link_id))


class LinkHistory(Endpoint):
    """How one link has fared."""

    tag = "chats"

    @operation(errors=(LinkMissing,))
    def get(self, call: Call, link_id: uuid.UUID, query: PageQuery) -> Page[LinkHealthShape]:
        """List when the link began to work and when it did not, newest first: the last 50 changes."""
        return page_of(list_history(call.actor, link_id), query, LinkHealthShape.of)


class LinkChats(Endpoint):
    """Chats of one link."""

    tag = "chats"

    @operation(
        status=201,
        errors=(LinkMissing, RoleMissing, Conflict, PlatformRefused, PlatformAway, PlatformThrottled),
    )
    def post(self, call: Call, link_id: uuid.UUID, body: NewChatBody) -> ChatShape:
        """Begin a direct chat of the bot with a person, where its platform lets bots do that. Admins only."""
        return ChatShape.of(begin_chat(call.actor, link_id, body.person_id.strip()))


class Chats(Endpoint):
    """All chats."""

    tag = "chats"

    @operation()
    def get(self, call: Call, query: ChatQuery) -> Page[ChatShape]:
        """List the chats that have been heard from, newest first."""
        return page_of(list_chats(call.actor), query, ChatShape.of)


class OneChat(Endpoint):
    """One chat."""

    tag = "chats"

    @operation(errors=(ChatMissing,))
    def get(self, call: Call, chat_id: uuid.UUID) -> ChatShape:
        """Show a chat."""
        return ChatShape.of(get_chat(call.actor, chat_id))


class Wirings(Endpoint):
    """All wirings."""

    tag = "chats"

    @operation()
    def get(self, call: Call, query: WiringQuery) -> Page[WiringShape]:
        """List the wirings, newest first."""
        return page_of(list_wirings(call.actor), query, WiringShape.of)

    @operation(
        status=201,
        errors=(
            ChatMissing,
            AgentMissing,
            AgentArchived,
            ConfigInvalid,
            PatternInvalid,
            PatternTooCostly,
            NameTaken,
        ),
    )
    def post(self, call: Call, body: WiringFields) -> WiringShape:
        """Wire a chat to an agent."""
        return WiringShape.of(create_wiring(call.actor, body))


class OneWiring(Endpoint):
    """One wiring."""

    tag = "chats"

    @operation(errors=(Missing,))
    def get(self, call: Call, wiring_id: uuid.UUID) -> WiringShape:
        """Show a wiring."""
        return WiringShape.of(get_wiring(call.actor, wiring_id))

    @operation(errors=(Missing, ConfigInvalid, PatternInvalid, PatternTooCostly))
    def patch(self, call: Call, wiring_id: uuid.UUID, body: WiringChanges) -> WiringShape:
        """Change a wiring."""
        return WiringShape.of(update_wiring(call.actor, wiring_id, body.model_dump(exclude_unset=True)))

    @operation(errors=(Missing,))
    def delete(self, call: Call, wiring_id: uuid.UUID) -> None:
        """Remove a wiring."""
        delete_wiring(call.actor, wiring_id)


class Deliveries(Endpoint):
    """All deliveries."""

    tag = "chats"

    @operation()
    def get(self, call: Call, query: DeliveryQuery) -> Page[DeliveryShape]:
        """List the deliveries, newest first."""
        return page_of(list_deliveries(call.actor), query, DeliveryShape.of)


class OneDelivery(Endpoint):
    """One delivery."""

    tag = "chats"

    @operation(errors=(DeliveryMissing,))
    def get(self, call: Call, delivery_id: uuid.UUID) -> DeliveryDetail:
        """Show a delivery with every attempt that was made."""
        return DeliveryDetail.of(get_delivery(call.actor, delivery_id))


class DeliveryRetry(Endpoint):
    """Sending one delivery again."""

    tag = "chats"

    @operation(errors=(Missing, Conflict))
    def post(self, call: Call, delivery_id: uuid.UUID) -> DeliveryShape:
        """Send a failed delivery again."""
        return DeliveryShape.of(retry_delivery(call.actor, delivery_id))
