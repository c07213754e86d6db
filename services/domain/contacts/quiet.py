"""Quiet hours: when a person wants no messages, and when that is over."""

from __future__ import annotations

import zoneinfo
from datetime import UTC, datetime, time, timedelta

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from services.domain.actors import Actor, require
from services.domain.contacts.models import NotificationSettings
from services.domain.errors import NotPermitted
from services.domain.tenancy.transaction import tenant_transaction
from services.kit.clock import now


class QuietHours(BaseModel):
    """From-to in a time zone of the tz database, over midnight if `quiet_to` is the earlier; both or neither."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True, from_attributes=True)

    time_zone: str = Field(default="UTC", max_length=60, examples=["Europe/Berlin"])
    quiet_from: time | None = Field(default=None, examples=["22:00"])
    quiet_to: time | None = Field(default=None, examples=["07:00"])

    @field_validator("time_zone")
    @classmethod
    def _is_known(cls, name: str) -> str:
        if name not in zoneinfo.available_timezones():
            raise ValueError("is no time zone of the tz database")
        return name

    @field_validator("quiet_from", "quiet_to")
    @classmethod
    def _is_local(cls, value: time | None) -> time | None:
        if value is not None and value.tzinfo is not None:
            raise ValueError("is a time of the clock, without a zone")
        return value

    @model_validator(mode="after")
    def _is_whole(self) -> QuietHours:
        if (self.quiet_from is None) != (self.quiet_to is None) or (
            self.quiet_from is not None and self.quiet_from == self.quiet_to
        ):
            raise ValueError("give both quiet_from and quiet_to, and not the same")
        return self

    def quiet_until(self, moment: datetime) -> datetime | None:
        """Return when the quiet hours that this moment falls into are over, None outside of them. Pure."""
        if self.quiet_from is None or self.quiet_to is None:
            return None
        here = moment.astimezone(zoneinfo.ZoneInfo(self.time_zone))
        clock = here.time()
        is_over_midnight = self.quiet_to < self.quiet_from
        if is_over_midnight:
            is_quiet = clock >= self.quiet_from or clock < self.quiet_to
        else:
            is_quiet = self.quiet_from <= clock < self.quiet_to
        if not is_quiet:
            return None
        day = here.date() + timedelta(days=1 if is_over_midnight and clock >= self.quiet_from else 0)
        return datetime.combine(day, self.quiet_to, here.tzinfo).astimezone(UTC)


def get_quiet_hours(actor: Actor) -> QuietHours:
    """Return the acting person's quiet hours, in the tenant's transaction."""
    row = NotificationSettings.objects.filter(user=actor.user_id).first() if actor.user_id else None
    return QuietHours.model_validate(row) if row is not None else QuietHours()


def set_quiet_hours(actor: Actor, hours: QuietHours) -> QuietHours:
    """Set the acting person's quiet hours. Raises: NotPermitted for who is no person."""
    require(actor, "chats:write")
    if actor.user_id is None or actor.kind == "agent":
        raise NotPermitted("Quiet hours belong to people.")
    values = {**hours.model_dump(), "updated_at": now()}
    with tenant_transaction(actor.org_id):
        NotificationSettings.objects.update_or_create(
            user_id=actor.user_id, defaults=values, create_defaults={**values, "org_id": actor.org_id}
        )
    return hours
