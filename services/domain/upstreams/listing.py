"""Keeping what a server was found to be: its tools, or why it could not be asked."""

from __future__ import annotations

import uuid
from datetime import timedelta

from services.domain.approvals.actions import Question, request_approval
from services.domain.approvals.models import ApprovalStatus
from services.domain.errors import SlipwayError, UpstreamUnauthorised
from services.domain.tenancy.transaction import tenant_transaction
from services.domain.upstreams.credentials import SERVER_GRANTS
from services.domain.upstreams.models import UpstreamServer, UpstreamStatus
from services.domain.upstreams.telling import MCP_TOOLS, close_questions, tell_state
from services.domain.upstreams.tools import (
    UNSTORABLE,
    Listing,
    digest_of,
    keep_listings,
    withheld_tools,
)
from services.kit.clock import now

_NAMED = 20
_NOTED_EVERY = timedelta(minutes=1)


def record_listing(
    org_id: uuid.UUID, server_id: uuid.UUID, tools: list[Listing], *, shown_to: uuid.UUID | None = None
) -> UpstreamServer | None:
    """Keep what a server lists, and ask a person about what differs from what was reviewed; None when it is gone.

    `shown_to` is a person who has just registered or connected the server: the first listing that a person gets to
    see counts as reviewed, any later one does not.
    Locks: the server. Emits: McpServerChanged, NotificationCreated, ApprovalRequested. Raises: UpstreamRefused.
    """
    kept = keep_listings(tools)
    with tenant_transaction(org_id):
        server = _lock(server_id)
        if server is None:
            return None
        before = (server.status, server.tools_digest)
        server.tools, server.tools_digest = kept, digest_of(kept)
        server.listed_at = server.checked_at = now()
        if shown_to is not None and server.reviewed is None:
            server.reviewed = {tool["listing"]["name"]: tool for tool in kept}
        withheld = [tool.name for tool in withheld_tools(server)]
        server.status = UpstreamStatus.CHANGED if withheld else UpstreamStatus.OK
        server.last_error = _words(withheld) if withheld else ""
        server.save()
        if before != (server.status, server.tools_digest):
            tell_state(server)
            close_questions(server, ApprovalStatus.EXPIRED)
            if withheld:
                _ask(server, withheld)
        return server


def record_failure(org_id: uuid.UUID, server_id: uuid.UUID, error: SlipwayError) -> UpstreamServer | None:
    """Keep why a server could not be asked; None when it is gone. Emits: McpServerChanged, NotificationCreated."""
    is_refusal = isinstance(error, UpstreamUnauthorised)
    status = UpstreamStatus.UNAUTHORISED if is_refusal else UpstreamStatus.UNREACHABLE
    with tenant_transaction(org_id):
        server = _lock(server_id)
        if server is None:
            return None
        words = SERVER_GRANTS.words(error.message, server.name) if is_refusal else error.message
        moment, reason = now(), UNSTORABLE.sub("\ufffd", words[:500])
        was, last = server.status, server.checked_at
        if (was, server.last_error) == (status, reason) and last is not None and last > moment - _NOTED_EVERY:
            return server
        server.status, server.last_error, server.checked_at = status, reason, moment
        server.save(update_fields=["status", "last_error", "checked_at"])
        if was != status:
            tell_state(server)
        return server


def _lock(server_id: uuid.UUID) -> UpstreamServer | None:
    return UpstreamServer.objects.select_for_update().filter(id=server_id).first()


def _words(withheld: list[str]) -> str:
    named = ", ".join(withheld[:_NAMED]) + (", …" if len(withheld) > _NAMED else "")
    return f"These tools are withheld until a person has reviewed them: {named}"[:500]


def _ask(server: UpstreamServer, withheld: list[str]) -> None:
    """Put the question before the organisation's people. A personal server is nobody else's matter."""
    if server.owner_id is not None:
        return
    subject = {
        "server_id": str(server.id),
        "server": server.name,
        "digest": server.tools_digest,
        "tools": withheld[:_NAMED],
    }
    request_approval(Question(org_id=server.org_id, kind=MCP_TOOLS, subject=subject))
