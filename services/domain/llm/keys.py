"""An organisation's own keys for models: sealed, tried by priority, and never used again once their vendor refused."""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass
from typing import Any

from django.db.models import QuerySet
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from services.domain.actors import Actor, require, system_actor
from services.domain.audit.models import AuditAction
from services.domain.audit.recording import Subject, record_audit
from services.domain.errors import Invalid, LlmKeyMissing, NameTaken, QueueFull
from services.domain.events.announcing import announce
from services.domain.events.types import LlmKeyChanged, NotificationCreated
from services.domain.identity.models import Membership
from services.domain.llm.actions import touch_policy
from services.domain.llm.models import KeyStatus, LlmKey, LlmVendor
from services.domain.push.telling import tell_person
from services.domain.tenancy.transaction import tenant_transaction
from services.domain.upstreams.urls import MAX_URL_CHARS, check_url
from services.domain.vault.accesses import Used, list_accesses
from services.domain.vault.keyring import open_text, seal_text
from services.domain.vault.models import CredentialAccess
from services.kit.clock import now
from services.kit.environment import environment
from services.kit.ids import uuid7

MAX_KEYS = 50
MAX_KEY_CHARS = 1_024
_USABLE = re.compile(r"[\x21-\x7e]{8,}")


class KeyFields(BaseModel):
    """What an admin may set on a key. `base_url` is for servers elsewhere that speak the vendor's API."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    name: str = Field(min_length=1, max_length=80)
    base_url: str = Field(default="", max_length=MAX_URL_CHARS)
    priority: int = Field(default=100, ge=0, le=1_000)
    is_enabled: bool = True

    def checked(self) -> dict[str, Any]:
        """Return the row's values. Raises: Invalid."""
        values = self.model_dump(include=set(KeyFields.model_fields))
        if self.base_url:
            url = check_url(self.base_url, environment().internal_hosts())
            values["base_url"] = url.rstrip("/").removesuffix("/v1")
        return values


class NewKey(KeyFields):
    """A key to keep."""

    vendor: LlmVendor
    key: SecretStr = Field(max_length=MAX_KEY_CHARS)


@dataclass(frozen=True, slots=True)
class KeyToCheck:
    """What is asked of a vendor to learn whether a key is good. `used` is the key as it is kept, if it is."""

    vendor: str
    base_url: str
    key: SecretStr
    used: Used | None = None


_RECORDED = {
    "created": AuditAction.MODEL_KEY_CREATED,
    "changed": AuditAction.MODEL_KEY_CHANGED,
    "refused": AuditAction.MODEL_KEY_CHANGED,
    "deleted": AuditAction.MODEL_KEY_REMOVED,
}


def list_keys(actor: Actor) -> QuerySet[LlmKey]:
    """Return the organisation's keys without what is sealed; in the tenant's transaction."""
    require(actor, "models:read")
    return LlmKey.objects.defer("sealed")


def get_key(actor: Actor, key_id: uuid.UUID) -> LlmKey:
    """Return one key, in the tenant's transaction. Raises: LlmKeyMissing."""
    key = list_keys(actor).filter(id=key_id).first()
    if key is None:
        raise LlmKeyMissing("There is no such key.")
    return key


def list_key_accesses(actor: Actor, key_id: uuid.UUID) -> QuerySet[CredentialAccess]:
    """Return the uses of a key, in the tenant's transaction. Raises: LlmKeyMissing."""
    return list_accesses(get_key(actor, key_id))


def plan_check(fields: NewKey) -> KeyToCheck:
    """Return what has to be asked about a new key. Raises: Invalid."""
    return KeyToCheck(fields.vendor, fields.checked()["base_url"], fields.key)


def get_check(actor: Actor, key_id: uuid.UUID) -> KeyToCheck:
    """Return what has to be asked about a kept key. Raises: LlmKeyMissing, RoleMissing."""
    require(actor, "models:write", role="admin")
    with tenant_transaction(actor.org_id):
        key = _lock(key_id)
        return KeyToCheck(key.vendor, key.base_url, open_key(key), Used.of(key))


def create_key(actor: Actor, fields: NewKey, status: KeyStatus, error: str = "") -> LlmKey:
    """Seal a key, with what its vendor said of it. Emits: LlmKeyChanged.

    Raises: RoleMissing, NameTaken, Invalid, QueueFull.
    """
    require(actor, "models:write", role="admin")
    text = fields.key.get_secret_value()
    if not _USABLE.fullmatch(text):
        raise Invalid("The key is not usable.", fields={"key": "printable ASCII without spaces"})
    values = fields.checked()
    with tenant_transaction(actor.org_id):
        touch_policy(actor)
        _refuse_taken(fields.name, LlmKey.objects.all())
        if LlmKey.objects.count() >= MAX_KEYS:
            raise QueueFull(f"An organisation has at most {MAX_KEYS} keys.", limit=MAX_KEYS)
        row_id = uuid7()
        sealed = seal_text(text, row_id)
        key = LlmKey.objects.create(
            id=row_id,
            org_id=actor.org_id,
            vendor=fields.vendor,
            sealed=sealed.blob,
            key_id=sealed.key_id,
            hint=f"{text[:4]}…{text[-4:]}" if len(text) >= 20 else "…",
            created_by_id=actor.user_id,
            status=status,
            last_error=error[:300],
            checked_at=now(),
            **values,
        )
        _tell(actor, key, "created")
        return key


def update_key(actor: Actor, key_id: uuid.UUID, changes: dict[str, Any]) -> LlmKey:
    """Change some fields. Another address needs the key once more, so it is not among them.

    Whoever may change the address could otherwise have the key sent to a server of their own.
    Locks: the rules, the key. Emits: LlmKeyChanged. Raises: LlmKeyMissing, NameTaken, Invalid, RoleMissing.
    """
    require(actor, "models:write", role="admin")
    with tenant_transaction(actor.org_id):
        touch_policy(actor)
        key = _lock(key_id)
        current = {name: getattr(key, name) for name in KeyFields.model_fields}
        values = KeyFields.model_validate(current | changes).checked()
        if values["base_url"] != key.base_url:
            raise Invalid("A key keeps its address: add a new key.", fields={"base_url": "cannot be changed"})
        _refuse_taken(values["name"], LlmKey.objects.exclude(id=key.id))
        for name, value in values.items():
            setattr(key, name, value)
        key.updated_at = now()
        key.save()
        _tell(actor, key, "changed")
        return key


def delete_key(actor: Actor, key_id: uuid.UUID) -> None:
    """Forget a key. Locks: the rules, the key. Emits: LlmKeyChanged. Raises: LlmKeyMissing, RoleMissing."""
    require(actor, "models:write", role="admin")
    with tenant_transaction(actor.org_id):
        touch_policy(actor)
        key = _lock(key_id)
        _tell(actor, key, "deleted")
        key.delete()


def record_check(actor: Actor, key_id: uuid.UUID, status: KeyStatus, error: str = "") -> LlmKey:
    """Keep what a vendor said of a key. Locks: the rules, the key. Emits: LlmKeyChanged. Raises: LlmKeyMissing."""
    with tenant_transaction(actor.org_id):
        touch_policy(actor)
        key = _lock(key_id)
        was, key.status = key.status, status
        key.last_error, key.checked_at = error[:300], now()
        key.save(update_fields=["status", "last_error", "checked_at"])
        if status == KeyStatus.REFUSED and was != status:
            _tell(actor, key, "refused")
            message = f"The model key {key.name} was refused by its vendor and is not used any more."
            people = Membership.objects.filter(role__in=("owner", "admin")).values_list("user_id", flat=True)
            for person in sorted(people):
                tell_person(person, NotificationCreated(message=message, urgency="high"))
        return key


def note_refused(org_id: uuid.UUID, key_id: uuid.UUID) -> None:
    """Take a key out of use that its vendor refused in mid-call; it may be gone already."""
    try:
        record_check(system_actor(org_id), key_id, KeyStatus.REFUSED, "The vendor refused it during a call.")
    except LlmKeyMissing:
        return


def open_key(key: LlmKey) -> SecretStr:
    """Open a key."""
    return SecretStr(open_text(key.sealed, key.key_id, key.id))


def _lock(key_id: uuid.UUID) -> LlmKey:
    key = LlmKey.objects.select_for_update().filter(id=key_id).first()
    if key is None:
        raise LlmKeyMissing("There is no such key.")
    return key


def _refuse_taken(name: str, others: QuerySet[LlmKey]) -> None:
    if others.filter(name=name).exists():
        raise NameTaken("A key with this name exists.", fields={"name": "taken"})


def _tell(actor: Actor, key: LlmKey, change: Any) -> None:
    record_audit(actor, _RECORDED[change], Subject.of("model_key", key), vendor=key.vendor)
    announce(
        LlmKeyChanged(
            key_id=str(key.id),
            name=key.name,
            vendor=key.vendor,
            change=change,
            user_id=str(actor.user_id) if actor.user_id else None,
        ),
    )
