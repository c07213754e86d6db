"""The log of who had which version of a secret, when and how."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from django.db.models import Q

from services.domain.tenancy.transaction import tenant_transaction
from services.domain.vault.models import AccessWay, Secret, SecretAccess, SecretVersion
from services.kit.clock import now

MAX_PATH_CHARS = 200


@dataclass(frozen=True, slots=True)
class Access:
    """Uses of one version by one piece of work: how, where to, and how often between two moments."""

    secret_id: uuid.UUID
    secret_name: str
    version: int
    way: AccessWay
    user_id: uuid.UUID | None = None
    agent_id: uuid.UUID | None = None
    workspace_id: uuid.UUID | None = None
    task_id: uuid.UUID | None = None
    host: str = ""
    method: str = ""
    path: str = ""
    count: int = 1
    first_at: datetime = field(default_factory=now)
    last_at: datetime = field(default_factory=now)
    approval_id: uuid.UUID | None = None

    def row(self, org_id: uuid.UUID) -> SecretAccess:
        """Return the row that says so."""
        return SecretAccess(
            org_id=org_id,
            secret_id=self.secret_id,
            secret_name=self.secret_name,
            version=self.version,
            way=self.way,
            user_id=self.user_id,
            agent_id=self.agent_id,
            workspace_id=self.workspace_id,
            task_id=self.task_id,
            host=self.host,
            method=self.method[:20],
            path=self.path[:MAX_PATH_CHARS],
            count=self.count,
            first_at=self.first_at,
            last_at=self.last_at,
            approval_id=self.approval_id,
        )


def record_accesses(org_id: uuid.UUID, accesses: Sequence[Access]) -> None:
    """Write uses down, and when each secret and version was used last."""
    if not accesses:
        return
    with tenant_transaction(org_id):
        SecretAccess.objects.bulk_create(access.row(org_id) for access in accesses)
        last: dict[tuple[uuid.UUID, int], datetime] = {}
        for access in accesses:
            key = (access.secret_id, access.version)
            last[key] = max(access.last_at, last.get(key, access.last_at))
        for (secret_id, version), moment in sorted(last.items()):
            older = Q(last_used_at=None) | Q(last_used_at__lt=moment)
            Secret.objects.filter(older, id=secret_id).update(last_used_at=moment)
            SecretVersion.objects.filter(older, secret_id=secret_id, number=version).update(
                last_used_at=moment
            )
