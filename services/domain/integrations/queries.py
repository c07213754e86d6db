"""Reading connected accounts: the people's view, and what the work of an agent may use."""

from __future__ import annotations

import uuid

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


def choose_account(
    user_id: uuid.UUID | None, agent_id: uuid.UUID, kind: str, wanted: str | None
) -> Integration:
    """Return the account that an agent's call means, in the tenant's transaction: by its name, its id, or the only one.

    An account of a person whose work this is not does not exist here.
    Raises: AccountNotConnected, AccountMissing, AccountAmbiguous, AccountNotGranted.
    """
    # A personal account comes before the organisation's of the same name.
    rows = list(Integration.objects.filter(_usable_by(user_id), kind=kind).order_by("owner_id", "name"))
    granted = [row for row in rows if _is_granted(row, agent_id)]
    if wanted is not None:
        return _named(kind, wanted, rows, granted)
    if not granted:
        raise AccountNotConnected(_nothing_connected(kind))
    if len(granted) > 1:
        raise AccountAmbiguous(
            f"There are several accounts. Name one of them as `account`: {_names(granted)}."
        )
    return granted[0]


def _named(kind: str, wanted: str, rows: list[Integration], granted: list[Integration]) -> Integration:
    key = wanted.strip().casefold()
    for row in (*granted, *rows):
        if key in (row.name.casefold(), str(row.id)):
            if row in granted:
                return row
            why = "is not granted to this agent" if row.is_enabled else "is switched off"
            raise AccountNotGranted(
                f"The account {row.name} {why}. A person can change that in the dashboard under Accounts."
            )
    if not granted:
        raise AccountNotConnected(_nothing_connected(kind))
    raise AccountMissing(f"There is no account of this name. There are: {_names(granted)}.")


def _nothing_connected(kind: str) -> str:
    return (
        f"No {kind} account is connected for this agent. You cannot mend this: a person can connect one, and grant it "
        "to this agent, in the dashboard under Accounts."
    )


def _names(rows: list[Integration]) -> str:
    return ", ".join(row.name for row in rows[:_NAMED]) + (", …" if len(rows) > _NAMED else "")


def _is_granted(row: Integration, agent_id: uuid.UUID) -> bool:
    return row.is_enabled and (row.agent_ids is None or agent_id in row.agent_ids)


def _usable_by(user_id: uuid.UUID | None) -> Q:
    shared = Q(owner=None)
    return shared if user_id is None else shared | Q(owner_id=user_id)
