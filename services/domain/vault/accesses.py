"""The log of who used which credential, when and how; it also says when each was used last."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Self, TypeAlias

from django.db.models import Q, QuerySet

from services.domain.actors import Actor
from services.domain.integrations.models import Integration
from services.domain.llm.models import LlmKey
from services.domain.tasks.models import Task
from services.domain.tenancy.transaction import tenant_transaction
from services.domain.upstreams.models import UpstreamServer
from services.domain.vault.models import AccessWay, CredentialAccess, CredentialKind, Secret, SecretVersion
from services.kit.clock import now

MAX_PATH_CHARS = 200
Keeper: TypeAlias = Secret | UpstreamServer | Integration | LlmKey
"""A row that keeps a credential."""
_ROWS: Mapping[CredentialKind, type[Keeper]] = {
    CredentialKind.SECRET: Secret,
    CredentialKind.MCP_SERVER: UpstreamServer,
    CredentialKind.ACCOUNT: Integration,
    CredentialKind.MODEL_KEY: LlmKey,
}
_KINDS = {model: kind for kind, model in _ROWS.items()}


@dataclass(frozen=True, slots=True)
class Used:
    """A credential that is used: its row, its name at that time, and the version of those that have versions."""

    kind: CredentialKind
    id: uuid.UUID
    name: str
    version: int | None = None

    @classmethod
    def of(cls, row: Keeper) -> Self:
        """Return what a row keeps, as it is now."""
        return cls(_KINDS[type(row)], row.id, row.name, row.version if isinstance(row, Secret) else None)


@dataclass(frozen=True, slots=True)
class Access:
    """Uses of one credential by one piece of work or person: how, where to, and how often between two moments."""

    used: Used
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

    @classmethod
    def by_task(cls, task: Task, used: Used, way: AccessWay, **where: Any) -> Self:
        """Return one use by a task."""
        return cls(
            used,
            way,
            user_id=task.user_id,
            agent_id=task.agent_id,
            workspace_id=task.workspace_id,
            task_id=task.id,
            **where,
        )

    @classmethod
    def by_person(cls, actor: Actor, used: Used, way: AccessWay, **where: Any) -> Self:
        """Return one use that a person asked for, outside of any task."""
        return cls(used, way, user_id=actor.user_id, **where)

    def row(self, org_id: uuid.UUID) -> CredentialAccess:
        """Return the row that says so."""
        return CredentialAccess(
            org_id=org_id,
            credential_kind=self.used.kind,
            credential_id=self.used.id,
            credential_name=self.used.name,
            version=self.used.version,
            way=self.way,
            user_id=self.user_id,
            agent_id=self.agent_id,
            workspace_id=self.workspace_id,
            task_id=self.task_id,
            host=self.host[:255],
            method=self.method[:20],
            path=self.path[:MAX_PATH_CHARS],
            count=self.count,
            first_at=self.first_at,
            last_at=self.last_at,
            approval_id=self.approval_id,
        )


def record_accesses(org_id: uuid.UUID, accesses: Sequence[Access]) -> None:
    """Write uses down, and when each credential and version was used last. Locks: the credentials' rows, in order."""
    if not accesses:
        return
    with tenant_transaction(org_id):
        CredentialAccess.objects.bulk_create(access.row(org_id) for access in accesses)
        last: dict[Used, datetime] = {}
        for access in accesses:
            last[access.used] = max(access.last_at, last.get(access.used, access.last_at))
        for used, moment in sorted(last.items(), key=lambda entry: (entry[0].kind, entry[0].id)):
            older = Q(last_used_at=None) | Q(last_used_at__lt=moment)
            _ROWS[used.kind]._default_manager.filter(older, id=used.id).update(last_used_at=moment)
            if used.version is not None:
                SecretVersion.objects.filter(older, secret_id=used.id, number=used.version).update(
                    last_used_at=moment
                )


def list_accesses(row: Keeper) -> QuerySet[CredentialAccess]:
    """Return the uses of a credential that the caller may know of, in the tenant's transaction."""
    used = Used.of(row)
    return CredentialAccess.objects.filter(credential_kind=used.kind, credential_id=used.id)
