"""Accounts elsewhere, as people connect them: the network calls between the actions, outside of any transaction."""

from __future__ import annotations

import asyncio
import functools
import uuid
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from django.db import connections
from pydantic import BaseModel, ValidationError

from services.adapters.accounts.kind import AccountKind
from services.adapters.accounts.registry import build_kinds, find_kind, list_kinds
from services.adapters.upstreams.network import Network
from services.adapters.upstreams.oauth import authorization_url, exchange_code
from services.api.http.bodies import explain
from services.domain.actors import Actor
from services.domain.errors import (
    AccountUnauthorised,
    ConfigInvalid,
    Invalid,
    SlipwayError,
)
from services.domain.identity.models import User
from services.domain.identity.queries import all_tenants_actor_of
from services.domain.integrations.actions import (
    IntegrationChanges,
    NewIntegration,
    connect_integration,
    lock_own_integration,
    record_failure,
    record_found,
    remove_integration,
    tell_not_revoked,
    update_integration,
)
from services.domain.integrations.authorization import (
    all_tenants_take_authorization,
    begin_authorization,
    finish_authorization,
    get_connectable,
)
from services.domain.integrations.credentials import ACCOUNT_GRANTS
from services.domain.integrations.failures import as_account_errors
from services.domain.integrations.models import Integration
from services.domain.integrations.queries import get_integration
from services.domain.oauth_grants.keeping import find_grant, open_sealed
from services.domain.ports.accounts import AccountAccess, AccountAuth, Installation, OAuthApp
from services.domain.tenancy.transaction import tenant_transaction
from services.domain.vault.accesses import Access, Used, record_accesses
from services.domain.vault.models import AccessWay
from services.kit.environment import environment

CALLBACK_PATH = "/integrations/accounts/callback"

P = ParamSpec("P")
T = TypeVar("T")
ModelT = TypeVar("ModelT", bound=BaseModel)


def kinds() -> dict[str, AccountKind]:
    """Return the kinds of accounts, by name, with this process's settings."""
    env = environment()
    apps = {provider: OAuthApp(*client) for provider, client in env.oauth_apps().items()}
    return build_kinds(Installation(env.account_endpoints(), apps), _network(env.internal_hosts()))


@functools.lru_cache(maxsize=4)
def _network(internal_hosts: frozenset[str]) -> Network:
    return Network(internal_hosts=internal_hosts)


def redirect_uri() -> str:
    """Return where providers send people back to."""
    return f"{environment().public_url.rstrip('/')}{CALLBACK_PATH}"


def checked_new(
    *,
    kind: str,
    name: str,
    settings: dict[str, Any],
    credentials: dict[str, Any] | None,
    agent_ids: list[uuid.UUID] | None,
    is_personal: bool,
) -> NewIntegration:
    """Read an account's fields as its kind's own models do. Raises: Invalid, ConfigInvalid."""
    found = find_kind(kind)
    if found is None:
        known = ", ".join(each.manifest.kind for each in list_kinds())
        raise Invalid("There is no such kind of account.", fields={"kind": f"one of {known}"})
    return NewIntegration(
        kind=kind,
        name=name,
        settings=_read(found.settings_model, settings, "settings").model_dump(mode="json"),
        credentials=_read(found.credentials_model, credentials or {}, "credentials").revealed(),
        agent_ids=agent_ids,
        is_personal=is_personal,
    )


def add_account(actor: Actor, fields: NewIntegration) -> Integration:
    """Connect an account and try it; what is found stands in its row. Raises: NameTaken, AgentMissing."""
    return check_account(actor, connect_integration(actor, fields).id)


def change_account(actor: Actor, integration_id: uuid.UUID, changes: dict[str, Any]) -> Integration:
    """Change an account; other settings or credentials are tried at once.

    Settings that are not named stay as they are. Raises: IntegrationMissing, ConfigInvalid, NameTaken, AgentMissing.
    """
    with tenant_transaction(actor.org_id):
        row = lock_own_integration(actor, integration_id)
    kind = kinds()[row.kind]
    if "settings" in changes:
        merged = row.settings | (changes["settings"] or {})
        changes["settings"] = _read(kind.settings_model, merged, "settings").model_dump(mode="json")
    if "credentials" in changes:
        given = _read(kind.credentials_model, changes["credentials"] or {}, "credentials")
        changes["credentials"] = given.revealed()
    asked = IntegrationChanges.model_validate(changes)
    changed = update_integration(actor, integration_id, asked, kind.settings_model.binding())
    if changes.keys() & {"settings", "credentials"}:
        return check_account(actor, integration_id)
    return changed


def check_account(actor: Actor, integration_id: uuid.UUID) -> Integration:
    """Ask the provider whose account it is; what is found stands in the row. Raises: IntegrationMissing."""
    with tenant_transaction(actor.org_id):
        row = lock_own_integration(actor, integration_id)
    try:
        with as_account_errors():
            kind, access = _access(row)
            _note_use(actor, row, kind, AccessWay.CHECK)
            identity = asyncio.run(kind.check(access))
    except SlipwayError as error:
        record_failure(row.org_id, row.id, row.updated_at, error)
    else:
        record_found(row.org_id, row.id, row.updated_at, identity)
    with tenant_transaction(actor.org_id):
        return get_integration(actor, integration_id)


def remove_account(actor: Actor, integration_id: uuid.UUID) -> None:
    """Forget an account, and end the access at its provider where that can be asked for.

    It is forgotten here whatever the provider says; a person is told when the provider was not.
    Raises: IntegrationMissing, RoleMissing.
    """
    with tenant_transaction(actor.org_id):
        row = lock_own_integration(actor, integration_id)
    grant = find_grant(row)
    remove_integration(actor, integration_id)
    try:
        with as_account_errors():
            kind, access = _access(row)
            if kind.manifest.revokes:
                _note_use(actor, row, kind, AccessWay.REVOKE)
            asyncio.run(kind.revoke(access, grant))
    except SlipwayError as error:
        tell_not_revoked(row, error.message)


def connect_account(actor: Actor, integration_id: uuid.UUID, browser: str = "") -> str:
    """Begin an authorization; returns the page to which its person has to go.

    Raises: IntegrationMissing, RoleMissing, Conflict, NotPermitted.
    """
    row = get_connectable(actor, integration_id)
    kind = kinds()[row.kind]
    settings = kind.settings_model.model_validate(row.settings)
    credentials = kind.credentials_model.model_validate(open_sealed(row).get("credentials") or {})
    plan = kind.plan(settings, credentials, redirect_uri())
    return authorization_url(plan, begin_authorization(actor, row, plan, browser))


def finish_connecting(user: User, *, state: str, code: str, issuer: str | None, browser: str) -> Integration:
    """Turn what a person came back with into a connected account, and try it.

    Raises: AuthorizationInvalid, IntegrationMissing, RoleMissing, Conflict, AccountRefused, AccountAway.
    """
    begun = all_tenants_take_authorization(user.pk, state, browser)
    actor = all_tenants_actor_of(user, begun.org_id)
    with tenant_transaction(actor.org_id):
        kind = kinds()[lock_own_integration(actor, begun.integration_id).kind]
    with as_account_errors():
        granted = asyncio.run(exchange_code(begun.plan, code, issuer, kind.network))
    return check_account(actor, finish_authorization(actor, begun, granted).id)


def _note_use(actor: Actor, row: Integration, kind: AccountKind, way: AccessWay) -> None:
    """Put on record what a person does with what opens an account, if anything does."""
    if row.sealed is not None:
        host = ", ".join(kind.hosts(kind.settings_model.model_validate(row.settings)))
        record_accesses(row.org_id, [Access.by_person(actor, Used.of(row), way, host=host)])


def _access(row: Integration) -> tuple[AccountKind, AccountAccess]:
    kind = kinds()[row.kind]
    opened = open_sealed(row)
    try:
        credentials = kind.credentials_model.model_validate(opened.get("credentials") or {})
    except ValidationError as error:
        raise AccountUnauthorised("The account has no credentials.") from error
    is_oauth = kind.manifest.auth == AccountAuth.OAUTH
    return kind, AccountAccess(
        account_id=row.id,
        version=row.updated_at,
        settings=kind.settings_model.model_validate(row.settings),
        credentials=credentials,
        tokens=ACCOUNT_GRANTS.tokens(row, _run_in_thread) if is_oauth else None,
    )


def _read(model: type[ModelT], given: dict[str, Any], prefix: str) -> ModelT:
    try:
        return model.model_validate(given)
    except ValidationError as error:
        fields = {f"{prefix}.{name}": reason for name, reason in explain(error).details["fields"].items()}
        raise ConfigInvalid(f"The {prefix} are not usable.", fields=fields) from error


async def _run_in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run database work beside the event loop, and give the thread's connections back."""

    def run() -> T:
        try:
            return function(*args, **kwargs)
        finally:
            connections.close_all()

    return await asyncio.to_thread(run)
