"""Reading secrets, their versions and their uses, but not their values."""

from __future__ import annotations

import uuid

from django.db.models import QuerySet

from services.domain.actors import Actor
from services.domain.agents.queries import ADMINS
from services.domain.errors import Missing
from services.domain.vault.accesses import list_accesses
from services.domain.vault.actions import list_secrets
from services.domain.vault.models import CredentialAccess, Secret, SecretVersion
from services.domain.vault.rights import is_own


def get_secret(actor: Actor, secret_id: uuid.UUID) -> Secret:
    """Return one secret, in the tenant's transaction. Raises: Missing."""
    secret = list_secrets(actor).filter(id=secret_id).first()
    if secret is None:
        raise Missing("There is no such secret.")
    return secret


def list_secret_versions(actor: Actor, secret_id: uuid.UUID) -> QuerySet[SecretVersion]:
    """Return the versions that are kept, without their values, in the tenant's transaction. Raises: Missing."""
    secret = get_secret(actor, secret_id)
    return SecretVersion.objects.filter(secret=secret).select_related("secret").defer("sealed")


def list_secret_accesses(actor: Actor, secret_id: uuid.UUID) -> QuerySet[CredentialAccess]:
    """Return the uses of a secret, in the tenant's transaction. Raises: Missing."""
    return list_accesses(get_secret(actor, secret_id))


def may_change(actor: Actor, secret: Secret) -> bool:
    """Say whether the actor may change a secret; for what a page shows."""
    if is_own(actor, secret):
        return actor.role != "viewer"
    return secret.owner_id is None and actor.role in ADMINS
