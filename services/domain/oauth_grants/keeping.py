"""Grants as they are kept: sealed with their row, and refreshed by one process for all."""

from __future__ import annotations

import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Generic, ParamSpec, Protocol, TypeVar

from services.domain.errors import SlipwayError
from services.domain.oauth_grants.models import GrantedModel
from services.domain.ports.upstreams import GrantedTokens, OAuthGrant, RefreshClaim
from services.domain.tenancy.transaction import tenant_transaction
from services.domain.vault.keyring import open_json, seal_json
from services.kit.clock import now

# Longer than a token endpoint gets to answer.
REFRESH_LEASE = timedelta(seconds=40)
UNAUTHORISED = "unauthorised"
# A token that ends while a call is on its way is of no use.
_EARLY_S = 30.0

P = ParamSpec("P")
T = TypeVar("T")
RowT = TypeVar("RowT", bound=GrantedModel)


class RunBlocking(Protocol):
    """Runs blocking code off the event loop."""

    def __call__(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Awaitable[T]: ...


def open_sealed(row: GrantedModel) -> dict[str, Any]:
    """Open what is sealed with a row, by name; nothing when nothing was given."""
    if row.sealed is None:
        return {}
    opened: dict[str, Any] = open_json(row.sealed, row.key_id, row.id)
    return opened


def seal_into(row: GrantedModel, values: dict[str, Any]) -> None:
    """Seal values into a row, which the caller saves; those that are None or empty are left out."""
    kept = {name: value for name, value in values.items() if value is not None and value != {}}
    sealed = seal_json(kept, row.id)
    row.sealed, row.key_id = (sealed.blob, sealed.key_id) if kept else (None, "")


def find_grant(row: GrantedModel) -> OAuthGrant | None:
    """Return the authorization that is kept with a row."""
    grant = open_sealed(row).get("grant")
    return OAuthGrant.model_validate(grant) if grant else None


def seal_grant(row: GrantedModel, grant: OAuthGrant | None) -> None:
    """Seal a grant into a row beside what else is there, and let nobody refresh an older one; the caller saves."""
    seal_into(row, open_sealed(row) | {"grant": grant.model_dump(mode="json") if grant else None})
    row.refresh_claim = row.refresh_until = None


def ends_at(granted: GrantedTokens) -> float | None:
    """Return when an access token ends, as seconds of the epoch; None when that was not said."""
    return None if granted.expires_in is None else time.time() + granted.expires_in


@dataclass(frozen=True, slots=True)
class GrantKeeper(Generic[RowT]):
    """Keeps the grants of one kind of rows.

    `nobody` stands for a row that is not there, `refusal` is raised when there is nothing that a token could come
    from, `how_to_connect` says what a person has to do about a row of a name, `tell` that the row's state is another.
    """

    model: type[RowT]
    nobody: str
    refusal: type[SlipwayError]
    how_to_connect: Callable[[str], str]
    tell: Callable[[RowT], None]

    def words(self, message: str, name: str) -> str:
        """Return why a row's place is closed to us, and what a person has to do."""
        hint = self.how_to_connect(name)
        return message if hint in message else f"{message} {hint}"

    def claim(self, org_id: uuid.UUID, row_id: uuid.UUID, refused: str | None) -> str | RefreshClaim | None:
        """Return a token that is good, the right to refresh it, or None while somebody else refreshes.

        Locks: the row. Raises: the kind's refusal when there is nothing that a token could come from.
        """
        with tenant_transaction(org_id):
            rows = self.model._default_manager.filter(id=row_id)
            # Mostly the token is good, and then nobody has to wait for anybody.
            if (good := _good_token(rows.first(), refused)) is not None:
                return good
            row = rows.select_for_update().first()
            if (good := _good_token(row, refused)) is not None:
                return good
            grant = find_grant(row) if row is not None else None
            if row is None or grant is None:
                name = row.name if row is not None else self.nobody
                raise self.refusal(f"{name} is not connected. {self.how_to_connect(name)}")
            moment = now()
            if row.refresh_until is not None and row.refresh_until > moment:
                return None
            if grant.refresh_token is not None:
                row.refresh_claim, row.refresh_until = uuid.uuid4(), moment + REFRESH_LEASE
                row.save(update_fields=["refresh_claim", "refresh_until"])
                return RefreshClaim(row.refresh_claim, grant)
            self._forget(row)
        raise self.refusal(row.last_error)

    def keep(self, org_id: uuid.UUID, row_id: uuid.UUID, lease: uuid.UUID, granted: GrantedTokens) -> None:
        """Keep refreshed tokens; those of somebody whose lease is over are dropped. Locks: the row.

        A refresh token that is not replaced stays good (RFC 6749, section 6).
        """
        with tenant_transaction(org_id):
            row = self._lock_leased(row_id, lease)
            grant = find_grant(row) if row is not None else None
            if row is None or grant is None:
                return
            renewed = {
                "access_token": granted.access_token,
                "refresh_token": granted.refresh_token or grant.refresh_token,
                "expires_at": ends_at(granted),
            }
            seal_grant(row, grant.model_copy(update=renewed))
            row.save(update_fields=["sealed", "key_id", "refresh_claim", "refresh_until"])

    def give_back(self, org_id: uuid.UUID, row_id: uuid.UUID, lease: uuid.UUID) -> None:
        """Let somebody else refresh. Locks: the row."""
        with tenant_transaction(org_id):
            row = self._lock_leased(row_id, lease)
            if row is not None:
                row.refresh_claim = row.refresh_until = None
                row.save(update_fields=["refresh_claim", "refresh_until"])

    def lose(self, org_id: uuid.UUID, row_id: uuid.UUID, lease: uuid.UUID) -> None:
        """Forget an authorization that was revoked. Locks: the row. Emits: what tells of the kind's state."""
        with tenant_transaction(org_id):
            row = self._lock_leased(row_id, lease)
            if row is not None:
                self._forget(row)

    def tokens(self, row: RowT, run: RunBlocking) -> KeptTokens[RowT]:
        """Return the `TokenStore` of a row."""
        return KeptTokens(self, row.org_id, row.id, run)

    def _lock_leased(self, row_id: uuid.UUID, lease: uuid.UUID) -> RowT | None:
        rows = self.model._default_manager.select_for_update()
        return rows.filter(id=row_id, refresh_claim=lease).first()

    def _forget(self, row: RowT) -> None:
        seal_grant(row, None)
        was, row.status = row.status, UNAUTHORISED
        row.last_error = f"The authorization has ended or was revoked. {self.how_to_connect(row.name)}"
        row.checked_at = now()
        row.save()
        if was != row.status:
            self.tell(row)


@dataclass(frozen=True, slots=True)
class KeptTokens(Generic[RowT]):
    """The `TokenStore` of one row."""

    keeper: GrantKeeper[RowT]
    org_id: uuid.UUID
    row_id: uuid.UUID
    run: RunBlocking

    async def claim(self, refused: str | None) -> str | RefreshClaim | None:
        """Return a good token, the right to refresh, or None. Raises: the kind's refusal."""
        return await self.run(self.keeper.claim, self.org_id, self.row_id, refused)

    async def keep(self, lease: uuid.UUID, granted: GrantedTokens) -> None:
        """Keep new tokens."""
        await self.run(self.keeper.keep, self.org_id, self.row_id, lease, granted)

    async def give_back(self, lease: uuid.UUID) -> None:
        """Give the right to refresh back."""
        await self.run(self.keeper.give_back, self.org_id, self.row_id, lease)

    async def lose(self, lease: uuid.UUID) -> None:
        """Forget the tokens."""
        await self.run(self.keeper.lose, self.org_id, self.row_id, lease)


def _good_token(row: GrantedModel | None, refused: str | None) -> str | None:
    grant = find_grant(row) if row is not None else None
    if grant is None or grant.access_token == refused:
        return None
    is_good = grant.expires_at is None or grant.expires_at > time.time() + _EARLY_S
    return grant.access_token if is_good else None
