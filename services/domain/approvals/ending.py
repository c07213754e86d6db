"""What becomes of the questions about a task's calls when the task ends."""

from __future__ import annotations

from services.domain.approvals.models import Approval, ApprovalStatus
from services.domain.approvals.subjects import TOOL_CALL
from services.domain.approvals.telling import tell_decided
from services.domain.tasks.models import Task
from services.kit.clock import now


def close_calls_of(task: Task) -> None:
    """Close what is still asked about the calls of a task that ends, in its transaction. Emits: ApprovalDecided."""
    # One that is being decided right now is left to the sweep: whoever decides it may wait for a stream held here.
    asked = Approval.objects.select_for_update(skip_locked=True, of=("self",)).filter(
        task=task, kind=TOOL_CALL, status=ApprovalStatus.PENDING
    )
    for approval in asked:
        approval.status, approval.decided_at = ApprovalStatus.EXPIRED, now()
        approval.save(update_fields=["status", "decided_at"])
        tell_decided(approval)
