"""Telling people that a server is in another state, and closing the questions that were about an older listing."""

from __future__ import annotations

import uuid

from services.domain.approvals.models import Approval, ApprovalStatus
from services.domain.events.announcing import announce, announce_change
from services.domain.events.listed import McpServerChanged
from services.domain.events.types import ApprovalDecided, NotificationCreated
from services.domain.push.telling import tell_person
from services.domain.upstreams.models import UpstreamServer, UpstreamStatus
from services.kit.clock import now

MCP_TOOLS = "mcp_tools"
_NEEDS_A_PERSON = (UpstreamStatus.CHANGED, UpstreamStatus.UNAUTHORISED)


def tell_state(server: UpstreamServer) -> None:
    """Record that a server's state has changed, and notify its person of what only a person can mend.

    Emits: McpServerChanged, NotificationCreated.
    """
    announce_change(McpServerChanged, server)
    person = server.owner_id or server.created_by_id
    if server.status in _NEEDS_A_PERSON and person is not None:
        message = f"MCP server {server.name}: {server.last_error}"
        tell_person(person, NotificationCreated(message=message, urgency="high"))


def close_questions(server: UpstreamServer, status: ApprovalStatus, user_id: uuid.UUID | None = None) -> None:
    """Close what is still asked about a server's tools. Emits: ApprovalDecided."""
    # One that is being decided right now is left to whoever decides it: they wait for the server that is locked here.
    asked = Approval.objects.select_for_update(skip_locked=True, of=("self",)).filter(
        kind=MCP_TOOLS, status=ApprovalStatus.PENDING, subject__server_id=str(server.id)
    )
    for approval in asked:
        approval.status, approval.decided_at, approval.decided_by_id = status, now(), user_id
        approval.save(update_fields=["status", "decided_at", "decided_by"])
        announce(ApprovalDecided(approval_id=str(approval.id), status=status.value))
