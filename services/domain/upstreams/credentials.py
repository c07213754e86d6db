"""What opens a server: sealed, opened for a call, and refreshed by one process at a time."""

from __future__ import annotations

import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, ParamSpec, Protocol, TypeVar

from services.domain.errors import UpstreamUnauthorised
from services.domain.ports.upstreams import GrantedTokens, OAuthGrant, RefreshClaim, Upstream
from services.domain.tenancy.transaction import tenant_transaction
from services.domain.upstreams.in_sandbox import refuse_in_sandbox
from services.domain.upstreams.models import UpstreamAuth, UpstreamServer, UpstreamStatus
from services.domain.upstreams.telling import tell_state
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


def how_to_connect(name: str) -> str:
    """Return what a person has to do when a server does not take its credential."""
    return f"A person must connect it again: in the dashboard under MCP servers, {name}."


def unauthorised_words(message: str, name: str) -> str:
    """Return why a server does not let us in, and what a person has to do."""
    hint = how_to_connect(name)
    return message if hint in message else f"{message} {hint}"


def open_sealed(server: UpstreamServer) -> dict[str, Any]:
    """Open what is sealed with a server: `value`, `client_secret`, `grant`; nothing when nothing was given."""
    if server.sealed is None:
        return {}
    opened: dict[str, Any] = open_json(server.sealed, server.key_id, server.id)
    return opened


def seal_into(server: UpstreamServer, values: dict[str, Any]) -> None:
    """Seal values into a row, which the caller saves."""
    kept = {name: value for name, value in values.items() if value is not None}
    sealed = seal_json(kept, server.id)
    server.sealed, server.key_id = (sealed.blob, sealed.key_id) if kept else (None, "")


def find_grant(server: UpstreamServer) -> OAuthGrant | None:
    """Return the authorization that is kept with a server."""
    grant = open_sealed(server).get("grant")
    return OAuthGrant.model_validate(grant) if grant else None


def open_upstream(server: UpstreamServer, run: RunBlocking) -> Upstream:
    """Return where a server is and what opens it.

    Raises: UpstreamUnauthorised when nothing does, UpstreamInSandbox when it is nowhere to be reached.
    """
    refuse_in_sandbox(server)
    if server.auth == UpstreamAuth.HEADER:
        value = open_sealed(server).get("value")
        if value is None:
            raise UpstreamUnauthorised(f"{server.name} has no credential. {how_to_connect(server.name)}")
        return Upstream(server.url, header=(server.header_name, value))
    if server.auth == UpstreamAuth.OAUTH:
        return Upstream(server.url, tokens=KeptTokens(server.org_id, server.id, run))
    return Upstream(server.url)


@dataclass(frozen=True, slots=True)
class KeptTokens:
    """The `TokenStore` of one server's row."""

    org_id: uuid.UUID
    server_id: uuid.UUID
    run: RunBlocking

    async def claim(self, refused: str | None) -> str | RefreshClaim | None:
        """Return a good token, the right to refresh, or None. Raises: UpstreamUnauthorised."""
        return await self.run(claim_access_token, self.org_id, self.server_id, refused)

    async def keep(self, lease: uuid.UUID, granted: GrantedTokens) -> None:
        """Keep new tokens."""
        await self.run(keep_tokens, self.org_id, self.server_id, lease, granted)

    async def give_back(self, lease: uuid.UUID) -> None:
        """Give the right to refresh back."""
        await self.run(give_back_refresh, self.org_id, self.server_id, lease)

    async def lose(self, lease: uuid.UUID) -> None:
        """Forget the tokens."""
        await self.run(lose_grant, self.org_id, self.server_id, lease)


def claim_access_token(
    org_id: uuid.UUID, server_id: uuid.UUID, refused: str | None
) -> str | RefreshClaim | None:
    """Return a token that is good, the right to refresh it, or None while somebody else refreshes.

    Locks: the server. Raises: UpstreamUnauthorised when there is nothing that a token could come from.
    """
    with tenant_transaction(org_id):
        rows = UpstreamServer.objects.filter(id=server_id)
        # Mostly the token is good, and then nobody has to wait for anybody.
        if (good := _good_token(rows.first(), refused)) is not None:
            return good
        server = rows.select_for_update().first()
        if (good := _good_token(server, refused)) is not None:
            return good
        grant = find_grant(server) if server is not None else None
        if server is None or grant is None:
            name = server.name if server is not None else "The server"
            raise UpstreamUnauthorised(f"{name} is not connected. {how_to_connect(name)}")
        moment = now()
        if server.refresh_until is not None and server.refresh_until > moment:
            return None
        if grant.refresh_token is not None:
            server.refresh_claim, server.refresh_until = uuid.uuid4(), moment + REFRESH_LEASE
            server.save(update_fields=["refresh_claim", "refresh_until"])
            return RefreshClaim(server.refresh_claim, grant)
        _forget(server)
    raise UpstreamUnauthorised(server.last_error)


def _good_token(server: UpstreamServer | None, refused: str | None) -> str | None:
    grant = find_grant(server) if server is not None else None
    if grant is None or grant.access_token == refused:
        return None
    is_good = grant.expires_at is None or grant.expires_at > time.time() + _EARLY_S
    return grant.access_token if is_good else None


def keep_tokens(org_id: uuid.UUID, server_id: uuid.UUID, lease: uuid.UUID, granted: GrantedTokens) -> None:
    """Keep refreshed tokens; those of somebody whose lease is over are dropped. Locks: the server."""
    with tenant_transaction(org_id):
        server = _lock_leased(server_id, lease)
        grant = find_grant(server) if server is not None else None
        if server is None or grant is None:
            return
        renewed = renew(grant, granted)
        seal_into(server, open_sealed(server) | {"grant": renewed.model_dump(mode="json")})
        server.refresh_claim = server.refresh_until = None
        server.save(update_fields=["sealed", "key_id", "refresh_claim", "refresh_until"])


def renew(grant: OAuthGrant, granted: GrantedTokens) -> OAuthGrant:
    """Return a grant with new tokens. A refresh token that is not replaced stays good (RFC 6749, section 6)."""
    return grant.model_copy(
        update={
            "access_token": granted.access_token,
            "refresh_token": granted.refresh_token or grant.refresh_token,
            "expires_at": None if granted.expires_in is None else time.time() + granted.expires_in,
        }
    )


def give_back_refresh(org_id: uuid.UUID, server_id: uuid.UUID, lease: uuid.UUID) -> None:
    """Let somebody else refresh. Locks: the server."""
    with tenant_transaction(org_id):
        server = _lock_leased(server_id, lease)
        if server is not None:
            server.refresh_claim = server.refresh_until = None
            server.save(update_fields=["refresh_claim", "refresh_until"])


def lose_grant(org_id: uuid.UUID, server_id: uuid.UUID, lease: uuid.UUID) -> None:
    """Forget an authorization that was revoked. Locks: the server. Emits: McpServerChanged, NotificationCreated."""
    with tenant_transaction(org_id):
        server = _lock_leased(server_id, lease)
        if server is not None:
            _forget(server)


def _lock_leased(server_id: uuid.UUID, lease: uuid.UUID) -> UpstreamServer | None:
    return UpstreamServer.objects.select_for_update().filter(id=server_id, refresh_claim=lease).first()


def _forget(server: UpstreamServer) -> None:
    seal_into(server, open_sealed(server) | {"grant": None})
    server.refresh_claim = server.refresh_until = None
    was, server.status = server.status, UpstreamStatus.UNAUTHORISED
    server.last_error = f"The authorization has ended or was revoked. {how_to_connect(server.name)}"
    server.checked_at = now()
    server.save()
    if was != server.status:
        tell_state(server)
