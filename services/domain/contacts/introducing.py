"""Telling an agent for whom it works, as far as that person has said something that helps."""

from __future__ import annotations

import uuid

from services.domain.contacts.models import NotificationSettings
from services.domain.identity.models import User


def introduce(user_id: uuid.UUID | None) -> str:
    """Return a line about a person's name, language and time zone; empty when they have said nothing of these.

    It holds no clock time, so that it is the same for every turn, and a model's cache serves it. In the transaction.
    """
    person = User.objects.filter(pk=user_id).first() if user_id is not None else None
    if person is None:
        return ""
    zone = NotificationSettings.objects.filter(user=person).values_list("time_zone", flat=True).first()
    known = [f"their language is {person.language}"] if person.language else []
    known += [f"their time zone is {zone}"] if zone and zone != "UTC" else []
    if not known:
        return ""
    return f"You work for {person.display_name or 'a person'}: {' and '.join(known)}."
