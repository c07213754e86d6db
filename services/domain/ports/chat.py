"""The port that every chat platform's adapter implements, and the values that cross it.

An adapter is a folder in `services/adapters/chat/<kind>/`. It is handed values and returns values: no row,
no query, no action. Configuration is its own closed pydantic model, whose secret fields are `SecretStr`.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from pydantic import BaseModel


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a platform is and can do. `max_text` is in `text_unit`s for one message part.

    The rates are what it takes from one link, in one chat, in one chat that is a group or channel (in place of the
    chat's), in messages and changes per second over a longer while; None where no limit is known. `chat_burst` is how
    many a chat takes at once after a pause.
    `is_own` says that it is Slipway's: nobody links it.
    Without a webhook, whatever comes is taken by `chat_abilities.Listens`, and `verify` refuses every call.
    """

    kind: str
    label: str
    max_text: int
    text_unit: str  # "utf16" | "chars" | "bytes", of UTF-8
    has_threads: bool
    typing_ttl_s: float | None
    source: str
    is_own: bool = False
    per_link_per_s: float | None = None
    per_chat_per_s: float | None = None
    per_group_per_s: float | None = None
    chat_burst: int = 1
    rate_source: str = ""
    has_webhook: bool = True
    setup: tuple[str, ...] = ()
    """What a person does on the platform, a sentence for each step; `{hook_url}` stands for the link's address."""


@dataclass(frozen=True, slots=True)
class HookRequest:
    """One webhook call as it came: `headers` have lower-case names; `body` is untouched bytes."""

    method: str
    headers: Mapping[str, str]
    query: Mapping[str, str]
    body: bytes
    received_at: datetime


@dataclass(frozen=True, slots=True)
class HookReply:
    """What the platform wants to be answered at once, such as Slack's URL challenge."""

    status: int = 200
    content_type: str = "text/plain"
    body: bytes = b""


class ChatKind(enum.StrEnum):
    DIRECT = "direct"
    GROUP = "group"
    CHANNEL = "channel"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a message is: the platform's chat id, and its thread there if it has one."""

    chat_id: str
    thread_id: str | None = None


@dataclass(frozen=True, slots=True)
class Sender:
    platform_id: str
    display_name: str
    is_bot: bool = False


@dataclass(frozen=True, slots=True)
class InboundFile:
    """A file that came with a message. `ref` is what the platform wants to be asked for its bytes (`FetchesFiles`).

    `size` is in bytes, as far as the platform says it; `content_type` is its claim, which nobody has checked.
    """

    ref: str
    name: str
    content_type: str = "application/octet-stream"
    size: int | None = None
    is_voice: bool = False


@dataclass(frozen=True, slots=True)
class InboundMessage:
    """One message that somebody wrote.

    `dedupe_key` is unique within the link and the same for each redelivery by the platform. `is_mention` says that
    the bot was addressed: by name, by reply, or because the chat is direct. `text` has the mention removed.
    `reply_to` is the platform's id of the message that this one answers.
    """

    dedupe_key: str
    place: Place
    chat_kind: ChatKind
    chat_title: str
    sender: Sender
    text: str
    is_mention: bool
    message_id: str
    sent_at: datetime
    files: tuple[InboundFile, ...] = ()
    reply_to: str = ""
    raw: Mapping[str, Any] = field(default_factory=dict)


class ChangeKind(enum.StrEnum):
    EDITED = "edited"
    DELETED = "deleted"


@dataclass(frozen=True, slots=True)
class InboundChange:
    """Somebody edited or deleted a message of theirs; `text` is the new one, empty when it is gone."""

    dedupe_key: str
    place: Place
    sender: Sender
    message_id: str
    kind: ChangeKind
    text: str
    changed_at: datetime


@dataclass(frozen=True, slots=True)
class InboundStop:
    """Somebody used the platform's own way to stop the agent that is at work in a place."""

    dedupe_key: str
    place: Place
    sender: Sender


@dataclass(frozen=True, slots=True)
class InboundPress:
    """Somebody pressed a button below one of the bot's messages. `value` is the button's own, whoever made it.

    `press_ref` is what the platform wants back when the press is answered.
    """

    dedupe_key: str
    place: Place
    sender: Sender
    message_id: str
    value: str
    press_ref: str = ""


class ReportState(enum.StrEnum):
    """How far a message of ours has come, as the platform tells it afterwards, in this order; some are left out."""

    SENT = "sent"
    DELIVERED = "delivered"
    READ = "read"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class InboundReport:
    """What the platform says became of a message of ours. Reports may come twice and in any order.

    `reason` says of a failed one what to do. `may_open`: it failed as the chat is closed, and what
    `chat_abilities.ReachesClosedChats` sends still gets through. `key` is what
    `chat_abilities.ReportsKeys` sent it with.
    """

    message_id: str
    state: ReportState
    reported_at: datetime
    reason: str = ""
    may_open: bool = False
    key: str = ""


@dataclass(frozen=True, slots=True)
class Parsed:
    """The outcome of parsing a hook: what to keep, and a reply if the platform wants a certain one.

    `is_incomplete` says that the hook only names what happened: `Completes` has to ask for the rest.
    `ignored` says in a word why nothing is kept (`own_message`, `unknown_type`, `no_text`); it is counted.
    What platforms can do beyond this port is in `chat_abilities`.
    """

    messages: tuple[InboundMessage, ...] = ()
    presses: tuple[InboundPress, ...] = ()
    changes: tuple[InboundChange, ...] = ()
    stops: tuple[InboundStop, ...] = ()
    reports: tuple[InboundReport, ...] = ()
    reply: HookReply | None = None
    ignored: str | None = None
    is_incomplete: bool = False


@dataclass(frozen=True, slots=True)
class Receipt:
    """The platform's own id of what was sent."""

    message_id: str


@dataclass(frozen=True, slots=True)
class LinkIdentity:
    """Who the bot is on its platform."""

    platform_id: str
    display_name: str


class ChatAdapter(Protocol):
    """One platform. Adapters hold no state of their own between calls.

    Raises, from everything that talks to the platform: PlatformThrottled, PlatformAway, PlatformRefused.
    """

    manifest: Manifest
    config_model: type[BaseModel]

    def verify(self, config: Any, request: HookRequest) -> None:
        """Check the signature or secret over the raw body, in constant time. Raises: HookUnverified."""
        ...

    def parse(self, config: Any, request: HookRequest) -> Parsed:
        """Read a verified hook. An unknown payload is `Parsed(ignored=...)`. Raises: MalformedBody."""
        ...

    def render(self, text: str) -> list[str]:
        """Turn the agent's Markdown into the platform's markup, split at its limit. At least one part; pure."""
        ...

    def connect(self, config: Any, hook_url: str) -> LinkIdentity:
        """Check the credentials and register the webhook where the platform has a call for it."""
        ...

    def disconnect(self, config: Any) -> None: ...

    def send(self, config: Any, place: Place, part: str, *, reply_to: str | None = None) -> Receipt:
        """Send one rendered part. A part that the platform cannot parse as markup is sent again as plain text."""
        ...

    def show_typing(self, config: Any, place: Place) -> None:
        """Show that the agent is at work; a no-op where the platform has nothing for it."""
        ...
