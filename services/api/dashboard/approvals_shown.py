"""An approval as pages show it: what is asked, with all its arguments, and what this person may do about it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from services.domain.actors import Actor
from services.domain.approvals.deciders import may_decide
from services.domain.approvals.kinds import KINDS
from services.domain.approvals.models import Approval
from services.domain.approvals.queries import list_choices, list_votes, show_subject
from services.domain.approvals.subjects import Choice


@dataclass(frozen=True, slots=True)
class Shown:
    """An approval with its subject in words."""

    approval: Approval
    who: str
    question: str
    subject: str
    arguments: str
    files: list[dict[str, Any]]
    agreed: list[str]
    may_decide: bool
    may_change: bool
    has_choice: bool
    choices: list[Choice]


def show_approval(actor: Actor, approval: Approval) -> Shown:
    """Return an approval as a page shows it to somebody; in the tenant's transaction."""
    kind = KINDS[approval.kind]
    given = approval.subject.get("arguments")
    return Shown(
        approval,
        approval.agent.name if approval.agent else kind.who,
        kind.question,
        show_subject(approval),
        arguments=json.dumps(given, indent=2, ensure_ascii=False) if given else "",
        files=approval.subject.get("files") or [],
        agreed=[vote.user.shown_name for vote in list_votes(approval)],
        may_decide=may_decide(actor, approval),
        may_change=kind.is_changeable,
        has_choice=kind.has_choice,
        choices=list_choices(approval),
    )
