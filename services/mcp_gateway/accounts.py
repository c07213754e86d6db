"""An account elsewhere, opened for one call: the grant is checked each time, and the caller sees no secret."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from services.adapters.accounts.kind import AccountKind
from services.adapters.accounts.registry import build_kinds
from services.adapters.upstreams.network import Network
from services.domain.errors import AccountUnauthorised
from services.domain.integrations.actions import record_failure
from services.domain.integrations.credentials import ACCOUNT_GRANTS
from services.domain.integrations.failures import as_account_errors
from services.domain.integrations.models import Integration, IntegrationStatus
from services.domain.integrations.queries import choose_account, choose_persons_account
from services.domain.oauth_grants.keeping import open_sealed
from services.domain.ports.accounts import AccountAccess, AccountAuth, Installation, OAuthApp
from services.domain.tenancy.transaction import tenant_transaction
from services.domain.vault.accesses import Used
from services.domain.vault.models import AccessWay
from services.kit.environment import environment
from services.mcp_gateway.access_log import ACCESS_LOG
from services.mcp_gateway.callers import Caller
from services.mcp_gateway.threads import run_in_thread


@dataclass(frozen=True, slots=True)
class OpenAccount:
    """An account that may be used now. `client` is the kind's protocol client; `settings` are its kind's model."""

    name: str
    settings: Any
    client: Any


@contextlib.asynccontextmanager
async def open_account(caller: Caller, kind: str, account: str | None) -> AsyncIterator[OpenAccount]:
    """Open the account that a call means: by name, or the only one that the caller may use.

    What the provider no longer takes is marked, told to the account's person, and not tried again before somebody
    has connected it anew.
    Raises: RoleMissing, AccountNotConnected, AccountMissing, AccountAmbiguous, AccountNotGranted, AccountUnauthorised,
    and what the client's calls raise.
    """
    adapter = account_kinds()[kind]
    row, opened = await run_in_thread(_find, caller, kind, account)
    try:
        with as_account_errors():
            access = _access(adapter, row, opened, caller)
            async with adapter.open(access) as client:
                # Opening one sends nothing yet.
                await _note_use(adapter, row, access, caller)
                yield OpenAccount(row.name, access.settings, client)
    except AccountUnauthorised as error:
        await run_in_thread(record_failure, row.org_id, row.id, row.updated_at, error)
        words = ACCOUNT_GRANTS.words(error.message, row.name)
        raise AccountUnauthorised(f"{words} You cannot mend this.") from error


def account_kinds() -> dict[str, AccountKind]:
    """Return the kinds of accounts, by name; they keep what is shared between calls, such as short-lived tokens."""
    env = environment()
    apps = tuple((provider, OAuthApp(*client)) for provider, client in env.oauth_apps().items())
    return _kinds(tuple(env.account_endpoints().items()), apps, env.internal_hosts())


@functools.lru_cache(maxsize=4)
def _kinds(
    endpoints: tuple[tuple[str, str], ...],
    apps: tuple[tuple[str, OAuthApp], ...],
    internal_hosts: frozenset[str],
) -> dict[str, AccountKind]:
    installation = Installation(dict(endpoints), dict(apps))
    return build_kinds(installation, Network(internal_hosts=internal_hosts))


def _find(caller: Caller, kind: str, account: str | None) -> tuple[Integration, dict[str, Any]]:
    actor = caller.actor
    with tenant_transaction(actor.org_id):
        if caller.task_id is not None:
            row = choose_account(actor.user_id, caller.agent_id, kind, account)
        else:
            row = choose_persons_account(actor, kind, account)
        if row.status == IntegrationStatus.UNAUTHORISED:
            # Asked no more: a provider may lock an account out after too many wrong tries.
            words = ACCOUNT_GRANTS.words(row.last_error or "The account is not connected.", row.name)
            raise AccountUnauthorised(f"{words} You cannot mend this.")
        return row, open_sealed(row)


async def _note_use(adapter: AccountKind, row: Integration, access: AccountAccess, caller: Caller) -> None:
    if row.sealed is not None:
        host = ", ".join(adapter.hosts(access.settings))
        await ACCESS_LOG.note(row.org_id, caller.access(Used.of(row), AccessWay.UPSTREAM, host=host))


def _access(adapter: AccountKind, row: Integration, opened: dict[str, Any], caller: Caller) -> AccountAccess:
    try:
        credentials = adapter.credentials_model.model_validate(opened.get("credentials") or {})
    except ValidationError as error:
        raise AccountUnauthorised("The account has no credentials.") from error
    is_oauth = adapter.manifest.auth == AccountAuth.OAUTH
    return AccountAccess(
        account_id=row.id,
        version=row.updated_at,
        settings=adapter.settings_model.model_validate(row.settings),
        credentials=credentials,
        tokens=ACCOUNT_GRANTS.tokens(row, run_in_thread) if is_oauth else None,
        # The agent whose notes a person's program reads is not the one that works here.
        agent_id=caller.agent_id if caller.task_id is not None else None,
    )
