"""What a lasting yes to the use of a credential changes: its agent is not asked about any more."""

from __future__ import annotations

import uuid

from services.domain.actors import Actor
from services.domain.approvals.grants import register_grant
from services.domain.approvals.models import Approval, ApprovalScope
from services.domain.approvals.subjects import CREDENTIAL
from services.domain.vault.rights import lock_own_secret


def trust_agent(actor: Actor, approval: Approval) -> None:
    """Add the agent to those that use the secret unasked, in the caller's transaction. Locks: the secret.

    Raises: Missing, RoleMissing, ScopeMissing, NotPermitted.
    """
    secret = lock_own_secret(actor, uuid.UUID(approval.subject["credential_id"]))
    if approval.agent_id is not None and approval.agent_id not in secret.trusted_agent_ids:
        secret.trusted_agent_ids = [*secret.trusted_agent_ids, approval.agent_id]
        secret.save(update_fields=["trusted_agent_ids"])


def register() -> None:
    """Tell the approvals what such a yes does."""
    register_grant(CREDENTIAL, ApprovalScope.ALWAYS, trust_agent)
