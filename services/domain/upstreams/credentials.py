"""What opens a server, as it is kept: see `domain/oauth_grants`."""

from __future__ import annotations

from urllib.parse import urlsplit

from services.domain.errors import UpstreamUnauthorised
from services.domain.oauth_grants.keeping import GrantKeeper, RunBlocking, open_sealed
from services.domain.ports.upstreams import Upstream
from services.domain.upstreams.in_sandbox import refuse_in_sandbox
from services.domain.upstreams.models import UpstreamAuth, UpstreamServer
from services.domain.upstreams.telling import tell_state


def how_to_connect(name: str) -> str:
    """Return what a person has to do when a server does not take its credential."""
    return f"A person must connect it again: in the dashboard under MCP servers, {name}."


SERVER_GRANTS = GrantKeeper(
    UpstreamServer,
    nobody="The server",
    refusal=UpstreamUnauthorised,
    how_to_connect=how_to_connect,
    tell=tell_state,
)


def has_credential(server: UpstreamServer) -> bool:
    """Say whether what is asked of a server carries a credential."""
    return server.auth != UpstreamAuth.NONE and server.sealed is not None


def host_of(server: UpstreamServer) -> str:
    """Return the host that a server's credential goes to."""
    return urlsplit(server.url).hostname or ""


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
        return Upstream(server.url, tokens=SERVER_GRANTS.tokens(server, run))
    return Upstream(server.url)
