"""What a sandbox may reach now: the allowlist of its agent, and what a person allowed its workspace."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from services.domain.approvals.models import Approval, ApprovalScope, ApprovalStatus
from services.domain.approvals.subjects import EGRESS, EgressSubject
from services.domain.egress.rules import EgressRule, Grant, find_grant, read_rules
from services.domain.plane.models import HOLDS_SLOT, Sandbox
from services.domain.plane.queries import find_sandbox
from services.domain.tasks.models import ACTIVE, Task
from services.domain.tenancy.transaction import tenant_transaction
from services.domain.vault.brokered import Credential, list_credentials
from services.domain.workspaces.models import Workspace
from services.kit.clock import now

MAX_GRANTED = 200


@dataclass(frozen=True, slots=True)
class Policy:
    """The rules of one sandbox at one moment, and whose work they are for. `task_id` None: a person's command."""

    org_id: uuid.UUID
    workspace_id: uuid.UUID
    agent_id: uuid.UUID
    task_id: uuid.UUID | None
    rules: tuple[EgressRule, ...]
    credentials: tuple[Credential, ...] = ()

    def find_grant(self, host: str, port: int) -> Grant | None:
        """Return what is allowed at a host and port; None for nothing."""
        return find_grant(self.rules, host, port)

    def is_looked_into(self, host: str, port: int) -> bool:
        """Say whether TLS to a host is ended at the proxy: for its methods, or because a credential is bound to it."""
        grant = self.find_grant(host, port)
        has_methods = grant is not None and grant.methods is not None
        return has_methods or any(
            binding.is_at(host, port) for credential in self.credentials for binding in credential.bindings
        )


def all_tenants_find_policy(sandbox_id: uuid.UUID) -> Policy | None:
    """Return the policy of a sandbox, whoever's it is; None while nobody is at work in it."""
    sandbox = find_sandbox(sandbox_id)
    if sandbox is None or sandbox.org_id is None or sandbox.workspace_id is None:
        return None
    if sandbox.state not in HOLDS_SLOT:
        return None
    with tenant_transaction(sandbox.org_id):
        workspace = Workspace.objects.select_related("agent").filter(id=sandbox.workspace_id).first()
        task_id = _task_at_work(sandbox)
        if workspace is None or (task_id is None and not _is_held(sandbox)):
            return None
        granted = Approval.objects.filter(
            workspace=workspace, kind=EGRESS, status=ApprovalStatus.ALLOWED, scope=ApprovalScope.ONCE
        )
        subjects = granted.order_by("-id").values_list("subject", flat=True)[:MAX_GRANTED]
        rules = [
            *read_rules(workspace.agent.egress),
            *(EgressSubject.model_validate(subject).rule for subject in subjects),
        ]
        credentials = list_credentials(task_id) if task_id else ()
        return Policy(sandbox.org_id, workspace.id, workspace.agent_id, task_id, tuple(rules), credentials)


def _task_at_work(sandbox: Sandbox) -> uuid.UUID | None:
    if sandbox.task_id is None:
        return None
    at_work = Task.objects.filter(id=sandbox.task_id, sandbox_id=sandbox.id, status__in=ACTIVE)
    return at_work.values_list("id", flat=True).first()


def _is_held(sandbox: Sandbox) -> bool:
    return sandbox.held_until is not None and sandbox.held_until > now()
