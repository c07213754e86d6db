"""Telling people that an account is in another state, and what they can do about it."""

from __future__ import annotations

from services.domain.events.log import record_event
from services.domain.events.types import IntegrationChanged, NotificationCreated
from services.domain.integrations.models import Integration, IntegrationStatus
from services.domain.push.telling import tell_person


def how_to_connect(name: str) -> str:
    """Return what a person has to do when a provider does not take what opens an account."""
    return f"A person must connect it again: in the dashboard under Accounts, {name}."


def stream_of(integration: Integration) -> str:
    """Return the stream of those who may know of an account: its person, or the organisation."""
    return f"user:{integration.owner_id}" if integration.owner_id else f"org:{integration.org_id}"


def tell_changed(integration: Integration, *, status: str | None = None) -> None:
    """Record that an account has changed. Emits: IntegrationChanged."""
    record_event(
        stream_of(integration),
        IntegrationChanged(
            integration_id=str(integration.id),
            kind=integration.kind,
            name=integration.name,
            status=status or integration.status,
            reason=integration.last_error,
            is_enabled=integration.is_enabled,
        ),
    )


def tell_state(integration: Integration) -> None:
    """Record another state, and notify the account's person of what only a person can mend.

    Emits: IntegrationChanged, NotificationCreated.
    """
    tell_changed(integration)
    if integration.status == IntegrationStatus.UNAUTHORISED:
        notify_person(integration, f"Account {integration.name}: {integration.last_error}")


def notify_person(integration: Integration, message: str) -> None:
    """Notify the account's person, or whoever connected the organisation's. Emits: NotificationCreated."""
    person = integration.owner_id or integration.created_by_id
    if person is not None:
        tell_person(person, NotificationCreated(message=message, urgency="high"))
