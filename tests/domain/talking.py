"""A bot of acme's, people who write to it, and what it says: from the inbound row to the written delivery."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass, field

from conftest import Tenant
from services.domain.chats.actions import create_link
from services.domain.chats.health import note_connected
from services.domain.chats.inbound import LinkHandle, all_tenants_find_link, store_inbound
from services.domain.chats.models import Chat, Delivery, DeliveryStatus, InboundMessage, Wiring
from services.domain.contacts.models import PlatformAccount
from services.domain.plane.models import Sandbox, SandboxState
from services.domain.ports.chat import ChatKind, Place, Sender
from services.domain.ports.chat import InboundMessage as Incoming
from services.domain.tasks.models import Task
from services.domain.tenancy.transaction import tenant_transaction
from services.kit.clock import now
from tests.domain.cast import Runner, start
from tests.fakes.chat_places import drain


@dataclass
class Talk:
    """One bot. `says` runs all jobs that follow, but nothing is sent: `said` reads what would be."""

    tenant: Tenant
    handle: LinkHandle
    ids: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    def says(
        self,
        text: str,
        *,
        who: str = "7",
        chat: str = "100",
        kind: ChatKind = ChatKind.DIRECT,
        mention: bool = True,
        thread: str | None = None,
        reply_to: str = "",
    ) -> str:
        """Let somebody write, and let it be routed; returns what became of the message."""
        key = f"{self.handle.link_id.hex[-4:]}-{next(self.ids)}"
        message = Incoming(
            dedupe_key=key,
            place=Place(chat, thread),
            chat_kind=kind,
            chat_title="Chat",
            sender=Sender(who, "Ann"),
            text=text,
            is_mention=mention,
            message_id=key,
            sent_at=now(),
            reply_to=reply_to,
        )
        store_inbound(self.handle, [message])
        drain("message.route", "reply.write")
        return InboundMessage.objects.using("operator").get(dedupe_key=key).outcome

    def said(self) -> list[str]:
        """List what was written down to be sent, without markup, the oldest first."""
        rows = Delivery.objects.using("operator").order_by("id").values_list("text", flat=True)
        return [re.sub(r"<[^>]+>", "", text) for text in rows]

    def knows(self, name: str, who: str, chat: str = "100", kind: ChatKind = ChatKind.DIRECT) -> None:
        """Link an account of one of the tenant's people."""
        org_id = self.tenant.organisation.id
        with tenant_transaction(org_id):
            place, is_new = Chat.objects.get_or_create(
                link_id=self.handle.link_id,
                platform_chat_id=chat,
                defaults={"org_id": org_id, "kind": kind, "title": "Chat"},
            )
            if is_new:
                Wiring.objects.create(org_id=org_id, chat=place, agent=self.tenant.agent, engage="always")
            PlatformAccount.objects.create(
                org_id=org_id,
                user_id=self.tenant.people[name].user_id,
                link_id=self.handle.link_id,
                platform_user_id=who,
                chat=place,
            )

    def tasks(self) -> list[Task]:
        """List the tasks, the oldest first."""
        return list(Task.objects.using("operator").order_by("id"))

    def chat(self, platform_chat_id: str = "100") -> Chat:
        """Return a chat by the platform's id of it."""
        return Chat.objects.using("operator").get(platform_chat_id=platform_chat_id)

    def answers(self, task: Task, text: str, message_id: str) -> None:
        """Let a task succeed, and its answer arrive under the platform's id."""
        sandbox = start(task).sandbox
        runner = Runner(task, sandbox.id)
        runner.store(runner.entry("turn.started"), runner.entry("turn.done", status="succeeded", text=text))
        # The next turn of the workspace gets another one.
        Sandbox.objects.filter(id=sandbox.id).update(state=SandboxState.DESTROYED, task_id=None)
        drain("answer.deliver")
        Delivery.objects.using("operator").filter(task_id=task.id).update(
            status=DeliveryStatus.SENT, platform_message_id=message_id, sent_at=now()
        )


def open_talk(tenant: Tenant, *, unknown_senders: str = "public", kind: str = "telegram") -> Talk:
    """Link a bot of a tenant's whose unknown chats are wired to the tenant's agent."""
    row = create_link(
        tenant.owner,
        kind=kind,
        name="Bot",
        config={"bot_token": "1:x"},
        default_agent_id=tenant.agent.id,
        unknown_senders=unknown_senders,
    )
    note_connected(tenant.owner, row.id, identity="our_bot")
    handle = all_tenants_find_link(row.id, kind)
    assert handle is not None
    return Talk(tenant, handle)
