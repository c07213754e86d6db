"""What people are told of approvals: on the stream of the workspace, and on the organisation's."""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from typing import Any

from services.domain.approvals.models import Approval
from services.domain.events.announcing import announce
from services.domain.events.log import record_event
from services.domain.events.types import ApprovalAgreed, ApprovalDecided, ApprovalRequested, EventData
from services.domain.questions.announcing import announce_approval, push_request

# A stream is no place for what fills pages; the approval itself has all of it.
MAX_TOLD_BYTES = 8_000


def tell_requested(approval: Approval) -> None:
    """Say that something is asked for. Emits: ApprovalRequested. Queues: PushApproval."""
    subject = _short(approval.subject)
    _tell(
        approval,
        ApprovalRequested(
            approval_id=str(approval.id),
            kind=approval.kind,
            subject=subject,
            workspace_id=_text(approval.workspace_id),
        ),
    )
    push_request(approval)


def tell_agreed(approval: Approval, user_id: uuid.UUID, agreed: int) -> None:
    """Say that one person agreed and more must. Emits: ApprovalAgreed."""
    _tell(
        approval,
        ApprovalAgreed(
            approval_id=str(approval.id),
            user_id=str(user_id),
            agreed=agreed,
            needed=approval.people,
            workspace_id=_text(approval.workspace_id),
        ),
    )


def tell_decided(approval: Approval, agreed_by: Sequence[uuid.UUID] = ()) -> None:
    """Say what became of it, and whose word that was. Emits: ApprovalDecided."""
    _tell(
        approval,
        ApprovalDecided(
            approval_id=str(approval.id),
            status=approval.status,
            scope=approval.scope,
            workspace_id=_text(approval.workspace_id),
            decided_by=_text(approval.decided_by_id),
            agreed_by=[str(user_id) for user_id in agreed_by],
        ),
    )


def _tell(approval: Approval, event: EventData) -> None:
    """Record an event for those who follow the workspace, and for those who follow the organisation, in this order."""
    if approval.workspace_id is not None:
        record_event(f"workspace:{approval.workspace_id}", event, task_id=approval.task_id)
    announce(event, task_id=approval.task_id)
    announce_approval(approval)


def _short(subject: dict[str, Any]) -> dict[str, Any]:
    if len(json.dumps(subject)) <= MAX_TOLD_BYTES:
        return subject
    return {key: value for key, value in subject.items() if len(json.dumps(value)) <= 500} | {"is_cut": True}


def _text(row_id: uuid.UUID | None) -> str | None:
    return str(row_id) if row_id is not None else None
