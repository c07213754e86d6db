"""Links to chat platforms, the chats there, what came in and what goes out."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from services.domain.agents.models import Agent
from services.domain.identity.models import User
from services.domain.tasks.models import Task
from services.domain.tenancy.models import TenantModel
from services.domain.workspaces.models import Workspace
from services.kit.clock import now


class UnknownSenders(models.TextChoices):
    """What becomes of what people write whom nobody here knows: an agent reads it, a person is asked, or neither."""

    PUBLIC = "public"
    REQUEST_APPROVAL = "request_approval"
    STRICT = "strict"


class Link(TenantModel):
    """A bot account on a platform. Its configuration is sealed, for it holds the platform's secrets."""

    kind = models.CharField(max_length=30)
    name = models.CharField(max_length=80)
    sealed_config = models.BinaryField()
    key_id = models.CharField(max_length=40)
    default_agent = models.ForeignKey(
        Agent,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
        help_text="Unknown chats are wired to this agent; without one they wait for a person.",
    )
    platform_identity = models.CharField(max_length=120, blank=True)
    status = models.CharField(max_length=12, default="pending")
    last_error = models.CharField(max_length=300, blank=True)
    created_by = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    checked_at = models.DateTimeField(null=True)
    next_check_at = models.DateTimeField(default=now, db_default=Now())
    silent_checks = models.PositiveSmallIntegerField(
        default=0, db_default=0, help_text="How many times in a row the platform did not answer."
    )
    unknown_updates = models.PositiveIntegerField(default=0)
    # When the platform last answered us.
    reached_at = models.DateTimeField(null=True)
    unknown_senders = models.CharField(
        max_length=16,
        choices=UnknownSenders.choices,
        default=UnknownSenders.REQUEST_APPROVAL,
        db_default=UnknownSenders.REQUEST_APPROVAL,
    )

    class Meta:
        db_table = "link"
        indexes = [
            models.Index(
                fields=["next_check_at"],
                name="link_check_due",
                condition=Q(status__in=["connected", "failed"]),
            )
        ]


class LinkHealth(TenantModel):
    """A change of whether a link works, with the reason; the last ones are kept."""

    link = models.ForeignKey(Link, on_delete=models.CASCADE, related_name="history")
    status = models.CharField(max_length=12)
    reason = models.CharField(max_length=300, blank=True)

    class Meta:
        db_table = "link_health"


class ListenerStatus(models.TextChoices):
    """How the listening to a link goes: it begins, works, is tried again soon, or needs a person."""

    STARTING = "starting"
    LISTENING = "listening"
    RETRYING = "retrying"
    FAILED = "failed"


class LinkListener(TenantModel):
    """Which process listens to a link, and where it resumes. `token` changes with each holder and fences the last one.

    Without a token nobody listens. `state` is the adapter's own; `last_seen_at` is the last sign of life.
    """

    link = models.OneToOneField(Link, on_delete=models.CASCADE, related_name="listener")
    token = models.UUIDField(null=True)
    holder = models.CharField(max_length=80, blank=True)
    lease_until = models.DateTimeField(null=True)
    state = models.JSONField(default=dict)
    status = models.CharField(max_length=10, choices=ListenerStatus.choices, default=ListenerStatus.STARTING)
    last_seen_at = models.DateTimeField(null=True)
    last_error = models.CharField(max_length=300, blank=True)

    class Meta:
        db_table = "link_listener"


class LinkEntry(TenantModel):
    """Something that a link's adapter keeps between its calls, sealed: the keys of encrypted rooms, for example.

    `version` counts its changes, so that of two processes that change it the second notices.
    """

    link = models.ForeignKey(Link, on_delete=models.CASCADE, related_name="entries")
    name = models.CharField(max_length=300)
    sealed = models.BinaryField()
    key_id = models.CharField(max_length=40)
    version = models.PositiveBigIntegerField()
    expires_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "link_entry"
        constraints = [models.UniqueConstraint(fields=["link", "name"], name="link_entry_once")]
        indexes = [
            models.Index(fields=["expires_at"], name="link_entry_old", condition=Q(expires_at__isnull=False))
        ]


class Chat(TenantModel):
    """A place on a platform: a direct message, a group, a channel."""

    link = models.ForeignKey(Link, on_delete=models.CASCADE, related_name="chats")
    platform_chat_id = models.CharField(max_length=255)
    kind = models.CharField(max_length=10)
    title = models.CharField(max_length=200, blank=True)
    # When it is next looked at for what is older than it may be.
    next_forget_at = models.DateTimeField(default=now, db_default=Now())

    class Meta:
        db_table = "chat"
        constraints = [models.UniqueConstraint(fields=["link", "platform_chat_id"], name="chat_once")]
        indexes = [models.Index(fields=["next_forget_at"], name="chat_forget_due")]


class Engage(models.TextChoices):
    """When an agent answers. Sticky: once it was mentioned in a thread, it goes on answering there."""

    ALWAYS = "always"
    MENTION = "mention"
    MENTION_STICKY = "mention-sticky"
    PATTERN = "pattern"
    COMMAND = "command"
    NEVER = "never"


class SenderScope(models.TextChoices):
    """Whom an agent answers: anybody who is heard, who is known to the link, members, or the people that are named."""

    ALL = "all"
    KNOWN = "known"
    MEMBERS = "members"
    PEOPLE = "people"


class Unanswered(models.TextChoices):
    """What becomes of what an agent does not answer: it reads it with the next message, or never."""

    ACCUMULATE = "accumulate"
    DROP = "drop"


class SessionMode(models.TextChoices):
    AGENT_SHARED = "agent-shared"
    SHARED = "shared"
    PER_THREAD = "per-thread"


class LiveAnswers(models.TextChoices):
    """Whether an answer is shown while it is written. `auto` is yes in direct chats and threads, no elsewhere."""

    AUTO = "auto"
    ON = "on"
    OFF = "off"


class Wiring(TenantModel):
    """chat → agent: when the agent answers, whom, and which workspace it answers in.

    `command` is the word after the slash that it answers to. `people` are the users of the scope of that name. An
    exclusive one that answers leaves nothing to those after it. `bot_turns` is how many messages of other bots it
    answers before a person must have spoken again. In its quiet hours it only listens.
    """

    chat = models.ForeignKey(Chat, on_delete=models.CASCADE, related_name="wirings")
    agent = models.ForeignKey(Agent, on_delete=models.CASCADE, related_name="wirings")
    engage = models.CharField(max_length=16, choices=Engage.choices, default=Engage.MENTION)
    pattern = models.CharField(max_length=300, blank=True)
    command = models.CharField(max_length=32, blank=True, default="", db_default="")
    sender_scope = models.CharField(
        max_length=8, choices=SenderScope.choices, default=SenderScope.ALL, db_default=SenderScope.ALL
    )
    people = ArrayField(models.UUIDField(), default=list, blank=True, db_default=[])
    session_mode = models.CharField(max_length=12, choices=SessionMode.choices, default=SessionMode.SHARED)
    unanswered = models.CharField(
        max_length=10,
        choices=Unanswered.choices,
        default=Unanswered.ACCUMULATE,
        db_default=Unanswered.ACCUMULATE,
    )
    priority = models.IntegerField(default=0)
    is_exclusive = models.BooleanField(default=False, db_default=False)
    bot_turns = models.PositiveSmallIntegerField(default=0, db_default=0)
    time_zone = models.CharField(max_length=60, default="UTC", db_default="UTC")
    quiet_from = models.TimeField(null=True, blank=True)
    quiet_to = models.TimeField(null=True, blank=True)
    is_enabled = models.BooleanField(default=True)
    live_answers = models.CharField(
        max_length=4,
        choices=LiveAnswers.choices,
        default=LiveAnswers.AUTO,
        db_default=LiveAnswers.AUTO,
    )

    class Meta:
        db_table = "wiring"
        constraints = [models.UniqueConstraint(fields=["chat", "agent"], name="wiring_once")]


class Engagement(TenantModel):
    """When a sticky wiring was last spoken to in a thread; where there are no threads, by a sender."""

    wiring = models.ForeignKey(Wiring, on_delete=models.CASCADE, related_name="engagements")
    thread_id = models.CharField(max_length=120, blank=True)
    sender_id = models.CharField(max_length=120, blank=True)
    engaged_at = models.DateTimeField(default=now)

    class Meta:
        db_table = "engagement"
        constraints = [
            models.UniqueConstraint(fields=["wiring", "thread_id", "sender_id"], name="engagement_once")
        ]


class Conversation(TenantModel):
    """Which workspace a conversation goes on in. `scope` is made from the wiring's session mode."""

    agent = models.ForeignKey(Agent, on_delete=models.CASCADE, related_name="+")
    scope = models.CharField(max_length=300)
    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="+")

    class Meta:
        db_table = "conversation"
        constraints = [models.UniqueConstraint(fields=["agent", "scope"], name="conversation_once")]


class ThreadClaim(TenantModel):
    """A place in which what members say goes on in a workspace, though no wiring says so. Its work was delivered there.

    `thread_id` is the platform's thread, else the message that was replied to; empty is a whole chat without threads.
    """

    chat = models.ForeignKey(Chat, on_delete=models.CASCADE, related_name="claims")
    thread_id = models.CharField(max_length=120, blank=True)
    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="claims")
    user = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, related_name="+")

    class Meta:
        db_table = "thread_claim"
        constraints = [models.UniqueConstraint(fields=["chat", "thread_id"], name="thread_claim_once")]


class InboundMessage(TenantModel):
    """One message as it came. `outcome` is empty until it is routed; it then says what became of it.

    `text` is what it says now: its writer may have edited it. That of a deleted one is gone.
    """

    link = models.ForeignKey(Link, on_delete=models.CASCADE, related_name="inbound_messages")
    chat = models.ForeignKey(Chat, on_delete=models.CASCADE, related_name="inbound_messages")
    dedupe_key = models.CharField(max_length=200)
    thread_id = models.CharField(max_length=120, blank=True)
    platform_message_id = models.CharField(max_length=120)
    reply_to = models.CharField(max_length=120, blank=True, db_default="")
    sender_id = models.CharField(max_length=120)
    sender_name = models.CharField(max_length=200, blank=True)
    is_bot = models.BooleanField(default=False, db_default=False)
    text = models.TextField(blank=True)
    is_mention = models.BooleanField(default=False)
    sent_at = models.DateTimeField()
    edited_at = models.DateTimeField(null=True)
    deleted_at = models.DateTimeField(null=True)
    routed_at = models.DateTimeField(null=True)
    failures = models.PositiveSmallIntegerField(default=0, db_default=0)
    outcome = models.CharField(max_length=200, blank=True)

    class Meta:
        db_table = "inbound_message"
        constraints = [models.UniqueConstraint(fields=["link", "dedupe_key"], name="inbound_once")]
        indexes = [
            models.Index(fields=["chat", "platform_message_id"], name="inbound_by_platform_id"),
            models.Index(fields=["chat", "id"], name="inbound_unrouted", condition=Q(routed_at=None)),
            models.Index(fields=["chat", "thread_id", "-id"], name="inbound_of_place"),
        ]


class Decision(TenantModel):
    """Why a message was answered or not, written with its outcome; where it was replayed, the last time.

    `standing`, `ruling` and `reason` are what the gate said of its writer, empty where it was not asked. `wirings` has
    an entry for each wiring in the order of their judging, as `judging.entry_of` makes it.
    """

    message = models.OneToOneField(InboundMessage, on_delete=models.CASCADE, related_name="decision")
    chat = models.ForeignKey(Chat, on_delete=models.CASCADE, related_name="+")
    standing = models.CharField(max_length=10, blank=True)
    ruling = models.CharField(max_length=10, blank=True)
    reason = models.CharField(max_length=40, blank=True)
    wirings = models.JSONField(default=list)
    decided_at = models.DateTimeField(default=now)

    class Meta:
        db_table = "decision"


class InboundEventKind(models.TextChoices):
    """What else than messages and presses comes in: a message changed by its writer, a wish that the agent stops."""

    EDITED = "edited"
    DELETED = "deleted"
    STOPPED = "stopped"


class InboundEvent(TenantModel):
    """Something that happened on a platform, as it came. `outcome` is empty until it is dealt with.

    `platform_message_id` is the message that was changed, and `text` what it says now.
    """

    link = models.ForeignKey(Link, on_delete=models.CASCADE, related_name="+")
    chat = models.ForeignKey(Chat, on_delete=models.CASCADE, related_name="inbound_events")
    dedupe_key = models.CharField(max_length=200)
    kind = models.CharField(max_length=8, choices=InboundEventKind.choices)
    thread_id = models.CharField(max_length=120, blank=True)
    platform_message_id = models.CharField(max_length=120, blank=True)
    sender_id = models.CharField(max_length=120)
    sender_name = models.CharField(max_length=200, blank=True)
    text = models.TextField(blank=True)
    happened_at = models.DateTimeField(default=now)
    handled_at = models.DateTimeField(null=True)
    outcome = models.CharField(max_length=60, blank=True)

    class Meta:
        db_table = "inbound_event"
        constraints = [models.UniqueConstraint(fields=["link", "dedupe_key"], name="inbound_event_once")]
        indexes = [
            models.Index(fields=["chat", "thread_id", "-id"], name="inbound_event_of_place"),
            models.Index(fields=["chat", "platform_message_id"], name="inbound_event_of_message"),
        ]


class DeliveryStatus(models.TextChoices):
    QUEUED = "queued"
    SENDING = "sending"
    SENT = "sent"
    FAILED = "failed"


class DeliveryKind(models.TextChoices):
    """What is done on the platform: something is sent, or something that was sent is changed."""

    TEXT = "text"
    CARD = "card"
    FILE = "file"
    EDIT = "edit"
    DELETE = "delete"
    REACT = "react"


SENDS = (DeliveryKind.TEXT, DeliveryKind.CARD, DeliveryKind.FILE)
"""The kinds that put something new into a chat."""
DELIVERY_LIFE = timedelta(hours=24)


def delivery_expiry() -> datetime:
    """Return when a delivery that may go out from now on is given up."""
    return now() + DELIVERY_LIFE


class Delivery(TenantModel):
    """One part of an answer for one destination, with a visible state.

    `batch` groups the parts that must go out in order; `part` counts within it. A part is leased while it is sent.
    `target` is the earlier delivery that an edit, a deletion or a reaction is about; `payload` has what its kind needs:
    a card's buttons, a file's place in object storage, a reaction's emoji and message. What has not gone out by
    `expires_at` fails. `reported_at` is when people were told that it failed for good. `reached` is how far it has come
    since it was sent, where the platform says so: sent, delivered or read.
    """

    link = models.ForeignKey(Link, on_delete=models.CASCADE, related_name="deliveries")
    chat = models.ForeignKey(Chat, on_delete=models.CASCADE, related_name="deliveries")
    task = models.ForeignKey(Task, on_delete=models.SET_NULL, null=True, related_name="deliveries")
    thread_id = models.CharField(max_length=120, blank=True)
    reply_to = models.CharField(max_length=120, blank=True)
    batch = models.CharField(max_length=120)
    part = models.PositiveSmallIntegerField()
    kind = models.CharField(
        max_length=6, choices=DeliveryKind.choices, default=DeliveryKind.TEXT, db_default=DeliveryKind.TEXT
    )
    target = models.ForeignKey("self", on_delete=models.CASCADE, null=True, related_name="changes")
    text = models.TextField()
    payload = models.JSONField(null=True, blank=True)
    status = models.CharField(max_length=8, choices=DeliveryStatus.choices, default=DeliveryStatus.QUEUED)
    attempts = models.PositiveSmallIntegerField(default=0)
    next_attempt_at = models.DateTimeField(default=now)
    lease_token = models.UUIDField(null=True)
    lease_until = models.DateTimeField(null=True)
    platform_message_id = models.CharField(max_length=120, blank=True)
    error = models.CharField(max_length=300, blank=True)
    sent_at = models.DateTimeField(null=True)
    # Empty only in rows of before there was an expiry.
    expires_at = models.DateTimeField(null=True, default=delivery_expiry)
    reported_at = models.DateTimeField(null=True)
    reached = models.CharField(max_length=9, blank=True, default="", db_default="")
    reached_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "delivery"
        constraints = [models.UniqueConstraint(fields=["org_id", "batch", "part"], name="delivery_once")]
        indexes = [
            models.Index(
                fields=["next_attempt_at"], name="delivery_due", condition=Q(status__in=["queued", "sending"])
            ),
            models.Index(
                fields=["chat", "id"], name="delivery_in_line", condition=Q(status__in=["queued", "sending"])
            ),
        ]


class AttemptOutcome(models.TextChoices):
    """How one attempt to deliver ended. `found` is one that an earlier attempt had sent without living to record it."""

    SENT = "sent"
    FOUND = "found"
    THROTTLED = "throttled"
    AWAY = "away"
    REFUSED = "refused"
    UNKNOWN = "unknown"


class DeliveryAttempt(TenantModel):
    """One attempt to deliver: the custody of a delivery is the list of these. Without an outcome it is under way.

    `unknown` is one whose sender died, so that nobody can say whether the platform took it.
    """

    delivery = models.ForeignKey(Delivery, on_delete=models.CASCADE, related_name="custody")
    started_at = models.DateTimeField(default=now)
    finished_at = models.DateTimeField(null=True)
    outcome = models.CharField(max_length=9, choices=AttemptOutcome.choices, blank=True)
    note = models.CharField(max_length=300, blank=True)

    class Meta:
        db_table = "delivery_attempt"


class ShownAnswer(TenantModel):
    """What of a task's answer is shown in its chat while it is written. One worker shows it, under a lease.

    `segments` are the messages in which it is shown, in order: each has `ref`, the platform's reference, `key`, under
    which it was posted, and `is_stream` while it is the platform's own stream. A `ref` that is empty is being made, or
    was, by whoever died over it. Once it is `closed_at`, the answer's deliveries take the place of the segments.
    """

    task = models.OneToOneField(Task, on_delete=models.CASCADE, related_name="shown_answer")
    segments = models.JSONField(default=list)
    lease_token = models.UUIDField(null=True)
    lease_until = models.DateTimeField(null=True)
    closed_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "shown_answer"
