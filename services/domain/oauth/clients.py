"""Clients: registered by themselves, described by a document of their own, or given to an organisation by its admin."""

from __future__ import annotations

import hmac
import re
import uuid
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Annotated
from urllib.parse import urlsplit

from django.db.models import Q, QuerySet
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from services.domain.actors import Actor, require
from services.domain.audit.models import AuditAction
from services.domain.audit.recording import Subject, record_audit
from services.domain.errors import Invalid, OAuthClientMissing, OAuthRefused, QueueFull, RateLimited
from services.domain.oauth.models import MAX_URI_CHARS, AuthMethod, ClientKind, OAuthClient
from services.domain.oauth.redirects import is_usable
from services.domain.tenancy.transaction import tenant_transaction
from services.kit.clock import now
from services.kit.ids import uuid7
from services.kit.tokens import CLIENT_SECRET_PREFIX, hash_token, make_token

MAX_REDIRECT_URIS = 10
MAX_UNUSED_CLIENTS = 10_000
MAX_GIVEN_CLIENTS = 100
DOCUMENT_LIFE = timedelta(hours=1)
_UNNAMED = "A program without a name"
# What reads like another text than it is, or breaks the line that a person is asked to judge.
_UNSHOWN = re.compile("[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]")

RedirectUri = Annotated[str, StringConstraints(max_length=MAX_URI_CHARS)]


class ClientMetadata(BaseModel):
    """What a client says of itself; what is not known here is ignored. Source: RFC 7591, section 2."""

    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)

    redirect_uris: list[RedirectUri] = Field(min_length=1, max_length=MAX_REDIRECT_URIS)
    client_name: str = Field(default="", max_length=500)
    token_endpoint_auth_method: AuthMethod = AuthMethod.BASIC
    grant_types: list[str] = Field(default=["authorization_code"], max_length=10)
    response_types: list[str] = Field(default=["code"], max_length=10)

    def checked(self) -> ClientMetadata:
        """Return it with a name that can be shown. Raises: OAuthRefused."""
        if not all(map(is_usable, self.redirect_uris)):
            raise OAuthRefused(
                "invalid_redirect_uri",
                "A redirect address is https, or http on a loopback address, or has a scheme of the program's own.",
            )
        if "authorization_code" not in self.grant_types or "code" not in self.response_types:
            raise OAuthRefused("invalid_client_metadata", "Only the authorization code flow is served.")
        return self.model_copy(update={"client_name": shown_name(self.client_name)})


class ClientDocument(ClientMetadata):
    """The document at a client's own address. Such a client has no secret that it could share with us."""

    client_id: str = Field(max_length=MAX_URI_CHARS)
    token_endpoint_auth_method: AuthMethod = AuthMethod.NONE


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a request to the token endpoint says about its client."""

    client_id: str
    secret: str | None = field(default=None, repr=False)


def shown_name(name: str) -> str:
    """Return what a client calls itself as a person may be shown it."""
    return _UNSHOWN.sub("", name).strip()[:120] or _UNNAMED


def all_tenants_register_client(given: ClientMetadata) -> tuple[OAuthClient, str | None]:
    """Register a client that nobody knows; returns it with its secret, if it is to have one, shown this once.

    Raises: OAuthRefused, RateLimited when too many are registered that nobody has used.
    """
    given = given.checked()
    unused = OAuthClient.objects.using("operator").filter(kind=ClientKind.DYNAMIC, last_used_at=None)
    if unused.count() >= MAX_UNUSED_CLIENTS:
        raise RateLimited("Too many clients were registered lately. Try again tomorrow.", retry_after_s=3600)
    row, secret = _new_client(ClientKind.DYNAMIC, given.client_name, given.redirect_uris)
    row.auth_method = given.token_endpoint_auth_method
    if row.auth_method == AuthMethod.NONE:
        row.secret_hash, secret = "", None
    row.save(using="operator", force_insert=True)
    return row, secret


def create_client(
    actor: Actor, *, name: str, redirect_uris: list[str], is_confidential: bool
) -> tuple[OAuthClient, str | None]:
    """Give an organisation a client of its own, by its admin. Raises: Invalid, QueueFull, RoleMissing."""
    require(actor, "tokens:write", role="admin")
    if not redirect_uris or len(redirect_uris) > MAX_REDIRECT_URIS or not all(map(is_usable, redirect_uris)):
        raise Invalid(
            "A redirect address is https, or http on a loopback address, or has a scheme of the program's own.",
            fields={"redirect_uris": f"1 to {MAX_REDIRECT_URIS} usable addresses"},
        )
    row, secret = _new_client(ClientKind.GIVEN, shown_name(name), redirect_uris)
    row.org_id = actor.org_id
    row.auth_method = AuthMethod.POST if is_confidential else AuthMethod.NONE
    if not is_confidential:
        row.secret_hash, secret = "", None
    with tenant_transaction(actor.org_id):
        if OAuthClient.objects.count() >= MAX_GIVEN_CLIENTS:
            raise QueueFull(
                f"An organisation has at most {MAX_GIVEN_CLIENTS} clients.", limit=MAX_GIVEN_CLIENTS
            )
        row.save(force_insert=True)
        record_audit(
            actor, AuditAction.CLIENT_CREATED, Subject.of("oauth_client", row), redirect_uris=redirect_uris
        )
    return row, secret


def delete_client(actor: Actor, client_row_id: uuid.UUID) -> None:
    """Remove a client of the organisation; what people allowed it ends with it. Raises: OAuthClientMissing."""
    require(actor, "tokens:write", role="admin")
    with tenant_transaction(actor.org_id):
        row = OAuthClient.objects.filter(id=client_row_id).first()
        if row is None:
            raise OAuthClientMissing("There is no such client.")
        record_audit(actor, AuditAction.CLIENT_DELETED, Subject.of("oauth_client", row))
        row.delete()


def list_clients(actor: Actor) -> QuerySet[OAuthClient]:
    """Return the clients that the organisation's admins gave it; in the tenant's transaction."""
    require(actor, "tokens:read")
    return OAuthClient.objects.all()


def all_tenants_remember_document(client_id: str, document: ClientDocument) -> OAuthClient:
    """Keep what a client's document says. Raises: OAuthRefused when it is another's, or not what it must be."""
    checked = document.checked()
    if document.client_id != client_id:
        raise OAuthRefused("invalid_client", "The client's document names another client.")
    if document.token_endpoint_auth_method != AuthMethod.NONE:
        raise OAuthRefused("invalid_client", "A client with a document of its own must be a public one.")
    row, _ = OAuthClient.objects.using("operator").update_or_create(
        client_id=client_id,
        defaults={
            "kind": ClientKind.DOCUMENT,
            "name": checked.client_name,
            "redirect_uris": checked.redirect_uris,
            "auth_method": AuthMethod.NONE,
            "checked_at": now(),
        },
    )
    return row


def is_document_address(client_id: str) -> bool:
    """Say whether a client's id is the address of its document. Source: the draft of client id metadata documents."""
    parts = urlsplit(client_id)
    return (
        parts.scheme in ("https", "http")
        and parts.path not in ("", "/")
        and not (parts.fragment or parts.username or parts.password)
        and not any(part in (".", "..") for part in parts.path.split("/"))
    )


def all_tenants_find_client(client_id: str, org_id: uuid.UUID | None = None) -> OAuthClient | None:
    """Return a client by the id that it shows: one that anybody may use, or one of that organisation."""
    mine = Q(org_id=None) if org_id is None else Q(org_id=None) | Q(org_id=org_id)
    return OAuthClient.objects.using("operator").filter(mine, client_id=client_id).first()


def all_tenants_authenticate_client(shown: Credentials) -> OAuthClient:
    """Return the client behind a request to the token endpoint. Raises: OAuthRefused, alike for all reasons."""
    client = OAuthClient.objects.using("operator").filter(client_id=shown.client_id).first()
    if client is None or not _is_shown(client, shown.secret):
        raise OAuthRefused("invalid_client", "The client is not known, or not by this secret.")
    return client


def _is_shown(client: OAuthClient, secret: str | None) -> bool:
    if client.auth_method == AuthMethod.NONE:
        return not secret
    return secret is not None and hmac.compare_digest(hash_token(secret), client.secret_hash)


def _new_client(kind: ClientKind, name: str, redirect_uris: list[str]) -> tuple[OAuthClient, str | None]:
    secret = make_token(CLIENT_SECRET_PREFIX)
    row_id = uuid7()
    row = OAuthClient(
        id=row_id,
        kind=kind,
        client_id=str(row_id),
        name=name,
        redirect_uris=list(dict.fromkeys(redirect_uris)),
        secret_hash=hash_token(secret),
    )
    return row, secret
