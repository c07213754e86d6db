"""Keeping secrets: their values by version, where they may go, and who may have them."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any

from django.db.models import QuerySet
from pydantic import SecretStr

from services.domain.actors import Actor, require
from services.domain.audit.models import AuditAction
from services.domain.audit.recording import Subject, record_audit
from services.domain.errors import Invalid, Missing, NameTaken, NotPermitted, QueueFull
from services.domain.events.announcing import announce_change
from services.domain.events.listed import SecretChanged
from services.domain.tenancy.transaction import tenant_transaction
from services.domain.vault.fields import NewSecret, SecretFields, check_expiry, check_name, check_value
from services.domain.vault.keyring import seal_text
from services.domain.vault.models import Secret, SecretMode, SecretVersion
from services.domain.vault.rights import (
    check_grants,
    is_own,
    lock_own_secret,
    lock_visible_secret,
    refuse_agents,
    visible_to,
)
from services.kit.clock import now
from services.kit.ids import uuid7

MAX_SECRETS = 1_000
MAX_VERSIONS = 10
VERSIONS_KEPT = timedelta(days=90)


def create_secret(actor: Actor, fields: NewSecret) -> Secret:
    """Seal a value under a name. The organisation's secrets are kept by its admins, personal ones by members.

    Raises: Invalid, NameTaken, AgentMissing, AgentNotOwned, QueueFull, RoleMissing.
    """
    refuse_agents(actor)
    require(actor, "secrets:write", role="member" if fields.is_personal else "admin")
    if fields.is_personal and actor.user_id is None:
        raise NotPermitted("Only a person has personal secrets.")
    check_name(fields.name)
    check_value(fields.value.get_secret_value(), fields.mode)
    check_expiry(fields.expires_at)
    values = SecretFields.checked(fields)
    for name in ("name", "value", "is_personal"):
        del values[name]
    owner_id = actor.user_id if fields.is_personal else None
    with tenant_transaction(actor.org_id):
        check_grants(actor, owner_id, fields.agent_ids)
        if Secret.objects.filter(name=fields.name, owner_id=owner_id).exists():
            raise NameTaken("A secret with this name exists.", fields={"name": "taken"})
        if Secret.objects.count() >= MAX_SECRETS:
            raise QueueFull(f"An organisation has at most {MAX_SECRETS} secrets.", limit=MAX_SECRETS)
        secret = Secret.objects.create(
            org_id=actor.org_id, owner_id=owner_id, name=fields.name, created_by_id=actor.user_id, **values
        )
        _seal(actor, secret, fields.value.get_secret_value(), number=1)
        announce_change(SecretChanged, secret, "created")
        record_audit(
            actor,
            AuditAction.SECRET_CREATED,
            Subject.of("secret", secret),
            **_granted(secret),
            mode=secret.mode,
        )
        return secret


def update_secret(
    actor: Actor, secret_id: uuid.UUID, changes: dict[str, Any], value: SecretStr | None = None
) -> Secret:
    """Change some fields, the value, or both; a value is a new version.

    A place that is new, or the environment, needs the value again, and what was sealed before is forgotten: whoever
    may say where a value goes could otherwise read it. Locks: the secret.
    Raises: Missing, Invalid, AgentMissing, AgentNotOwned, RoleMissing, NotPermitted.
    """
    with tenant_transaction(actor.org_id):
        secret = lock_own_secret(actor, secret_id)
        current = {name: getattr(secret, name) for name in SecretFields.model_fields}
        values = SecretFields.model_validate(current | changes).checked()
        is_wider = _is_wider(secret, values)
        if is_wider and value is None:
            raise Invalid(
                "A new place for a secret needs its value again.",
                fields={"value": "needed when the mode or a binding is new"},
            )
        if "agent_ids" in changes:
            check_grants(actor, secret.owner_id, values["agent_ids"])
        if values["expires_at"] != secret.expires_at:
            check_expiry(values["expires_at"])
            secret.noticed_at = None
        for name, given in values.items():
            setattr(secret, name, given)
        if value is not None:
            _add_version(actor, secret, value)
        if is_wider:
            secret.trusted_agent_ids = []
            secret.versions.exclude(number=secret.version).delete()
        secret.updated_at = now()
        secret.save()
        announce_change(SecretChanged, secret)
        changed = sorted([*changes, *(["value"] if value is not None else [])])
        record_audit(
            actor,
            AuditAction.SECRET_CHANGED,
            Subject.of("secret", secret),
            **_granted(secret),
            changed=changed,
        )
        return secret


def put_secret_value(actor: Actor, secret_id: uuid.UUID, value: SecretStr) -> Secret:
    """Seal a new value as the version in use. Raises: Missing, Invalid, RoleMissing, NotPermitted."""
    return update_secret(actor, secret_id, {}, value)


def roll_back_secret(actor: Actor, secret_id: uuid.UUID, number: int) -> Secret:
    """Put a version that is still kept back into use. Locks: the secret. Raises: Missing, RoleMissing."""
    with tenant_transaction(actor.org_id):
        secret = lock_own_secret(actor, secret_id)
        if number == secret.version:
            return secret
        if not secret.versions.filter(number=number).update(retired_at=None):
            raise Missing("This version is not kept any more.")
        _use(secret, number)
        secret.save(update_fields=["version", "updated_at"])
        announce_change(SecretChanged, secret)
        record_audit(
            actor,
            AuditAction.SECRET_CHANGED,
            Subject.of("secret", secret),
            **_granted(secret),
            changed=["version"],
        )
        return secret


def delete_secret(actor: Actor, secret_id: uuid.UUID) -> None:
    """Delete a secret with all its versions; the log of its uses stays. Locks: the secret.

    An admin may end a personal one, which nobody but its owner may change. Raises: Missing, RoleMissing.
    """
    with tenant_transaction(actor.org_id):
        secret = lock_visible_secret(actor, secret_id)
        if not is_own(actor, secret):
            require(actor, "secrets:write", role="admin")
        announce_change(SecretChanged, secret, "deleted")
        record_audit(actor, AuditAction.SECRET_DELETED, Subject.of("secret", secret))
        secret.delete()


def _granted(secret: Secret) -> dict[str, Any]:
    return {"agents": None if secret.agent_ids is None else [str(each) for each in secret.agent_ids]}


def list_secrets(actor: Actor) -> QuerySet[Secret]:
    """Return the secrets that the actor may know of; to be read in the tenant's transaction."""
    require(actor, "secrets:read")
    return Secret.objects.filter(visible_to(actor))


def _is_wider(secret: Secret, values: dict[str, Any]) -> bool:
    was_brokered = secret.mode == SecretMode.BROKERED
    is_exposed = was_brokered and values["mode"] == SecretMode.ENV
    return is_exposed or any(binding not in secret.bindings for binding in values["bindings"])


def _add_version(actor: Actor, secret: Secret, value: SecretStr) -> None:
    text = value.get_secret_value()
    check_value(text, secret.mode)
    secret.last_version += 1
    _seal(actor, secret, text, number=secret.last_version)
    _use(secret, secret.last_version)
    kept = secret.versions.order_by("-number").values_list("id", flat=True)[:MAX_VERSIONS]
    secret.versions.exclude(id__in=list(kept)).exclude(number=secret.version).delete()


def _use(secret: Secret, number: int) -> None:
    moment = now()
    secret.versions.filter(number=secret.version).update(retired_at=moment)
    secret.version, secret.updated_at = number, moment


def _seal(actor: Actor, secret: Secret, text: str, *, number: int) -> None:
    row_id = uuid7()
    sealed = seal_text(text, row_id)
    SecretVersion.objects.create(
        id=row_id,
        org_id=secret.org_id,
        secret=secret,
        number=number,
        sealed=sealed.blob,
        key_id=sealed.key_id,
        created_by_id=actor.user_id,
    )
