"""A bot of a tenant's, what people write to it, and what it says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from conftest import Tenant
from services.domain.actors import Actor
from services.domain.approvals.actions import decide_approval
from services.domain.approvals.models import Approval
from services.domain.chats.actions import create_link, update_link
from services.domain.chats.inbound import LinkHandle, all_tenants_find_link
from services.domain.chats.intake import take_in
from services.domain.chats.models import Chat, Delivery, InboundEvent, InboundMessage, UnknownSenders, Wiring
from services.domain.chats.wirings import WiringFields, create_wiring
from services.domain.contacts.models import LinkSender, PlatformAccount
from services.domain.contacts.senders import list_senders
from services.domain.ports.chat import (
    ChangeKind,
    ChatKind,
    InboundChange,
    InboundStop,
    Parsed,
    Place,
    Sender,
)
from services.domain.ports.chat import InboundMessage as Incoming
from services.domain.tasks.models import Task
from services.domain.tenancy.transaction import tenant_transaction
from services.kit.clock import now
from tests.fakes.chat_places import drain


@dataclass
class Bot:
    """A bot of acme's, and what people write to it."""

    tenant: Tenant
    handle: LinkHandle
    count: int = 0

    def hears(self, *texts: str, **said: Any) -> None:
        """Take messages in and route them, each with its own job."""
        for text in texts:
            self.takes(text, **said)
        self.routes()

    def takes(
        self,
        text: str,
        *,
        who: str = "7",
        chat: str = "100",
        thread: str | None = None,
        kind: ChatKind = ChatKind.DIRECT,
        mention: bool = True,
        is_bot: bool = False,
    ) -> str:
        """Take a message in; returns the platform's id of it."""
        self.count += 1
        key = f"u{self.count}"
        sender = Sender(who, "Eve", is_bot)
        message = Incoming(key, Place(chat, thread), kind, "Chat", sender, text, mention, key, now())
        take_in(self.handle, Parsed(messages=(message,)))
        return key

    def sees_change(self, message_id: str, text: str | None, *, chat: str = "100", key: str = "") -> None:
        """Take in that somebody edited a message, or deleted it, and deal with it."""
        self.count += 1
        kind = ChangeKind.DELETED if text is None else ChangeKind.EDITED
        change = InboundChange(
            key or f"c{self.count}", Place(chat), Sender("7", "Eve"), message_id, kind, text or "", now()
        )
        take_in(self.handle, Parsed(changes=(change,)))
        self.routes()

    def sees_stop(self, *, who: str = "7", chat: str = "100", thread: str | None = None) -> None:
        """Take in that somebody pressed the platform's stop button, and deal with it."""
        self.count += 1
        stop = InboundStop(f"s{self.count}", Place(chat, thread), Sender(who, "Eve"))
        take_in(self.handle, Parsed(stops=(stop,)))
        self.routes()

    def routes(self) -> None:
        """Run what is to be routed and dealt with, in order."""
        drain("message.route", "inbound.handle", "reply.write")

    def becomes(self, policy: UnknownSenders) -> None:
        update_link(self.tenant.owner, self.handle.link_id, unknown_senders=policy)

    def wires(self, chat: str = "100", **fields: Any) -> Wiring:
        """Wire a chat that was heard from to the tenant's agent, instead of how it was wired."""
        with tenant_transaction(self.handle.org_id):
            row = Chat.objects.get(link_id=self.handle.link_id, platform_chat_id=chat)
            Wiring.objects.filter(chat=row, agent_id=fields.get("agent_id", self.tenant.agent.id)).delete()
        given = {"chat_id": row.id, "agent_id": self.tenant.agent.id} | fields
        return create_wiring(self.tenant.owner, WiringFields.model_validate(given))

    def outcomes(self) -> list[str]:
        rows = InboundMessage.objects.using("operator").order_by("id").values_list("outcome", flat=True)
        return [outcome.partition(" 0")[0] for outcome in rows]

    def event_outcomes(self) -> list[str]:
        return list(InboundEvent.objects.using("operator").order_by("id").values_list("outcome", flat=True))

    def tasks(self) -> list[Task]:
        return list(Task.objects.using("operator").order_by("id"))

    def prompts(self) -> list[str]:
        return [task.prompt for task in self.tasks()]

    def said(self) -> list[str]:
        return list(Delivery.objects.using("operator").order_by("id").values_list("text", flat=True))

    def question(self) -> Approval:
        return Approval.objects.using("operator").order_by("-id").first()

    def sender(self) -> LinkSender:
        with tenant_transaction(self.handle.org_id):
            return list_senders(self.tenant.owner, self.handle.link_id).get()

    def decides(self, decision: str, scope: str = "once", actor: Actor | None = None) -> None:
        decide_approval(actor or self.tenant.owner, self.question().id, decision, scope)
        self.routes()

    def links(self, name: str, who: str = "7") -> None:
        """Let an account be a member's."""
        with tenant_transaction(self.handle.org_id):
            PlatformAccount.objects.create(
                org_id=self.handle.org_id,
                user_id=self.tenant.people[name].user_id,
                link_id=self.handle.link_id,
                platform_user_id=who,
                chat=Chat.objects.order_by("id").first(),
            )


def bot_of(tenant: Tenant, **link: Any) -> Bot:
    """Give a tenant a bot; unknown chats are wired to its shell agent, unless `link` says otherwise."""
    fields = {"config": {"bot_token": "1:x"}, "default_agent_id": tenant.agent.id} | link
    row = create_link(tenant.owner, kind="telegram", name="Bot", **fields)
    handle = all_tenants_find_link(row.id, "telegram")
    assert handle is not None
    return Bot(tenant, handle)
