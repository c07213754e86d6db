"""Who may decide an approval, and whether enough people have agreed."""

from __future__ import annotations

import uuid

from services.domain.actors import Actor, require
from services.domain.approvals.models import Approval, ApprovalScope, ApprovalVote
from services.domain.approvals.rules import Terms
from services.domain.errors import NotPermitted, NotTheDecider
from services.domain.identity.models import Membership

_ROLES = {"viewer": 0, "member": 1, "admin": 2, "owner": 3}


def require_decider(actor: Actor, approval: Approval) -> None:
    """Refuse who is not to decide this. Agents decide nothing.

    Raises: NotPermitted, ScopeMissing, RoleMissing, NotTheDecider.
    """
    if actor.kind == "agent":
        raise NotPermitted("A person decides this.")
    require(actor, "workspaces:write", role="member")
    if approval.decider_ids:
        if actor.user_id not in approval.decider_ids:
            raise NotTheDecider("Somebody else is named to decide this.")
    else:
        require(actor, "workspaces:write", role=approval.decider_role)


def may_decide(actor: Actor, approval: Approval) -> bool:
    """Say whether a button of this approval is any use to the actor."""
    try:
        require_decider(actor, approval)
    except NotPermitted:
        return False
    return True


def may_allow_own(actor: Actor, terms: Terms) -> bool:
    """Say whether one yes of the actor to the actor's own work would be enough."""
    if terms.people > 1 or not terms.may_decide_own:
        return False
    return _is_decider(terms, actor.user_id, actor.role)


def refuse_own_alone(actor: Actor, approval: Approval) -> None:
    """Refuse the yes of the person that the work is for, where one yes is enough and it must not be theirs.

    Raises: NotTheDecider.
    """
    if approval.people > 1 or approval.may_decide_own or approval.for_user_id is None:
        return
    if actor.user_id is None or actor.user_id == approval.for_user_id:
        raise NotTheDecider("This is work for you: somebody else must agree to it.")


def add_yes(actor: Actor, approval: Approval, scope: ApprovalScope) -> bool:
    """Keep one person's yes; False when nothing new was said. Raises: NotPermitted for an actor who is nobody."""
    if actor.user_id is None:
        raise NotPermitted("Two people must agree to this, and this is none.")
    vote, is_new = ApprovalVote.objects.get_or_create(
        approval=approval, user_id=actor.user_id, defaults={"org_id": approval.org_id, "scope": scope}
    )
    if not is_new and vote.scope != scope:
        vote.scope = scope
        vote.save(update_fields=["scope"])
    return is_new


def list_good_votes(approval: Approval) -> list[ApprovalVote]:
    """Return the yeses that still count: those of people who could decide it now too."""
    votes = list(ApprovalVote.objects.filter(approval=approval).order_by("id"))
    members = Membership.objects.filter(user_id__in=[vote.user_id for vote in votes], user__is_active=True)
    roles = dict(members.values_list("user_id", "role"))
    return [vote for vote in votes if _is_decider(approval, vote.user_id, roles.get(vote.user_id, "viewer"))]


def _is_decider(asked: Approval | Terms, user_id: uuid.UUID | None, role: str) -> bool:
    """Say whether somebody of a role is among those who decide; a viewer never is."""
    if asked.decider_ids:
        return user_id in asked.decider_ids and _ROLES[role] >= _ROLES["member"]
    return _ROLES[role] >= _ROLES[asked.decider_role]
