"""Reading secrets, but not their values."""

from __future__ import annotations

import uuid

from services.domain.actors import Actor
from services.domain.errors import Missing
from services.domain.vault.actions import list_secrets
from services.domain.vault.models import Secret


def get_secret(actor: Actor, secret_id: uuid.UUID) -> Secret:
    """Return one secret, in the tenant's transaction. Raises: Missing."""
    secret = list_secrets(actor).filter(id=secret_id).first()
    if secret is None:
        raise Missing("There is no such secret.")
    return secret
