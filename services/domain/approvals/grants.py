"""What a yes changes, for the kinds whose owners live elsewhere: they register it, and approvals know none of them."""

from __future__ import annotations

from collections.abc import Callable

from services.domain.actors import Actor
from services.domain.approvals.models import Approval, ApprovalScope

Grant = Callable[[Actor, Approval], None]
"""Runs inside the decision's transaction; what it raises is what the person is told, and nothing is decided then."""

_GRANTS: dict[tuple[str, str], Grant] = {}


def register_grant(kind: str, scope: ApprovalScope, grant: Grant) -> None:
    """Say what a yes of this reach does for a kind; it takes the place of what the kind itself does."""
    _GRANTS[kind, scope.value] = grant


def find_grant_of(kind: str, scope: str) -> Grant | None:
    """Return what was registered for a kind and a reach."""
    return _GRANTS.get((kind, scope))
