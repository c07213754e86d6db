"""What opens an account: sealed, opened for a call, and refreshed by one process at a time."""

from __future__ import annotations

import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, ParamSpec, Protocol, TypeVar

from services.domain.errors import AccountUnauthorised
from services.domain.integrations.models import Integration, IntegrationStatus
from services.domain.integrations.telling import how_to_connect, tell_state
from services.domain.ports.upstreams import GrantedTokens, OAuthGrant, RefreshClaim
from services.domain.tenancy.transaction import tenant_transaction
from services.domain.vault.keyring import open_json, seal_json
from services.kit.clock import now

# Longer than a token endpoint gets to answer.
REFRESH_LEASE = timedelta(seconds=40)
# A token that ends while a call is on its way is of no use.
_EARLY_S = 30.0

P = ParamSpec("P")
T = TypeVar("T")


class RunBlocking(Protocol):
    """Runs blocking code off the event loop."""

    def __call__(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Awaitable[T]: ...


def open_sealed(integration: Integration) -> dict[str, Any]:
    """Open what is sealed with an account: `credentials`, `grant`; nothing when nothing was given."""
    if integration.sealed is None:
        return {}
    opened: dict[str, Any] = open_json(integration.sealed, integration.key_id, integration.id)
    return opened


def seal_into(integration: Integration, values: dict[str, Any]) -> None:
    """Seal values into a row, which the caller saves."""
    kept = {name: value for name, value in values.items() if value}
    sealed = seal_json(kept, integration.id)
    integration.sealed, integration.key_id = (sealed.blob, sealed.key_id) if kept else (None, "")


def find_grant(integration: Integration) -> OAuthGrant | None:
    """Return the authorization that is kept with an account."""
    grant = open_sealed(integration).get("grant")
    return OAuthGrant.model_validate(grant) if grant else None


@dataclass(frozen=True, slots=True)
class KeptTokens:
    """The `TokenStore` of one account's row."""

    org_id: uuid.UUID
    integration_id: uuid.UUID
    run: RunBlocking

    async def claim(self, refused: str | None) -> str | RefreshClaim | None:
        """Return a good token, the right to refresh, or None. Raises: AccountUnauthorised."""
        return await self.run(claim_access_token, self.org_id, self.integration_id, refused)

    async def keep(self, lease: uuid.UUID, granted: GrantedTokens) -> None:
        """Keep new tokens."""
        await self.run(keep_tokens, self.org_id, self.integration_id, lease, granted)

    async def give_back(self, lease: uuid.UUID) -> None:
        """Give the right to refresh back."""
        await self.run(give_back_refresh, self.org_id, self.integration_id, lease)

    async def lose(self, lease: uuid.UUID) -> None:
        """Forget the tokens."""
        await self.run(lose_grant, self.org_id, self.integration_id, lease)


def claim_access_token(
    org_id: uuid.UUID, integration_id: uuid.UUID, refused: str | None
) -> str | RefreshClaim | None:
    """Return a token that is good, the right to refresh it, or None while somebody else refreshes.

    Locks: the account. Raises: AccountUnauthorised when there is nothing that a token could come from.
    """
    with tenant_transaction(org_id):
        rows = Integration.objects.filter(id=integration_id)
        # Mostly the token is good, and then nobody has to wait for anybody.
        if (good := _good_token(rows.first(), refused)) is not None:
            return good
        row = rows.select_for_update().first()
        if (good := _good_token(row, refused)) is not None:
            return good
        grant = find_grant(row) if row is not None else None
        if row is None or grant is None:
            name = row.name if row is not None else "The account"
            raise AccountUnauthorised(f"{name} is not connected. {how_to_connect(name)}")
        moment = now()
        if row.refresh_until is not None and row.refresh_until > moment:
            return None
        if grant.refresh_token is not None:
            row.refresh_claim, row.refresh_until = uuid.uuid4(), moment + REFRESH_LEASE
            row.save(update_fields=["refresh_claim", "refresh_until"])
            return RefreshClaim(row.refresh_claim, grant)
        _forget(row)
    raise AccountUnauthorised(row.last_error)


def keep_tokens(
    org_id: uuid.UUID, integration_id: uuid.UUID, lease: uuid.UUID, granted: GrantedTokens
) -> None:
    """Keep refreshed tokens; those of somebody whose lease is over are dropped. Locks: the account.

    A refresh token that is not replaced stays good (RFC 6749, section 6).
    """
    with tenant_transaction(org_id):
        row = _lock_leased(integration_id, lease)
        grant = find_grant(row) if row is not None else None
        if row is None or grant is None:
            return
        renewed = grant.model_copy(
            update={
                "access_token": granted.access_token,
                "refresh_token": granted.refresh_token or grant.refresh_token,
                "expires_at": None if granted.expires_in is None else time.time() + granted.expires_in,
            }
        )
        seal_into(row, open_sealed(row) | {"grant": renewed.model_dump(mode="json")})
        row.refresh_claim = row.refresh_until = None
        row.save(update_fields=["sealed", "key_id", "refresh_claim", "refresh_until"])


def give_back_refresh(org_id: uuid.UUID, integration_id: uuid.UUID, lease: uuid.UUID) -> None:
    """Let somebody else refresh. Locks: the account."""
    with tenant_transaction(org_id):
        row = _lock_leased(integration_id, lease)
        if row is not None:
            row.refresh_claim = row.refresh_until = None
            row.save(update_fields=["refresh_claim", "refresh_until"])


def lose_grant(org_id: uuid.UUID, integration_id: uuid.UUID, lease: uuid.UUID) -> None:
    """Forget an authorization that was revoked. Locks: the account. Emits: IntegrationChanged, NotificationCreated."""
    with tenant_transaction(org_id):
        row = _lock_leased(integration_id, lease)
        if row is not None:
            _forget(row)


def _good_token(integration: Integration | None, refused: str | None) -> str | None:
    grant = find_grant(integration) if integration is not None else None
    if grant is None or grant.access_token == refused:
        return None
    is_good = grant.expires_at is None or grant.expires_at > time.time() + _EARLY_S
    return grant.access_token if is_good else None


def _lock_leased(integration_id: uuid.UUID, lease: uuid.UUID) -> Integration | None:
    return Integration.objects.select_for_update().filter(id=integration_id, refresh_claim=lease).first()


def _forget(row: Integration) -> None:
    seal_into(row, open_sealed(row) | {"grant": None})
    row.refresh_claim = row.refresh_until = None
    was, row.status = row.status, IntegrationStatus.UNAUTHORISED
    row.last_error = f"The authorization has ended or was revoked. {how_to_connect(row.name)}"
    row.checked_at = now()
    row.save()
    if was != row.status:
        tell_state(row)
