"""Reading connected accounts: the people's view, and what the work of an agent may use."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass

from django.db.models import Q, QuerySet

from services.domain.actors import Actor, require
from services.domain.errors import (
    AccountAmbiguous,
    AccountMissing,
    AccountNotConnected,
    AccountNotGranted,
    IntegrationMissing,
)
from services.domain.integrations.models import Integration
from services.domain.vault.accesses import list_accesses
from services.domain.vault.models import CredentialAccess

ADMINS = ("owner", "admin")
_NAMED = 20


def list_integrations(actor: Actor) -> QuerySet[Integration]:
    """Return the accounts that the actor may see; a personal one is its owner's and the admins'. In the transaction."""
    require(actor, "integrations:read")
    rows = Integration.objects.defer("sealed")
    return rows if actor.role in ADMINS else rows.filter(_usable_by(actor.user_id))


def get_integration(actor: Actor, integration_id: uuid.UUID) -> Integration:
    """Return one account, in the tenant's transaction. Raises: IntegrationMissing."""
    found = list_integrations(actor).filter(id=integration_id).first()
    if found is None:
        raise IntegrationMissing("There is no such account.")
    return found


def list_account_accesses(actor: Actor, integration_id: uuid.UUID) -> QuerySet[CredentialAccess]:
    """Return the uses of what opens an account, in the tenant's transaction. Raises: IntegrationMissing."""
    return list_accesses(get_integration(actor, integration_id))


@dataclass(frozen=True, slots=True)
class _Words:
    """What is said to whoever asks for an account: of a kind with none, and of one that is not granted."""

    nothing: str
    not_granted: str


_TO_AGENTS = _Words(
    "No {kind} account is connected for this agent. You cannot mend this: a person can connect one, and grant it to "
    "this agent, in the dashboard under Accounts.",
    "is not granted to this agent",
)
_TO_PROGRAMS = _Words(
    "You have no {kind} account that your own programs may use. You can connect one, and grant it to all agents, in "
    "the dashboard under Accounts.",
    "is granted to single agents only, and your own program is none of them",
)


def choose_account(
    user_id: uuid.UUID | None, agent_id: uuid.UUID, kind: str, wanted: str | None
) -> Integration:
    """Return the account that an agent's call means, in the tenant's transaction: by its name, its id, or the only one.

    An account of a person whose work this is not does not exist here.
    Raises: AccountNotConnected, AccountMissing, AccountAmbiguous, AccountNotGranted.
    """
    rows = _in_order(Integration.objects.filter(_usable_by(user_id), kind=kind))
    return _choose(kind, wanted, rows, [row for row in rows if _is_granted(row, agent_id)], _TO_AGENTS)


def choose_persons_account(actor: Actor, kind: str, wanted: str | None) -> Integration:
    """Return the account that a call of a person's own program means, as `choose_account` does for an agent.

    Those are the person's own, and the organisation's for an admin, who could grant them to any agent as well. One
    that is granted to single agents only is not among those that may be used.
    Raises: RoleMissing, ScopeMissing, AccountNotConnected, AccountMissing, AccountAmbiguous, AccountNotGranted.
    """
    require(actor, "integrations:read", role="member")
    rows = _in_order(Integration.objects.filter(_of_person(actor), kind=kind))
    return _choose(kind, wanted, rows, [row for row in rows if _is_open(row)], _TO_PROGRAMS)


def list_persons_accounts(actor: Actor) -> list[tuple[str, str]]:
    """Return kind and name of the accounts that a person's own programs may use, in the tenant's transaction."""
    rows = Integration.objects.filter(_of_person(actor), is_enabled=True, agent_ids=None)
    return list(rows.order_by("kind", "name").values_list("kind", "name"))


def _choose(
    kind: str, wanted: str | None, rows: list[Integration], granted: list[Integration], words: _Words
) -> Integration:
    if wanted is not None:
        return _named(kind, wanted, rows, granted, words)
    if not granted:
        raise AccountNotConnected(words.nothing.format(kind=kind))
    if len(granted) > 1:
        raise AccountAmbiguous(
            f"There are several accounts. Name one of them as `account`: {_names(granted)}."
        )
    return granted[0]


def _named(
    kind: str, wanted: str, rows: list[Integration], granted: list[Integration], words: _Words
) -> Integration:
    key = wanted.strip().casefold()
    for row in (*granted, *rows):
        if key in (row.name.casefold(), str(row.id)):
            if row in granted:
                return row
            why = words.not_granted if row.is_enabled else "is switched off"
            raise AccountNotGranted(
                f"The account {row.name} {why}. A person can change that in the dashboard under Accounts."
            )
    if not granted:
        raise AccountNotConnected(words.nothing.format(kind=kind))
    raise AccountMissing(f"There is no account of this name. There are: {_names(granted)}.")


def _names(rows: list[Integration]) -> str:
    return ", ".join(row.name for row in rows[:_NAMED]) + (", …" if len(rows) > _NAMED else "")


def _in_order(rows: Iterable[Integration]) -> list[Integration]:
    """Sort accounts: a personal one comes before the organisation's of the same name."""
    return sorted(rows, key=lambda row: (row.owner_id is None, row.name))


def _is_open(row: Integration) -> bool:
    """Say whether an account is for all agents. Who limits one to some of them has not thought of other programs."""
    return row.is_enabled and row.agent_ids is None


def _is_granted(row: Integration, agent_id: uuid.UUID) -> bool:
    return row.is_enabled and (row.agent_ids is None or agent_id in row.agent_ids)


def _usable_by(user_id: uuid.UUID | None) -> Q:
    shared = Q(owner=None)
    return shared if user_id is None else shared | Q(owner_id=user_id)


def _of_person(actor: Actor) -> Q:
    if actor.user_id is None or actor.role == "viewer":
        return Q(pk__in=())
    mine = Q(owner_id=actor.user_id)
    return mine | Q(owner=None) if actor.role in ADMINS else mine
