"""Telling people that an account is in another state, and what they can do about it."""

from __future__ import annotations

from services.domain.events.announcing import announce_change
from services.domain.events.listed import IntegrationChanged
from services.domain.events.types import NotificationCreated
from services.domain.integrations.models import Integration, IntegrationStatus
from services.domain.push.telling import tell_person


def how_to_connect(name: str) -> str:
    """Return what a person has to do when a provider does not take what opens an account."""
    return f"A person must connect it again: in the dashboard under Accounts, {name}."


def tell_state(integration: Integration) -> None:
    """Record another state, and notify the account's person of what only a person can mend.

    Emits: IntegrationChanged, NotificationCreated.
    """
    announce_change(IntegrationChanged, integration)
    if integration.status == IntegrationStatus.UNAUTHORISED:
        notify_person(integration, f"Account {integration.name}: {integration.last_error}")


def notify_person(integration: Integration, message: str) -> None:
    """Notify the account's person, or whoever connected the organisation's. Emits: NotificationCreated."""
    person = integration.owner_id or integration.created_by_id
    if person is not None:
        tell_person(person, NotificationCreated(message=message, urgency="high"))
