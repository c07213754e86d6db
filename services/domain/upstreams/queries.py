"""Reading registered servers: the people's view, and what the work of an agent may use."""

from __future__ import annotations

import uuid
from collections.abc import Collection

from django.db.models import Q, QuerySet

from services.domain.actors import Actor, require
from services.domain.errors import UpstreamMissing
from services.domain.upstreams.models import UpstreamServer, UpstreamTransport
from services.domain.vault.accesses import list_accesses
from services.domain.vault.models import CredentialAccess

ADMINS = ("owner", "admin")


def list_upstreams(actor: Actor) -> QuerySet[UpstreamServer]:
    """Return the servers that the actor may see; a personal one is its owner's and the admins'. In the transaction."""
    require(actor, "mcp_servers:read")
    rows = UpstreamServer.objects.defer("sealed")
    return rows if actor.role in ADMINS else rows.filter(usable_by(actor.user_id))


def get_upstream(actor: Actor, server_id: uuid.UUID) -> UpstreamServer:
    """Return one server, in the tenant's transaction. Raises: UpstreamMissing."""
    server = list_upstreams(actor).filter(id=server_id).first()
    if server is None:
        raise UpstreamMissing("There is no such MCP server.")
    return server


def list_upstream_accesses(actor: Actor, server_id: uuid.UUID) -> QuerySet[CredentialAccess]:
    """Return the uses of a server's credential, in the tenant's transaction. Raises: UpstreamMissing."""
    return list_accesses(get_upstream(actor, server_id))


def list_upstream_names(user_id: uuid.UUID | None) -> set[str]:
    """Return the names of the servers that work for a person may use, in the tenant's transaction."""
    return set(UpstreamServer.objects.filter(usable_by(user_id)).values_list("name", flat=True))


def list_remote_names(user_id: uuid.UUID | None, names: Collection[str]) -> set[str]:
    """Return those of the names that the gateway reaches for work of a person, in the tenant's transaction."""
    if not names:
        return set()
    remote = UpstreamServer.objects.filter(
        usable_by(user_id), transport=UpstreamTransport.HTTP, name__in=names
    )
    return set(remote.values_list("name", flat=True))


def find_usable_upstream(user_id: uuid.UUID | None, name: str) -> UpstreamServer | None:
    """Return the server of a name, if work for that person may use it; in the tenant's transaction."""
    return UpstreamServer.objects.filter(usable_by(user_id), name=name).first()


def list_persons_upstreams(actor: Actor, names: Collection[str] | None = None) -> list[UpstreamServer]:
    """Return the servers, or those of some names, that a person's own programs can reach; by name, in the transaction.

    Those in a sandbox can be reached from nowhere else.
    """
    rows = _of_person(actor).order_by("name")
    return list(rows if names is None else rows.filter(name__in=names))


def _of_person(actor: Actor) -> QuerySet[UpstreamServer]:
    if actor.role == "viewer":
        # Who starts no work sends nobody's credential anywhere.
        return UpstreamServer.objects.none()
    return UpstreamServer.objects.filter(usable_by(actor.user_id), transport=UpstreamTransport.HTTP)


def usable_by(user_id: uuid.UUID | None) -> Q:
    """Return which servers work for a person may use: the organisation's, and the person's own."""
    shared = Q(owner=None)
    return shared if user_id is None else shared | Q(owner_id=user_id)
