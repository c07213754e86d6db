"""What a model reads about a call that a person must allow."""

from __future__ import annotations

from mcp_types import CallToolResult, TextContent

from services.domain.approvals.held import Standing

WAIT_TOOL = "approval_wait"
WAIT_SERVER = "platform"


def failed(text: str) -> CallToolResult:
    """Return a result that says why there is none."""
    return CallToolResult(content=[TextContent(type="text", text=text)], is_error=True)


def denied_by_rule(name: str) -> CallToolResult:
    """Return the answer to a call that a rule forbids."""
    return failed(
        f"denied: A rule of your organisation forbids this call of {name}. Do not try it in another way; say in your "
        "answer what you could not do."
    )


def others_must_allow(name: str) -> CallToolResult:
    """Return the answer to a person's own program whose person could not allow the call alone."""
    return failed(
        f"others_must_allow: A rule of your organisation has others allow {name}, and what your own program calls is "
        "shown to nobody. Let one of your agents do it: then they are asked."
    )


def words_of(standing: Standing) -> str:
    """Return how a held call stands, and what is to be done about it: `<code>: <message>`."""
    waiting = f'Call {WAIT_TOOL} of the server {WAIT_SERVER} with {{"approval_id": "{standing.approval_id}"}}'
    match standing.outcome:
        case "pending":
            return (
                f"approval_pending: The call is held as approval {standing.approval_id}: {_who(standing)}. "
                f"{waiting} to wait for the decision and get the result. Do not make the call again, and do nothing "
                "that needs it before."
            )
        case "allowed" | "running":
            return (
                f"approval_running: Approval {standing.approval_id} was allowed and the call is under way. {waiting} "
                "to get its result."
            )
        case "denied":
            return (
                f"approval_denied: A person denied this call (approval {standing.approval_id}). Do not try it again or "
                "in another way; go on without it, and say so in your answer."
            )
        case "expired":
            return (
                f"approval_expired: Nobody decided approval {standing.approval_id} in time, so the call was not made. "
                "Make it again only if it still matters: that asks anew."
            )
        case "refused":
            return f"approval_void: {standing.reason}"
        case "lost":
            return f"outcome_unknown: {standing.reason}"
    return f"approval_settled: Approval {standing.approval_id} was allowed."


def _who(standing: Standing) -> str:
    if standing.people == 1:
        return "a person must allow it"
    return f"{standing.people} people must agree to it, {standing.agreed} have so far"
