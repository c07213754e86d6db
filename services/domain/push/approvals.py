"""What people are shown in their browsers of an approval that waits for them."""

from __future__ import annotations

from services.domain.approvals.kinds import KINDS
from services.domain.approvals.models import Approval, ApprovalStatus
from services.domain.identity.models import Membership
from services.domain.outbox.jobs import PushApproval
from services.domain.push.models import PushSubscription
from services.domain.push.telling import MAX_BODY_CHARS, PushDue
from services.domain.tenancy.transaction import tenant_transaction
from services.domain.vault.keyring import open_json
from services.kit.clock import now
from services.kit.environment import environment


def find_approval_push(job: PushApproval) -> PushDue | None:
    """Return what a browser is to be shown; None when it is gone, or nobody's word is waited for any more."""
    with tenant_transaction(job.org_id):
        row = PushSubscription.objects.filter(id=job.subscription_id, user=job.user_id).first()
        waiting = Approval.objects.filter(status=ApprovalStatus.PENDING, expires_at__gt=now())
        approval = waiting.select_related("agent").filter(id=job.approval_id).first()
        is_member = Membership.objects.filter(user=job.user_id).exists()
        if row is None or approval is None or not is_member:
            return None
        kind = KINDS[approval.kind]
        who = approval.agent.name if approval.agent is not None else kind.who
        text = f"{who} {kind.question} {kind.show(approval.subject)}"
        tag = f"approval-{approval.id.hex[-20:]}"
        payload = {
            "title": "Slipway",
            "body": text[:MAX_BODY_CHARS],
            "tag": tag,
            "url": f"{environment().public_url.rstrip('/')}/approvals",
        }
        return PushDue(open_json(row.sealed, row.key_id, row.id), payload, "high", tag)
