"""Moving everything that is sealed under the newest vault key."""

from __future__ import annotations

from django.db.models import Model

from services.domain.approvals.models import HeldCall
from services.domain.chats.models import Link, LinkEntry
from services.domain.idempotency.models import KeptAnswer
from services.domain.identity.models import ApiToken
from services.domain.integrations.models import Integration, IntegrationAuthorization
from services.domain.letters.models import OutgoingLetter
from services.domain.llm.models import CallLog, LlmKey
from services.domain.playbooks.models import Playbook
from services.domain.push.models import PushKey, PushSubscription
from services.domain.upstreams.models import UpstreamAuthorization, UpstreamServer
from services.domain.vault.keyring import keyring
from services.domain.vault.models import SecretVersion
from services.domain.webhooks.models import WebhookEndpoint
from services.kit.vault import Sealed

SEALED: tuple[tuple[type[Model], str, str], ...] = (
    (SecretVersion, "sealed", "key_id"),
    (Link, "sealed_config", "key_id"),
    (LinkEntry, "sealed", "key_id"),
    (Playbook, "sealed_hook_secret", "hook_key_id"),
    (UpstreamServer, "sealed", "key_id"),
    (UpstreamAuthorization, "sealed", "key_id"),
    (LlmKey, "sealed", "key_id"),
    (CallLog, "sealed", "key_id"),
    (Integration, "sealed", "key_id"),
    (IntegrationAuthorization, "sealed", "key_id"),
    (HeldCall, "sealed_arguments", "key_id"),
    (PushSubscription, "sealed", "key_id"),
    (PushKey, "sealed", "key_id"),
    (KeptAnswer, "sealed", "key_id"),
    (OutgoingLetter, "sealed", "key_id"),
    (WebhookEndpoint, "sealed", "key_id"),
    (ApiToken, "sealed", "key_id"),
    (ApiToken, "previous_sealed", "previous_key_id"),
)
"""Every sealed column: its model, its name, and the column that names its key."""


def all_tenants_reseal() -> int:
    """Reseal what is under an older key; returns how many rows. Safe to stop, to repeat, and to run beside writers.

    Raises: VaultError when a row's key is not configured any more.
    """
    ring, moved = keyring(), 0
    for model, column, key_column in SEALED:
        rows = model._default_manager.using("operator")
        outdated = rows.exclude(**{key_column: ring.sealing_key_id}).exclude(**{column: None})
        for row in outdated.iterator():
            key_id = getattr(row, key_column)
            fresh = ring.reseal(Sealed(key_id, bytes(getattr(row, column))), context=row.pk.bytes)
            # Only if nobody has written another value meanwhile.
            still = rows.filter(pk=row.pk, **{key_column: key_id, column: getattr(row, column)})
            moved += still.update(**{column: fresh.blob, key_column: fresh.key_id})
    return moved
