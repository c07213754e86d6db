"""Linking bots, sending a failed delivery again."""

from __future__ import annotations

import uuid
from typing import Any

from services.domain.actors import Actor, require
from services.domain.agents.actions import get_usable_agent
from services.domain.chats.models import (
    Delivery,
    DeliveryStatus,
    Link,
    LinkListener,
    ListenerStatus,
    UnknownSenders,
    delivery_expiry,
)
from services.domain.errors import Conflict, LinkMissing, Missing
from services.domain.events.announcing import announce_change
from services.domain.events.listed import DeliveryChanged, LinkChanged
from services.domain.outbox.jobs import SendDelivery, enqueue
from services.domain.tenancy.transaction import tenant_transaction
from services.domain.vault.keyring import open_json, seal_json
from services.kit.clock import now
from services.kit.ids import uuid7

# What connecting learns of the bot, and no person sets.
_LEARNED = ("bot_id", "bot_name")


def create_link(
    actor: Actor,
    *,
    kind: str,
    name: str,
    config: dict[str, Any],
    default_agent_id: uuid.UUID | None = None,
    unknown_senders: UnknownSenders = UnknownSenders.REQUEST_APPROVAL,
) -> Link:
    """Keep a bot's credentials, sealed. The caller has checked `config` by the adapter's own model.

    Raises: AgentMissing, RoleMissing for a public one by who is no admin.
    """
    require(actor, "chats:write", role="member")
    _refuse_opening(actor, unknown_senders)
    with tenant_transaction(actor.org_id):
        if default_agent_id is not None:
            get_usable_agent(actor, default_agent_id)
        row_id = uuid7()
        sealed = seal_json(config, row_id)
        link = Link.objects.create(
            id=row_id,
            org_id=actor.org_id,
            kind=kind,
            name=name,
            sealed_config=sealed.blob,
            key_id=sealed.key_id,
            default_agent_id=default_agent_id,
            unknown_senders=unknown_senders,
            created_by_id=actor.user_id,
        )
        announce_change(LinkChanged, link, "created")
        return link


def update_link(
    actor: Actor,
    link_id: uuid.UUID,
    *,
    name: str | None = None,
    config: dict[str, Any] | None = None,
    default_agent_id: uuid.UUID | None = None,
    changes_agent: bool = False,
    unknown_senders: UnknownSenders | None = None,
) -> Link:
    """Change a link. Raises: LinkMissing, AgentMissing, RoleMissing for making it public as who is no admin."""
    require(actor, "chats:write")
    with tenant_transaction(actor.org_id):
        link = _lock_link(link_id)
        if name is not None:
            link.name = name
        if config is not None:
            _revoke_listener(link, config)
            sealed = seal_json(config, link.id)
            link.sealed_config, link.key_id, link.status = sealed.blob, sealed.key_id, "pending"
        if changes_agent:
            if default_agent_id is not None:
                get_usable_agent(actor, default_agent_id)
            link.default_agent_id = default_agent_id
        if unknown_senders is not None and unknown_senders != link.unknown_senders:
            _refuse_opening(actor, unknown_senders)
            link.unknown_senders = unknown_senders
        link.save()
        announce_change(LinkChanged, link)
        return link


def delete_link(actor: Actor, link_id: uuid.UUID) -> None:
    """Delete a link with its chats, wirings and deliveries. Raises: LinkMissing."""
    require(actor, "chats:write", role="member")
    with tenant_transaction(actor.org_id):
        link = _lock_link(link_id)
        announce_change(LinkChanged, link, "deleted")
        link.delete()


def read_link_config(link: Link) -> dict[str, Any]:
    """Open a link's configuration. Raises: VaultError."""
    config: dict[str, Any] = open_json(link.sealed_config, link.key_id, link.id)
    return config


def retry_delivery(actor: Actor, delivery_id: uuid.UUID) -> Delivery:
    """Send a failed delivery and the parts after it again, as if they were new.

    Raises: Missing, Conflict when it has not failed.
    """
    require(actor, "chats:write")
    with tenant_transaction(actor.org_id):
        delivery = Delivery.objects.select_for_update().filter(id=delivery_id).first()
        if delivery is None:
            raise Missing("There is no such delivery.")
        if delivery.status != DeliveryStatus.FAILED:
            raise Conflict("Only a failed delivery can be sent again.")
        failed = Delivery.objects.filter(batch=delivery.batch, status=DeliveryStatus.FAILED)
        failed.filter(part__gte=delivery.part).update(
            status=DeliveryStatus.QUEUED, attempts=0, next_attempt_at=now(), expires_at=delivery_expiry()
        )
        for row in Delivery.objects.filter(batch=delivery.batch, part__gte=delivery.part):
            announce_change(DeliveryChanged, row)
        delivery.refresh_from_db()
        enqueue(SendDelivery(org_id=actor.org_id, batch=delivery.batch))
        return delivery


def _revoke_listener(link: Link, config: dict[str, Any]) -> None:
    """End the lease of whoever listens with the old configuration: it is fenced out, and another takes over.

    With other credentials it may be another account, whose messages the old place to resume would pass over.
    """
    same_account = _given_by_people(read_link_config(link)) == _given_by_people(config)
    LinkListener.objects.filter(link=link).update(
        token=None,
        holder="",
        lease_until=None,
        status=ListenerStatus.STARTING,
        last_error="",
        **({} if same_account else {"state": {}}),
    )


def _given_by_people(config: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in config.items() if name not in _LEARNED}


def _refuse_opening(actor: Actor, unknown_senders: UnknownSenders) -> None:
    # Admins decide about each stranger, so nobody else lets all of them in.
    if unknown_senders == UnknownSenders.PUBLIC:
        require(actor, "chats:write", role="admin")


def _lock_link(link_id: uuid.UUID) -> Link:
    link = Link.objects.select_for_update().filter(id=link_id).first()
    if link is None:
        raise LinkMissing("There is no such link.")
    return link
