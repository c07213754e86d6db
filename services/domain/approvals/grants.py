"""What a yes or a no changes, for the kinds whose owners live elsewhere: they register it, and approvals know none."""

from __future__ import annotations

from collections.abc import Callable

from services.domain.actors import Actor
from services.domain.approvals.models import Approval, ApprovalScope

Grant = Callable[[Actor, Approval], None]
"""Runs inside the decision's transaction; what it raises is what the person is told, and nothing is decided then."""

Refusal = Callable[[Approval], None]
"""Runs inside the transaction in which an approval is denied or expires; its `status` says which."""

_GRANTS: dict[tuple[str, str], Grant] = {}
_REFUSALS: dict[str, Refusal] = {}


def register_grant(kind: str, scope: ApprovalScope, grant: Grant) -> None:
    """Say what a yes of this reach does for a kind; it takes the place of what the kind itself does."""
    _GRANTS[kind, scope.value] = grant


def find_grant_of(kind: str, scope: str) -> Grant | None:
    """Return what was registered for a kind and a reach."""
    return _GRANTS.get((kind, scope))


def register_refusal(kind: str, refusal: Refusal) -> None:
    """Say what becomes of things when an approval of this kind is denied or expires."""
    _REFUSALS[kind] = refusal


def find_refusal_of(kind: str) -> Refusal | None:
    """Return what was registered for the end of a kind's approvals without a yes."""
    return _REFUSALS.get(kind)
