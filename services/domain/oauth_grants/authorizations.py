"""Authorizations under way: a plan is kept until its person comes back with its state, in the same browser, once."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any, TypeVar

from django.db import transaction

from services.domain.errors import AuthorizationInvalid
from services.domain.oauth_grants.keeping import ends_at, seal_grant
from services.domain.oauth_grants.models import AuthorizationModel, GrantedModel
from services.domain.ports.upstreams import AuthorizationPlan, GrantedTokens, OAuthGrant
from services.domain.vault.keyring import open_json, seal_json
from services.kit.clock import now
from services.kit.ids import uuid7
from services.kit.tokens import hash_token, make_token

LIFETIME = timedelta(minutes=10)
RowT = TypeVar("RowT", bound=AuthorizationModel)


def keep_plan(
    model: type[AuthorizationModel], plan: AuthorizationPlan, *, browser: str, **fields: Any
) -> str:
    """Keep a plan, in the caller's transaction; returns the state that names it, which nobody else knows.

    `browser` is the session in which it was begun, if it was begun in one. `fields` are the row's own.
    """
    state, row_id = make_token(""), uuid7()
    model._default_manager.filter(expires_at__lte=now()).delete()
    sealed = seal_json(plan.model_dump(mode="json"), row_id)
    model._default_manager.create(
        id=row_id,
        state_hash=hash_token(state),
        browser_hash=hash_token(browser) if browser else "",
        sealed=sealed.blob,
        key_id=sealed.key_id,
        expires_at=now() + LIFETIME,
        **fields,
    )
    return state


def all_tenants_take_plan(
    model: type[RowT], user_id: uuid.UUID, state: str, browser: str
) -> tuple[RowT, AuthorizationPlan]:
    """Return what a state stands for, once, to the person and the browser that began it: the row, which is gone.

    All tenants, because the state is what tells the tenant. Raises: AuthorizationInvalid, for all reasons alike.
    """
    invalid = AuthorizationInvalid(
        "This authorization was not begun here, is over, or was used. Begin again."
    )
    if not state.isascii():
        raise invalid
    with transaction.atomic(using="operator"):
        rows = model._default_manager.using("operator").select_for_update()
        row = rows.filter(state_hash=hash_token(state), user_id=user_id, expires_at__gt=now()).first()
        if row is None or row.browser_hash not in ("", hash_token(browser)):
            raise invalid
        plan = AuthorizationPlan.model_validate(open_json(row.sealed, row.key_id, row.id))
        row.delete()
    return row, plan


def keep_granted(row: GrantedModel, plan: AuthorizationPlan, granted: GrantedTokens) -> None:
    """Seal what a person has authorized into a row that has yet to be tried, and save it."""
    grant = OAuthGrant(
        server=plan.server,
        client=plan.client,
        access_token=granted.access_token,
        refresh_token=granted.refresh_token,
        expires_at=ends_at(granted),
    )
    seal_grant(row, grant)
    row.status, row.last_error = "unchecked", ""
    row.updated_at = now()
    row.save()
