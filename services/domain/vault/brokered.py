"""Secrets that never enter a sandbox: what stands for them there, and opening one for one request on its way out."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from services.domain.approvals.actions import Question, request_approval, use_approval
from services.domain.approvals.models import Approval, ApprovalScope, ApprovalStatus
from services.domain.approvals.rules import Terms
from services.domain.approvals.subjects import CREDENTIAL, CredentialSubject
from services.domain.tasks.models import ACTIVE, Task
from services.domain.tenancy.transaction import tenant_transaction
from services.domain.vault.accesses import Access, record_accesses
from services.domain.vault.bindings import Binding, read_bindings
from services.domain.vault.grants import access_of, list_granted_secrets, open_secret
from services.domain.vault.models import AccessWay, Secret, SecretApproval, SecretMode, SecretPlaceholder
from services.kit.clock import now

REVOKED = "credential_revoked"
ASKED = "credential_approval_pending"
DENIED = "credential_denied"
MAX_SHOWN_CHARS = 200


class CredentialRefused(Exception):
    """The value is not handed out: one of the reasons above, which say nothing of the value."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Credential:
    """A brokered secret that a task holds a placeholder of. The value is not here."""

    secret_id: uuid.UUID
    name: str
    placeholder: str
    bindings: tuple[Binding, ...]
    approval: str


@dataclass(frozen=True, slots=True)
class Use:
    """One request that wants a value: whose, and where the value would go. `bindings` are those that matched."""

    org_id: uuid.UUID
    task_id: uuid.UUID
    secret_id: uuid.UUID
    bindings: tuple[Binding, ...]
    host: str
    method: str
    path: str


@dataclass(frozen=True, slots=True)
class Opened:
    """A value for one request, and the entry of the log that says so."""

    value: str = field(repr=False)
    access: Access


Standing = Literal["allowed", "asked"]
FindStanding = Callable[[Use], Standing]
OpenForUse = Callable[[Use], Opened]


def list_credentials(task_id: uuid.UUID) -> tuple[Credential, ...]:
    """Return what stands for what in a task's sandbox, in the tenant's transaction.

    Also what was taken away since: a request that wants it is refused with a reason.
    """
    rows = SecretPlaceholder.objects.filter(task_id=task_id).select_related("secret").order_by("secret__name")
    return tuple(
        Credential(
            secret_id=row.secret_id,
            name=row.secret.name,
            placeholder=row.text,
            bindings=read_bindings(row.secret.bindings),
            approval=row.secret.approval,
        )
        for row in rows
    )


def find_standing(use: Use) -> Standing:
    """Say whether a value may be used now, and ask its people where they have to be asked.

    Emits: ApprovalRequested. Raises: CredentialRefused.
    """
    with tenant_transaction(use.org_id):
        task, secret = _find(use)
        question = _find_question(use, task, secret)
        if question is None or _is_allowed(question, secret):
            return "allowed"
        asked = request_approval(question)
        if asked is None or asked.status != ApprovalStatus.DENIED:
            return "asked"
    raise CredentialRefused(DENIED)


def open_for_use(use: Use) -> Opened:
    """Open a value for one request and write it into the log first; a yes for one use is used up.

    Raises: CredentialRefused, VaultError.
    """
    with tenant_transaction(use.org_id):
        task, secret = _find(use)
        question = _find_question(use, task, secret)
        approval: Approval | None = None
        if question is not None and secret.approval == SecretApproval.EACH_USE:
            approval = use_approval(question)
            if approval is None:
                raise CredentialRefused(ASKED)
        elif question is not None and not _is_allowed(question, secret):
            raise CredentialRefused(ASKED)
        access = _access(secret, task, use, approval)
        record_accesses(use.org_id, [access])
        return Opened(open_secret(secret), access)


def _find(use: Use) -> tuple[Task, Secret]:
    """Return the task at work and its secret, as they are now. Raises: CredentialRefused."""
    task = Task.objects.select_related("agent").filter(id=use.task_id, status__in=ACTIVE).first()
    if task is None or not SecretPlaceholder.objects.filter(task=task, secret_id=use.secret_id).exists():
        raise CredentialRefused(REVOKED)
    for secret in list_granted_secrets(task.agent, task.user_id):
        if secret.id == use.secret_id and secret.mode == SecretMode.BROKERED:
            known = read_bindings(secret.bindings)
            if all(binding in known for binding in use.bindings):
                return task, secret
    raise CredentialRefused(REVOKED)


def _find_question(use: Use, task: Task, secret: Secret) -> Question | None:
    """Return what to ask before this use; None where nobody has to be asked."""
    if secret.approval == SecretApproval.NEVER or task.agent_id in secret.trusted_agent_ids:
        return None
    place = {"secret_id": str(secret.id), "host": use.host}
    if secret.approval == SecretApproval.EACH_USE:
        place |= {"method": use.method, "path": use.path}
    return Question(
        org_id=task.org_id,
        kind=CREDENTIAL,
        subject=CredentialSubject(
            credential_id=secret.id,
            name=secret.name,
            purpose=f"{use.method} {use.host}{use.path}"[:MAX_SHOWN_CHARS],
        ).model_dump(mode="json"),
        workspace_id=task.workspace_id,
        agent_id=task.agent_id,
        task_id=task.id,
        identity=place,
        terms=_terms_of(secret),
    )


def _terms_of(secret: Secret) -> Terms:
    """Return who decides: the owner of a personal secret, an admin for the organisation's."""
    if secret.owner_id is not None:
        return Terms(decider_ids=(secret.owner_id,))
    return Terms(decider_role="admin")


def _is_allowed(question: Question, secret: Secret) -> bool:
    """Say whether somebody has allowed this: once for each use, or for the whole workspace."""
    allowed = Approval.objects.filter(
        workspace=question.workspace_id,
        kind=CREDENTIAL,
        subject_key=question.key,
        status=ApprovalStatus.ALLOWED,
    )
    if secret.approval == SecretApproval.EACH_USE:
        allowed = allowed.filter(scope=ApprovalScope.ONCE, used_at=None, expires_at__gt=now())
    return allowed.exists()


def _access(secret: Secret, task: Task, use: Use, approval: Approval | None) -> Access:
    return access_of(
        secret,
        task,
        AccessWay.EGRESS,
        host=use.host,
        method=use.method,
        path=use.path,
        approval_id=approval.id if approval else None,
    )
