"""Held tool calls: kept, looked at, claimed by whoever runs them, and finished. Each is run at most once."""

from __future__ import annotations

import hashlib
import json
import uuid
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Literal

from django.db.models import Q, QuerySet

from services.domain.approvals.actions import Question, request_approval
from services.domain.approvals.checking import find_objection
from services.domain.approvals.deciders import list_good_votes
from services.domain.approvals.models import Approval, ApprovalStatus, HeldCall, HeldState
from services.domain.approvals.rules import ToolUse, Verdict
from services.domain.approvals.subjects import TOOL_CALL, SeenFile, ToolCallSubject
from services.domain.errors import ApprovalMissing, BodyTooLarge, RateLimited
from services.domain.tasks.models import FINAL, Task
from services.domain.tenancy.transaction import tenant_transaction
from services.domain.vault.keyring import open_json, seal_json
from services.kit.clock import now
from services.kit.storable import storable

# Nobody reads more than this, and what nobody reads nobody should allow.
MAX_ARGUMENT_BYTES = 64 * 1024
CLAIM_LEASE = timedelta(seconds=30)
KEPT_AFTER_TASK = timedelta(days=1)
_LISTED_AT_ONCE = 100

LOST_REASON = (
    "The gateway stopped while it ran, so nobody knows whether it was done. Look before you call again."
)


@dataclass(frozen=True, slots=True)
class Wanted:
    """A call that is to be held. `shown` are the arguments as people see them, `target` a hash of what is called.

    `files` are those of the workspace whose content goes out with it.
    """

    use: ToolUse
    arguments: dict[str, Any] = field(repr=False)
    shown: dict[str, Any] = field(repr=False)
    target: str
    files: tuple[SeenFile, ...] = ()


@dataclass(frozen=True, slots=True)
class Standing:
    """How an approval stands, and the call that it holds, for whoever waits for it."""

    approval_id: uuid.UUID
    call_id: uuid.UUID | None
    outcome: Literal["pending", "allowed", "running", "done", "denied", "expired", "refused", "lost"]
    agreed: int = 0
    people: int = 1
    scope: str = ""
    reason: str = ""
    result: dict[str, Any] | None = field(default=None, repr=False)

    @property
    def is_settled(self) -> bool:
        """Say whether nothing more will come of it."""
        return self.outcome not in ("pending", "running") and not (self.outcome == "allowed" and self.call_id)


@dataclass(frozen=True, slots=True)
class Runnable:
    """A call that was allowed and waits for somebody to run it; `needs_sandbox`: only where that is linked."""

    org_id: uuid.UUID
    call_id: uuid.UUID
    task: Task
    server: str
    tool: str
    age_s: float
    needs_sandbox: bool = False


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to run a call, until the lease is over. The arguments are those of the call itself.

    `files` are what people saw: the call carries these out, as they were then, or nothing.
    """

    org_id: uuid.UUID
    call_id: uuid.UUID
    token: uuid.UUID
    arguments: dict[str, Any] = field(repr=False)
    files: tuple[SeenFile, ...] = ()


def hold_call(task: Task, wanted: Wanted, verdict: Verdict) -> HeldCall:
    """Keep a call and ask for its approval; the same call of the same task is kept and asked about once.

    One whose result went out already is another call. Emits: ApprovalRequested. Raises: BodyTooLarge, RateLimited.
    """
    if len(json.dumps(wanted.shown)) > MAX_ARGUMENT_BYTES:
        raise BodyTooLarge(
            f"A person must allow this call, and nobody reads arguments of more than {MAX_ARGUMENT_BYTES} bytes.",
            max_bytes=MAX_ARGUMENT_BYTES,
        )
    key = _key_of(task, wanted)
    with tenant_transaction(task.org_id):
        known = _find_same(task, key)
        if known is not None:
            return known
        approval = request_approval(_question(task, wanted, verdict, key))
        if approval is None:
            raise RateLimited("Too many calls of this workspace wait for a person already. Wait for those.")
        call = HeldCall(
            org_id=task.org_id,
            approval=approval,
            task_id=task.id,
            server=wanted.use.server,
            tool=wanted.use.tool,
            call_key=key,
            target=wanted.target,
            is_risky=wanted.use.is_risky,
        )
        kept = {"arguments": wanted.arguments, "judged": dict(wanted.use.arguments)}
        sealed = seal_json(kept, call.id)
        call.sealed_arguments, call.key_id = sealed.blob, sealed.key_id
        HeldCall.objects.bulk_create([call], ignore_conflicts=True)
        return HeldCall.objects.get(approval=approval)


def look_at(task: Task, approval_id: uuid.UUID) -> Standing:
    """Return how an approval of a task stands. Raises: ApprovalMissing, also for one of another task."""
    with tenant_transaction(task.org_id):
        approval = (
            Approval.objects.select_related("call")
            .defer("call__sealed_arguments", "call__result")
            .filter(id=approval_id, task_id=task.id)
            .first()
        )
        if approval is None:
            raise ApprovalMissing("There is no such approval of your task.")
        call: HeldCall | None = getattr(approval, "call", None)
        return _standing(approval, call)


def hand_over(task: Task, call_id: uuid.UUID) -> dict[str, Any] | None:
    """Return the result of a finished call to the agent, and remember that it went out."""
    with tenant_transaction(task.org_id):
        call = HeldCall.objects.filter(id=call_id, task_id=task.id).only("result", "handed_at").first()
        if call is None:
            return None
        if call.handed_at is None:
            HeldCall.objects.filter(id=call_id, handed_at=None).update(handed_at=now())
        result: dict[str, Any] | None = call.result
        return result


def all_tenants_runnable_calls() -> list[Runnable]:
    """List the calls that were allowed and that nobody has begun."""
    rows = (
        HeldCall.objects.using("operator")
        .select_related("task", "approval")
        .defer("sealed_arguments", "result")
        .filter(state=HeldState.HELD, approval__status=ApprovalStatus.ALLOWED)
        .order_by("id")[:_LISTED_AT_ONCE]
    )
    moment = now()
    return [
        Runnable(
            row.org_id,
            row.id,
            row.task,
            row.server,
            row.tool,
            (moment - (row.approval.decided_at or moment)).total_seconds(),
            # Of a task that has ended, nothing is read any more: whoever looks finds that out.
            bool(row.approval.subject.get("files")) and row.task.status not in FINAL,
        )
        for row in rows
    ]


def claim_call(org_id: uuid.UUID, call_id: uuid.UUID, target: str) -> Claim | None:
    """Take an allowed call to run it; None when somebody else did, or when it must not run any more.

    It is checked again: the task, the agent's and the person's rights, the rules, and what would be called, of which
    `target` is a hash. What speaks against it is kept as the reason. One conditional update decides between claims.
    """
    with tenant_transaction(org_id):
        call = (
            HeldCall.objects.select_related("approval", "task__agent")
            .defer("result")
            .filter(id=call_id, state=HeldState.HELD, approval__status=ApprovalStatus.ALLOWED)
            .first()
        )
        if call is None:
            return None
        kept = open_json(call.sealed_arguments, call.key_id, call.id)
        reason = find_objection(call, kept["judged"], target)
        held = HeldCall.objects.filter(id=call_id, state=HeldState.HELD)
        if reason:
            held.update(state=HeldState.REFUSED, reason=reason[:500], finished_at=now())
            return None
        token = uuid.uuid4()
        won = held.update(state=HeldState.RUNNING, claim_token=token, claim_until=now() + CLAIM_LEASE)
        files = tuple(ToolCallSubject.model_validate(call.approval.subject).files)
        return Claim(org_id, call_id, token, kept["arguments"], files) if won else None


def renew_claim(claim: Claim) -> bool:
    """Prolong the lease of a call that takes its time; False when it is not ours any more."""
    with tenant_transaction(claim.org_id):
        return bool(_ours(claim).update(claim_until=now() + CLAIM_LEASE))


def finish_call(claim: Claim, result: dict[str, Any]) -> bool:
    """Keep what came of a call. Guarded by the claim: False when it was not ours."""
    with tenant_transaction(claim.org_id):
        return bool(
            _ours(claim).update(
                state=HeldState.DONE, result=storable(result), reason="", finished_at=now(), claim_until=None
            )
        )


def all_tenants_lose_held_calls() -> int:
    """Give up the calls whose gateway fell silent while it ran them; returns how many. They are not begun again."""
    silent = Q(state=HeldState.RUNNING, claim_until__lt=now())
    return (
        HeldCall.objects.using("operator")
        .filter(silent)
        .update(state=HeldState.LOST, reason=LOST_REASON, finished_at=now())
    )


def all_tenants_forget_held_calls() -> int:
    """Wipe the arguments and results of calls whose task ended a day ago; returns how many."""
    edge = now() - KEPT_AFTER_TASK
    old = HeldCall.objects.using("operator").filter(task__finished_at__lt=edge).exclude(key_id="")
    return old.update(sealed_arguments=b"", key_id="", result=None)


def _ours(claim: Claim) -> QuerySet[HeldCall]:
    # One that was given up is still ours if nobody knew better: the result is known after all.
    states = (HeldState.RUNNING, HeldState.LOST)
    return HeldCall.objects.filter(id=claim.call_id, claim_token=claim.token, state__in=states)


def _find_same(task: Task, key: str) -> HeldCall | None:
    """Return the same call of the task that still stands: what was denied stays so, what expired is asked anew."""
    over = (
        Q(approval__status=ApprovalStatus.EXPIRED)
        | Q(approval__status=ApprovalStatus.PENDING, approval__expires_at__lte=now())
        | Q(state__in=(HeldState.REFUSED, HeldState.LOST))
    )
    return (
        HeldCall.objects.filter(task_id=task.id, call_key=key, handed_at=None)
        .exclude(over)
        .order_by("-id")
        .first()
    )


def _question(task: Task, wanted: Wanted, verdict: Verdict, key: str) -> Question:
    subject = ToolCallSubject(
        server=wanted.use.server,
        tool=wanted.use.tool,
        arguments=storable(wanted.shown),
        files=list(wanted.files),
    )
    return Question(
        task.org_id,
        TOOL_CALL,
        subject.stored(),
        task.workspace_id,
        task.agent_id,
        task.id,
        identity={"call": key},
        terms=verdict.terms,
        rule_id=verdict.rule.id if verdict.rule else None,
    )


def _key_of(task: Task, wanted: Wanted) -> str:
    what = [str(task.id), wanted.use.server, wanted.use.tool, wanted.arguments]
    # With other content it is another call.
    what += [file.sha256 for file in wanted.files]
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()


def _standing(approval: Approval, call: HeldCall | None) -> Standing:
    agreed = len(list_good_votes(approval)) if approval.people > 1 else 0
    outcome, reason = _outcome_of(approval, call)
    return Standing(
        approval.id, call.id if call else None, outcome, agreed, approval.people, approval.scope, reason
    )


def _outcome_of(
    approval: Approval, call: HeldCall | None
) -> tuple[Literal["pending", "allowed", "running", "done", "denied", "expired", "refused", "lost"], str]:
    match approval.status:
        case ApprovalStatus.PENDING:
            return ("pending" if approval.expires_at > now() else "expired"), ""
        case ApprovalStatus.DENIED:
            return "denied", ""
        case ApprovalStatus.EXPIRED:
            return "expired", ""
    if call is None:
        return "allowed", ""
    match call.state:
        case HeldState.HELD:
            return "allowed", ""
        case HeldState.RUNNING:
            is_silent = call.claim_until is not None and call.claim_until < now()
            return ("lost", LOST_REASON) if is_silent else ("running", "")
        case HeldState.DONE:
            return "done", ""
        case HeldState.REFUSED:
            return "refused", call.reason
    return "lost", call.reason
